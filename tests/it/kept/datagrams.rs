//! Replies that wait for a receiver that does not read. That they go along and in their order, the
//! model and `keep` show.

use std::os::unix::net::UnixDatagram;

use socket_activate_echo::server::{Kept, KeptReplies};

use super::server::{Options, Server};
use super::until;
use crate::clients::send_numbers;
use crate::kit::Dir;

/// More than a queue has room for (net.unix.max_dgram_qlen).
const COUNT: u32 = 60;

/// A client that has sent `COUNT` datagrams and reads none of the replies.
fn deaf(dir: &Dir) -> UnixDatagram {
    let client = UnixDatagram::bind(dir.path("client")).expect("bind");
    send_numbers(&client, &dir.path("s"), COUNT);
    client
}

/// Stops the server until it has received all of them and keeps replies.
fn stop_with_replies(server: &mut Server) -> Kept {
    let mut kept = Kept::default();
    until(|| {
        kept = server.stop().kept;
        let has_all = server.total.messages == u64::from(COUNT) && !kept.replies.is_empty();
        if !has_all {
            server.go_on(std::mem::take(&mut kept));
        }
        has_all
    });
    kept
}

#[test]
fn without_their_socket_they_are_counted_and_dropped() {
    let dir = Dir::new();
    let mut server = Server::start(&["unix-dgram:DIR/s"], &dir, Options::default());
    let client = deaf(&dir);
    let mut kept = stop_with_replies(&mut server);
    let KeptReplies { inode, bytes } = kept.replies.remove(0);
    // Of another socket, of another version, and cut off: each is refused as a whole.
    let other_version = [&[bytes[0] + 1], &bytes[1..]].concat();
    kept.replies.push(KeptReplies { inode, bytes: other_version });
    kept.replies.push(KeptReplies { inode, bytes: bytes[..bytes.len() - 1].to_vec() });
    kept.replies.push(KeptReplies { inode, bytes: Vec::new() });
    kept.replies.push(KeptReplies { inode: inode + 1_000_000, bytes });
    server.go_on(kept);
    let mut received = 0;
    client.set_nonblocking(true).expect("O_NONBLOCK");
    while client.recv(&mut [0; 4]).is_ok() {
        received += 1;
    }
    let total = server.drain();
    assert_eq!(total.messages, u64::from(COUNT));
    assert_eq!(total.unanswered, total.messages - received);
}
