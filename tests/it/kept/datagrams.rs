//! Replies that wait for a receiver that does not read.

use std::os::unix::net::UnixDatagram;

use socket_activate_echo::server::{Kept, KeptReplies};

use super::server::{Options, Server};
use super::until;
use crate::kit::{DEADLINE, Dir};

/// More than a queue has room for (net.unix.max_dgram_qlen).
const COUNT: u32 = 60;

/// A client that has sent `COUNT` datagrams and reads none of the replies.
fn deaf(dir: &Dir) -> UnixDatagram {
    let client = UnixDatagram::bind(dir.path("client")).expect("bind");
    client.set_read_timeout(Some(DEADLINE)).expect("a timeout");
    for number in 0..COUNT {
        client.send_to(&number.to_be_bytes(), dir.path("s")).expect("send");
    }
    client
}

fn receive(client: &UnixDatagram) -> u32 {
    let mut number = [0; 4];
    let (len, _) = client.recv_from(&mut number).expect("a reply");
    assert_eq!(len, 4);
    u32::from_be_bytes(number)
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
fn they_go_along_in_their_order() {
    for workers in [1, 4] {
        let dir = Dir::new();
        let addresses = ["tcp:127.0.0.1:0", "udp:127.0.0.1:0", "unix-dgram:DIR/s"];
        let mut server = Server::start(&addresses, &dir, Options { workers, ..Options::default() });
        let client = deaf(&dir);
        for _ in 0..5 {
            let kept = stop_with_replies(&mut server);
            server.go_on(kept);
        }
        (0..COUNT / 2).for_each(|number| assert_eq!(receive(&client), number));
        // New ones come behind those that wait.
        client.send_to(&COUNT.to_be_bytes(), dir.path("s")).expect("send");
        server.restart(|_| ());
        (COUNT / 2..=COUNT).for_each(|number| assert_eq!(receive(&client), number));
        let total = server.drain();
        assert_eq!((total.messages, total.unanswered), (u64::from(COUNT) + 1, 0));
    }
}

#[test]
fn they_can_be_drained() {
    let dir = Dir::new();
    let mut server = Server::start(&["unix-dgram:DIR/s"], &dir, Options::default());
    let client = deaf(&dir);
    let kept = stop_with_replies(&mut server);
    server.go_on(kept);
    std::thread::scope(|scope| {
        let drained = scope.spawn(move || server.drain());
        (0..COUNT).for_each(|number| assert_eq!(receive(&client), number));
        let total = drained.join().expect("it ends");
        assert_eq!(total.unanswered, 0);
    });
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
