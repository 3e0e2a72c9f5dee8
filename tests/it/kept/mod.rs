//! A server stops in the middle of everything and keeps what is unfinished, another one goes on with
//! it, and no peer notices.

mod datagrams;
mod peers;
mod server;

use std::fs::File;
use std::io::{Read, Write};
use std::net::{Shutdown as Direction, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use socket_activate_echo::server::{Ended, Kept, KeptConnection};
use socket2::Socket;

use self::peers::{Act, Peers};
use self::server::{Options, Server};
use crate::clients::{connect, messages, pattern, receive};
use crate::kit::{DEADLINE, Dir, not_run};

const RESTARTS: usize = 20;

/// Every kind of connection: nobody loses a byte, gets one twice, or sees an end.
fn restarts_in_the_middle_of_everything(address: &str) {
    for workers in [1, 4] {
        let dir = Dir::new();
        let mut server = Server::start(&[address], &dir, Options { workers, ..Options::default() });
        let is_message = server.address(0).style().socket_type() == socket2::Type::SEQPACKET;
        let mut peers = Peers::start(is_message, || connect(server.address(0), &dir));
        let mut late = Vec::new();
        for _ in 0..RESTARTS {
            let kept = server.stop().kept;
            // It waits in the kernel's backlog, with what it sends.
            let client = connect(server.address(0), &dir);
            client.send(b"late").expect("send");
            server.go_on(kept);
            assert_eq!(receive(&client, 4), b"late");
            late.push(client);
            peers.expect_progress();
        }
        peers.finish(Act::moves);
        // What stalls is stuck in the end, and the server owes it something.
        let stuck = peers.count(Act::stalls);
        until(|| server.restart(owed) >= stuck);
        if is_message {
            until(|| server.restart(empty_messages) > 0);
        }
        peers.finish(|_| true);
        late.iter().for_each(|client| messages(client, &[5]));
        let connections = peers.count(|_| true) + late.len();
        drop(late);
        let total = server.drain();
        assert_eq!(total.connections, connections as u64, "each is counted once");
        assert_eq!(total.bytes, peers.bytes() + RESTARTS as u64 * (4 + 5));
    }
}

#[test]
fn tcp() {
    restarts_in_the_middle_of_everything("tcp:127.0.0.1:0");
}

#[test]
fn mptcp() {
    if Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, Some(socket2::Protocol::MPTCP))
        .is_err()
    {
        return not_run("restarts with MPTCP", "this kernel has none", false);
    }
    restarts_in_the_middle_of_everything("mptcp:127.0.0.1:0");
}

#[test]
fn unix() {
    restarts_in_the_middle_of_everything("unix:DIR/s");
}

#[test]
fn seqpacket() {
    restarts_in_the_middle_of_everything("unix-seqpacket:DIR/s");
}

#[test]
fn vsock() {
    let socket = Socket::new(socket2::Domain::VSOCK, socket2::Type::STREAM, None);
    let local = socket2::SockAddr::vsock(1, libc::VMADDR_PORT_ANY);
    if !socket.is_ok_and(|socket| socket.bind(&local).is_ok()) {
        return not_run("restarts with vsock", "this kernel has no vsock loopback", false);
    }
    restarts_in_the_middle_of_everything("vsock:local:any");
}

/// Tries again and again, for as long as a test waits for anything.
fn until(mut is_so: impl FnMut() -> bool) {
    let give_up = Instant::now() + DEADLINE;
    while !is_so() {
        assert!(Instant::now() < give_up, "it does not come to that");
    }
}

/// To how many connections something is owed.
fn owed(ended: &Ended) -> usize {
    ended.kept.connections.iter().filter(|connection| connection.owed.is_some()).count()
}

fn empty_messages(ended: &Ended) -> usize {
    let is_empty =
        |connection: &&KeptConnection| connection.owed.as_ref().is_some_and(Vec::is_empty);
    ended.kept.connections.iter().filter(is_empty).count()
}

/// More than the server's buffer can only have been in a pipe.
#[test]
fn the_bytes_of_a_pipe_go_along() {
    /// More than the buffers on the way.
    const ROUND: usize = 1 << 20;
    let dir = Dir::new();
    let options = Options { stream_buffer_bytes: 4096, ..Options::default() };
    let mut server = Server::start(&["unix:DIR/s"], &dir, options);
    let client = UnixStream::connect(dir.path("s")).expect("connect");
    let (sent, is_enough) = (pattern(ROUND), AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !is_enough.load(Ordering::Relaxed) {
                (&client).write_all(&sent).expect("send");
            }
            client.shutdown(Direction::Write).expect("shutdown");
        });
        let mut received = vec![0; ROUND];
        until(|| {
            (&client).read_exact(&mut received).expect("receive");
            assert!(received == sent, "other bytes");
            server.restart(longest) > 4096
        });
        is_enough.store(true, Ordering::Relaxed);
        received.clear();
        (&client).read_to_end(&mut received).expect("receive");
        assert!(received.chunks(ROUND).all(|round| round == sent), "other bytes");
    });
    server.drain();
}

/// The most that is owed to one connection.
fn longest(ended: &Ended) -> usize {
    let owed = ended.kept.connections.iter().filter_map(|connection| connection.owed.as_ref());
    owed.map(Vec::len).max().unwrap_or(0)
}

/// If nobody takes what is kept, a second run drains it: what the kernel had received is echoed,
/// then comes the end, and nobody is accepted any more.
#[test]
fn what_is_kept_can_be_drained() {
    for address in ["tcp:127.0.0.1:0", "unix:DIR/s", "unix-seqpacket:DIR/s"] {
        let dir = Dir::new();
        let mut server = Server::start(&[address], &dir, Options::default());
        let client = connect(server.address(0), &dir);
        messages(&client, &[5]);
        let ended = server.stop();
        assert_eq!(ended.kept.connections.len(), 1);
        let sent = pattern(20_000);
        for part in sent.chunks(1000) {
            assert_eq!(client.send(part).expect("send"), part.len());
        }
        let theirs = &ended.kept.connections[0].fd;
        until(|| rustix::io::ioctl_fionread(theirs).expect("FIONREAD") == 20_000);
        let late = connect(server.address(0), &dir);
        late.send(b"late").expect("send");
        server.drain_kept(ended);
        // Up to the end, which is no reset.
        let parts = std::iter::repeat_with(|| receive(&client, 20_000));
        let received = parts.take_while(|part| !part.is_empty()).collect::<Vec<_>>().concat();
        assert!(received == sent, "{address}: {} of 20000 bytes, or others", received.len());
        late.set_nonblocking(true).expect("O_NONBLOCK");
        (&late).read(&mut [0]).expect_err("it was not accepted");
        late.set_nonblocking(false).expect("O_NONBLOCK");
        server.go_on(Kept::default());
        assert_eq!(receive(&late, 4), b"late", "{address}");
    }
}

/// With Accept=yes, and on standard input, the connection ends with the process.
#[test]
fn an_inherited_connection_is_drained() {
    let (client, ours) = UnixStream::pair().expect("socketpair(2)");
    let dir = Dir::new();
    let mut server = Server::with(vec![ours.into()], Options::default());
    (&client).write_all(b"hello").expect("send");
    let mut reply = [0; 5];
    (&client).read_exact(&mut reply).expect("receive");
    let ended = server.stop();
    assert!(ended.kept.connections.is_empty());
    assert_eq!((&client).read(&mut reply).expect("the end"), 0);
    drop(dir);
}

/// Whoever fills the store may be mistaken: what is no connection is closed, and the others are
/// served.
#[test]
fn what_is_no_connection_is_closed() {
    let dir = Dir::new();
    let mut server = Server::start(&["unix:DIR/s"], &dir, Options::default());
    let client = connect(server.address(0), &dir);
    messages(&client, &[5]);
    let mut kept = server.stop().kept;
    let (gone, ours) = UnixStream::pair().expect("socketpair(2)");
    drop(gone);
    let listener = std::os::unix::net::UnixListener::bind(dir.path("other")).expect("bind");
    let strangers: [OwnedFd; 5] = [
        File::open("/dev/null").expect("open").into(),
        UdpSocket::bind("127.0.0.1:0").expect("bind").into(),
        listener.into(),
        Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket").into(),
        // It is a connection, and broken.
        ours.into(),
    ];
    for fd in strangers {
        kept.connections.push(KeptConnection { fd, owed: Some(b"x".to_vec()) });
    }
    server.go_on(kept);
    messages(&client, &[5]);
    assert!(UnixStream::connect(dir.path("other")).is_err(), "nobody listens there any more");
    until(|| server.restart(|ended| ended.kept.connections.len()) == 1);
    messages(&client, &[5]);
}

/// A limit of connections counts those that are there, and ends none of them.
#[test]
fn kept_connections_count_against_the_limit() {
    let dir = Dir::new();
    let options = Options { connections_max: 2, ..Options::default() };
    let mut server = Server::start(&["tcp:127.0.0.1:0"], &dir, options);
    let connect = || connect(server.address(0), &dir);
    let clients = [connect(), connect()];
    clients.iter().for_each(|client| messages(client, &[5]));
    let third = connect();
    third.send(b"third").expect("send");
    server.restart(|_| ());
    clients.iter().for_each(|client| messages(client, &[5]));
    third.set_nonblocking(true).expect("O_NONBLOCK");
    (&third).read(&mut [0]).expect_err("it waits in the backlog");
    third.set_nonblocking(false).expect("O_NONBLOCK");
    drop(clients);
    assert_eq!(receive(&third, 5), b"third");
    drop(TcpStream::from(third));
    server.drain();
}
