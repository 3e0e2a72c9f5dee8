//! What strangers can try: anybody who can reach the socket chooses a name, a path, a pace and when
//! to vanish. All other clients are answered meanwhile, and nothing remains afterwards.

pub(crate) mod loops;
mod senders;

use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::time::Duration;

use socket2::SockRef;

use crate::kit::{DEADLINE, Process, not_run};

/// A unix datagram client with a name, a deadline, and room for much that it sends.
fn client(path: &Path) -> UnixDatagram {
    let client = UnixDatagram::bind(path).expect("bind");
    client.set_read_timeout(Some(DEADLINE)).expect("a timeout");
    client.set_write_timeout(Some(DEADLINE)).expect("a timeout");
    SockRef::from(&client).set_send_buffer_size(1 << 20).expect("SO_SNDBUF");
    client
}

/// Waits for a while in which the process sleeps: what it was asked to do is done. Its own timers may
/// wake it now and then.
#[track_caller]
pub(crate) fn expect_rest(process: &Process) {
    process.expect_rest(Duration::from_millis(500), 3);
}

/// Whether this process may become another user, as some attackers are, or make network namespaces.
fn is_root(test: &str) -> bool {
    let is_root = rustix::process::geteuid().is_root();
    if !is_root {
        not_run(test, "it takes root to be several users, or several machines", true);
    }
    is_root
}
