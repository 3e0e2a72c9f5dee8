//! The demo set: every kind of socket that the walk-through talks to.

use std::io;

use crate::activator::Bound;
use crate::address::{Address, Host, demo_home, demo_set};
use crate::error::{Errno, Result};

/// Binds the demo set. Nobody asked for vsock or IPv6 by name here, so they are left out, with a
/// line in the log, where the machine lacks them. `names` has none, or one for all.
pub(super) fn bind(backlog: i32, names: &[String]) -> Result<Vec<Bound>> {
    let home = demo_home(std::env::var_os("HOME"))?;
    let mut sockets = Vec::new();
    for (address, name) in demo_set(&home) {
        let name = names.first().map_or(name, String::as_str);
        let is_optional = matches!(address, Address::Vsock(..) | Address::Inet(_, Host::V6(..), _));
        match Bound::new(&address, backlog, name) {
            Ok(bound) => sockets.push(bound),
            Err(error) => match error.io() {
                Some(answer) if is_optional && is_missing(answer) => {
                    log::info!("left out {address}, which this machine lacks: {}", Errno(answer));
                }
                _ => return Err(error),
            },
        }
    }
    Ok(sockets)
}

/// Whether it is the machine, or the sandbox, that has no such family. Without IPv6 on the loopback
/// interface (disable_ipv6) the socket is made, but not bound.
fn is_missing(answer: &io::Error) -> bool {
    !matches!(answer.raw_os_error(), Some(libc::EMFILE | libc::ENFILE | libc::EADDRINUSE))
}
