//! Binds the demo set: every kind of socket in the walk-through.

use std::io;

use crate::activator::Bound;
use crate::address::{Address, Host, demo_home, demo_set};
use crate::error::{Errno, Result};

/// Binds the demo set. The user did not ask for vsock or IPv6, so they are omitted, with a log
/// line, if the machine lacks them. `names` is empty, or has one name for all.
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

/// Whether the machine or the sandbox lacks the family. With IPv6 disabled on the loopback
/// interface (disable_ipv6), the socket can be created, but not bound.
fn is_missing(answer: &io::Error) -> bool {
    !matches!(answer.raw_os_error(), Some(libc::EMFILE | libc::ENFILE | libc::EADDRINUSE))
}
