//! What peers do to a server: they reset and half-close. The model has them do everything else.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use crate::activators::{Active, Kind};
use crate::clients::{Client, connect, messages, pattern, whole_stream};

fn tcp(active: &Active) -> TcpStream {
    connect(&active.address, &active.dir).into()
}

#[test]
fn resets_end_their_own_connections_only() {
    let active = Active::of(Kind::Tcp4);
    let bystander = connect(&active.address, &active.dir);
    for round in 0..200 {
        let mut peer = tcp(&active);
        let linger = socket2::SockRef::from(&peer).set_linger(Some(Duration::ZERO));
        linger.expect("SO_LINGER");
        match round % 4 {
            // Before anything is sent, in the middle of it, after the reply, and half-closed.
            0 => {}
            1 => peer.write_all(&pattern(100_000)).expect("send"),
            2 => {
                peer.write_all(b"hello").expect("send");
                peer.read_exact(&mut [0; 5]).expect("receive");
            }
            _ => {
                peer.write_all(&pattern(1000)).expect("send");
                peer.shutdown(Shutdown::Write).expect("shutdown");
            }
        }
        drop(peer);
        messages(&bystander, &[64]);
    }
    Client::InProcess.check(&active);
    active.process.terminate().expect_code(0);
}

#[test]
fn a_half_closed_peer_gets_everything_and_then_the_end() {
    for kind in [Kind::Tcp4, Kind::TcpDual, Kind::Mptcp, Kind::UnixStream, Kind::UnixAbstract] {
        let active = Active::of(kind);
        for len in [0, 1, 65_536, 3_000_000] {
            whole_stream(&connect(&active.address, &active.dir), len);
        }
        active.process.terminate().expect_code(0);
    }
}

/// The peer wants no reply at all, and says so.
#[test]
fn a_peer_that_shuts_its_receiving_side_is_let_go() {
    let active = Active::of(Kind::UnixStream);
    for _ in 0..50 {
        let mut peer = UnixStream::connect(active.dir.path("s")).expect("connect");
        peer.shutdown(Shutdown::Read).expect("shutdown");
        // The server may have closed already, with EPIPE as the answer.
        let _ = peer.write_all(&pattern(10_000));
    }
    Client::InProcess.check(&active);
    active.process.terminate().expect_code(0);
}
