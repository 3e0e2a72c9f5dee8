//! The demo set: every kind of socket that the walk-through talks to.

use super::bind::{self, Failure, Step};
use super::{Bound, explain};
use crate::address::{Address, Host, demo_home, demo_set};
use crate::error::{Errno, Result};

/// Binds the demo set. Nobody asked for vsock or IPv6 by name here, so a machine without them is
/// said and skipped. `names` has none, or one for all.
pub(super) fn bind(backlog: i32, names: &[String]) -> Result<Vec<Bound>> {
    let home = demo_home(std::env::var_os("HOME"))?;
    let mut sockets = Vec::new();
    for (address, name) in demo_set(&home) {
        let name = names.first().map_or(name, String::as_str);
        match bind::bind(&address, backlog, name) {
            Ok(bound) => sockets.push(bound),
            Err(failure) if is_missing(&address, &failure) => {
                log::info!(
                    "without {address}, which this machine lacks: {}",
                    Errno(&failure.error)
                );
            }
            Err(failure) => return Err(explain::error(&address, failure)),
        }
    }
    Ok(sockets)
}

/// Whether the failure says that the machine, or the sandbox, has no such family at all.
fn is_missing(address: &Address, failure: &Failure) -> bool {
    let optional = matches!(address, Address::Vsock(..) | Address::Inet(_, Host::V6(..), _));
    // Without IPv6 on the loopback interface (disable_ipv6) the socket is made, but not bound.
    let no_address = failure.error.raw_os_error() == Some(libc::EADDRNOTAVAIL);
    let resources = matches!(failure.error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE));
    optional && !resources && (failure.step == Step::Socket || no_address)
}
