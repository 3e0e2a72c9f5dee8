//! A server stops in the middle of everything and keeps what is unfinished, another one goes on with
//! it, and no peer notices. The model has peers of every kind; here is what it cannot look at.

mod datagrams;
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

use self::server::{Options, Server};
use crate::clients::{connect, messages, pattern, receive};
use crate::kit::{DEADLINE, Dir};

/// Tries again and again, for as long as a test waits for anything.
fn until(mut is_so: impl FnMut() -> bool) {
    let give_up = Instant::now() + DEADLINE;
    while !is_so() {
        assert!(Instant::now() < give_up, "it does not come to that");
    }
}

fn empty_messages(ended: &Ended) -> usize {
    let is_empty =
        |connection: &&KeptConnection| connection.owed.as_ref().is_some_and(Vec::is_empty);
    ended.kept.connections.iter().filter(is_empty).count()
}

/// Those that use up every buffer on the way, so that one of them is owed at a restart.
#[test]
fn an_empty_message_that_is_owed_goes_along() {
    const MESSAGES: usize = 5000;
    let dir = Dir::new();
    let mut server = Server::start(&["unix-seqpacket:DIR/s"], &dir, Options::default());
    let client = connect(server.address(0), &dir);
    std::thread::scope(|scope| {
        scope.spawn(|| (0..MESSAGES).for_each(|_| assert_eq!(client.send(b"").expect("send"), 0)));
        until(|| server.restart(empty_messages) > 0);
        (0..MESSAGES).for_each(|_| assert_eq!(receive(&client, 1), b""));
    });
    // An end is as empty as they are, so one with bytes shows that they were all.
    messages(&client, &[1]);
    server.drain();
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
