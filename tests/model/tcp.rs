//! What TCP sockets have sent and their peers have not acknowledged: proc(5), /proc/net/tcp.

use std::collections::HashMap;

use socket2::{SockAddr, Socket};

/// By the ports of both ends.
pub(crate) struct Unacknowledged(HashMap<[u16; 2], usize>);

impl Unacknowledged {
    /// Of all sockets of this network namespace.
    pub(crate) fn read() -> Self {
        let mut all = HashMap::new();
        for table in ["/proc/net/tcp", "/proc/net/tcp6"] {
            let table = std::fs::read_to_string(table).expect("a table");
            all.extend(table.lines().skip(1).filter_map(row));
        }
        Self(all)
    }

    pub(crate) fn of(&self, socket: &Socket) -> usize {
        let port = |address: std::io::Result<SockAddr>| {
            address.ok().and_then(|address| address.as_socket()).map_or(0, |ip| ip.port())
        };
        let ports = [port(socket.local_addr()), port(socket.peer_addr())];
        self.0.get(&ports).copied().unwrap_or(0)
    }
}

/// A number, the local address and the remote one, the state, and what is in the queues.
fn row(row: &str) -> Option<([u16; 2], usize)> {
    let mut fields = row.split_ascii_whitespace().skip(1);
    let mut port = || u16::from_str_radix(fields.next()?.rsplit(':').next()?, 16).ok();
    let ports = [port()?, port()?];
    let queue = fields.nth(1)?.split(':').next()?;
    let bytes = usize::from_str_radix(queue, 16).ok()?;
    (bytes > 0).then_some((ports, bytes))
}
