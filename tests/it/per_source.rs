//! `--connections-max-per-source`: what is above it is refused, and counted.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use socket2::{Domain, SockRef, Socket, Type};

use crate::activators::{Active, Kind};
use crate::clients::{connect, messages, receive};
use crate::kit::DEADLINE;

const MOST: usize = 3;

/// A connection from this address of the loopback network.
fn connect_from(active: &Active, from: [u8; 4]) -> Socket {
    let port = active.sockaddr().as_socket().expect("an IP address").port();
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.bind(&SocketAddr::from((from, 0)).into()).expect("bind");
    let to = SocketAddr::from((IpAddr::from(Ipv4Addr::LOCALHOST), port));
    socket.connect(&to.into()).expect("connect");
    socket.set_read_timeout(Some(DEADLINE)).expect("a timeout");
    socket
}

/// Expects that the server closes it, without an echo and without a reset.
fn expect_end(socket: &Socket) {
    assert_eq!(receive(socket, 0), b"");
}

#[test]
fn what_is_above_the_limit_is_refused_and_room_returns() {
    for (kind, source) in [
        (Kind::Tcp4, "127.0.0.1"),
        (Kind::TcpDual, "/64"),
        (Kind::Tcp6, "::/64"),
        (Kind::Mptcp, "127.0.0.1"),
        (Kind::UnixStream, "user "),
        (Kind::UnixAbstract, "user "),
        (Kind::UnixSeqpacket, "user "),
    ] {
        let active = Active::serve(kind, &["--connections-max-per-source", "3"]);
        let another = || connect(&active.address, &active.dir);
        let mut served: Vec<_> = (0..MOST).map(|_| another()).collect();
        served.iter().for_each(|socket| messages(socket, &[64]));
        for _ in 0..5 {
            expect_end(&another());
        }
        // The end of one makes room for one.
        let last = served.pop().expect("one");
        last.shutdown(std::net::Shutdown::Write).expect("shutdown");
        expect_end(&last);
        let next = another();
        messages(&next, &[64]);
        expect_end(&another());
        served.iter().for_each(|socket| messages(socket, &[64]));
        let finished = active.process.terminate().expect_code(0).expect_stderr(&[
            "refused a connection on ",
            source,
            "which has 3 already",
            "served 4 connections",
            "; 6 connections were refused",
        ]);
        assert!(finished.stderr.matches("refused a connection").count() < 6, "a line a second");
    }
}

/// An IPv4 client of a socket for both is the same source, and not `::ffff:0:0/64`, which is
/// everybody.
#[test]
fn each_source_has_its_own_limit() {
    for kind in [Kind::Tcp4, Kind::TcpDual] {
        let active = Active::serve(kind, &["--connections-max-per-source", "3", "--workers", "2"]);
        let mut served = Vec::new();
        for last in 1..=5 {
            for _ in 0..MOST {
                let from =
                    if kind == Kind::Tcp4 { [127, 0, 0, last] } else { [127, 0, 0, last + 9] };
                served.push(connect_from(&active, from));
            }
        }
        served.iter().for_each(|socket| messages(socket, &[64]));
        active.process.terminate().expect_code(0).expect_stderr(&["served 15 connections"]);
    }
}

/// Peers that are gone before they are accepted count for nothing, and stop nobody.
#[test]
fn peers_that_reset_at_once_stop_nobody() {
    let active = Active::serve(Kind::Tcp4, &["--connections-max-per-source", "1"]);
    // The server starts with the first of them.
    for _ in 0..200 {
        let socket = connect_from(&active, [127, 0, 0, 2]);
        SockRef::from(&socket).set_linger(Some(Duration::ZERO)).expect("SO_LINGER");
    }
    messages(&connect_from(&active, [127, 0, 0, 3]), &[64]);
    active.process.terminate().expect_code(0);
}
