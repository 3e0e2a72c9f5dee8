//! `serve`: echo on the sockets that were handed over.

use super::{Outcome, logging};
use crate::activation::Inherited;
use crate::cli::ServeArgs;
use crate::server::{self, Config, Limits, Shutdown};

pub(super) fn run(args: &ServeArgs) -> Outcome {
    logging::init(args.debug);
    let sockets = Inherited::take()?.into_sockets()?;
    let shutdown = Shutdown::on_signals()?;
    let mut limits = Limits::default();
    if let Some(connections_max) = args.connections_max {
        limits.connections_max = connections_max;
    }
    server::run(sockets, Config { limits, ..Config::default() }, &shutdown)?;
    Ok(0)
}
