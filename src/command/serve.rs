//! `serve`: echo on the sockets that were handed over.

use super::{Outcome, logging};
use crate::activation::Inherited;
use crate::cli::ServeArgs;
use crate::server::{self, Limits, Shutdown};

pub(super) fn run(args: &ServeArgs) -> Outcome {
    logging::init(args.debug);
    let sockets = Inherited::take()?.into_sockets()?;
    let shutdown = Shutdown::on_signals()?;
    server::run(sockets, &Limits::default(), shutdown)?;
    Ok(0)
}
