//! What peers do to a server: they reset, half-close, die, connect all at once, and send at any
//! pace.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use rustix::event::{PollFd, PollFlags, poll};

use crate::activators::{Activator, Active, Kind, Who};
use crate::clients::{Client, connect, messages, pattern, receive};
use crate::kit::{Process, clean, raise_descriptor_limit};

const OURS: Activator = Activator { who: Who::Ours, accept: false, inetd: false };

fn server(kind: Kind) -> Active {
    OURS.start(kind).expect("it starts")
}

fn tcp(active: &Active) -> TcpStream {
    connect(&active.address, &active.dir).into()
}

#[test]
fn resets_end_their_own_connections_only() {
    let active = server(Kind::Tcp4);
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
        let active = server(kind);
        for len in [0, 1, 65_536, 3_000_000] {
            let socket = connect(&active.address, &active.dir);
            let sent = pattern(len);
            let mut received = Vec::new();
            let (mut writer, mut reader) = (&socket, &socket);
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    writer.write_all(&sent).expect("send");
                    writer.shutdown(Shutdown::Write).expect("shutdown");
                });
                reader.read_to_end(&mut received).expect("receive until the end");
            });
            assert!(received == sent, "{kind:?}: {} of {len} bytes", received.len());
        }
        active.process.terminate().expect_code(0);
    }
}

/// The peer wants no reply at all, and says so.
#[test]
fn a_peer_that_shuts_its_receiving_side_is_let_go() {
    let active = server(Kind::UnixStream);
    for _ in 0..50 {
        let mut peer = UnixStream::connect(active.dir.path("s")).expect("connect");
        peer.shutdown(Shutdown::Read).expect("shutdown");
        // The server may have closed already, with EPIPE as the answer.
        let _ = peer.write_all(&pattern(10_000));
    }
    Client::InProcess.check(&active);
    active.process.terminate().expect_code(0);
}

#[test]
fn seqpacket_boundaries_are_kept_under_back_pressure() {
    let active = server(Kind::UnixSeqpacket);
    let socket = connect(&active.address, &active.dir);
    let sizes: Vec<usize> = (0..500).map(|index| 1 + (index * 7919) % 9001).collect();
    let sender = &socket;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for &size in &sizes {
                assert_eq!(sender.send(&pattern(size)).expect("send"), size);
            }
            sender.shutdown(Shutdown::Write).expect("shutdown");
        });
        for &size in &sizes {
            let received = receive(&socket, size);
            assert!(received == pattern(size), "{} of {size} bytes", received.len());
        }
        assert_eq!(receive(&socket, 1).len(), 0, "the end");
    });
    active.process.terminate().expect_code(0);
}

#[test]
fn thousands_that_connect_at_once() {
    const PEERS: usize = 2000;
    raise_descriptor_limit();
    for kind in [Kind::Tcp4, Kind::UnixStream] {
        let active = server(kind);
        // Nobody waits for a reply before the last one has connected and sent.
        let peers: Vec<_> = (0..PEERS)
            .map(|index| {
                let peer = connect(&active.address, &active.dir);
                let message = u64::try_from(index).expect("it fits").to_be_bytes();
                assert_eq!(peer.send(&message).expect("send"), message.len());
                peer
            })
            .collect();
        for (index, mut peer) in peers.iter().enumerate() {
            let mut reply = [0; 8];
            peer.read_exact(&mut reply).expect("receive");
            assert_eq!(u64::from_be_bytes(reply), index as u64);
        }
        drop(peers);
        active.process.terminate().expect_code(0);
    }
}

#[test]
fn a_client_that_is_killed_in_mid_stream() {
    let active = server(Kind::Tcp4);
    let port = active.sockaddr().as_socket().expect("an IP address").port();
    let script =
        format!("exec 5<>/dev/tcp/127.0.0.1/{port}; echo sending >&2; exec cat /dev/zero >&5");
    let bystander = connect(&active.address, &active.dir);
    for _ in 0..10 {
        let client = Process::start(clean("bash").args(["-c", &script]));
        assert!(client.stderr_line("sending").is_some(), "{}", client.describe());
        messages(&bystander, &[64]);
        client.signal(rustix::process::Signal::KILL);
        client.finish();
        messages(&bystander, &[64]);
    }
    active.process.terminate().expect_code(0);
}

/// What a peer does next. A stall is a run of sends without a receive.
#[derive(Debug, Clone)]
enum Step {
    Send(usize),
    Receive(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    // Most are small, some are larger than any buffer on the way.
    let size = || prop_oneof![4 => 1..200_usize, 2 => 1..70_000_usize, 1 => 1..2_000_000_usize];
    let step = prop_oneof![size().prop_map(Step::Send), size().prop_map(Step::Receive)];
    proptest::collection::vec(step, 1..40)
}

#[test]
fn streams_are_whole_under_random_splits_and_stalls() {
    for kind in [Kind::Tcp4, Kind::UnixStream] {
        let active = server(kind);
        let config = Config { cases: 48, failure_persistence: None, ..Config::default() };
        TestRunner::new(config)
            .run(&steps(), |steps| {
                stream_is_whole(&active, &steps);
                Ok(())
            })
            .unwrap_or_else(|error| panic!("{kind:?}: {error}\n{}", active.process.describe()));
        active.process.terminate().expect_code(0);
    }
}

/// Sends and receives in the given order, as much as goes at once each time; then half-closes and
/// expects the rest.
fn stream_is_whole(active: &Active, steps: &[Step]) {
    let mut peer = connect(&active.address, &active.dir);
    peer.set_nonblocking(true).expect("O_NONBLOCK");
    let total = steps.iter().map(|step| if let Step::Send(size) = step { *size } else { 0 }).sum();
    let data = pattern(total);
    let (mut sent, mut received) = (0, Vec::new());
    for step in steps {
        let result = match step {
            Step::Send(size) => peer.write(&data[sent..sent + size]).map(|count| sent += count),
            Step::Receive(size) => {
                let mut buffer = vec![0; *size];
                peer.read(&mut buffer).map(|count| received.extend_from_slice(&buffer[..count]))
            }
        };
        if let Err(error) = result {
            assert_eq!(error.kind(), ErrorKind::WouldBlock, "{error}");
        }
    }
    peer.shutdown(Shutdown::Write).expect("shutdown");
    loop {
        let mut buffer = [0; 65_536];
        match peer.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => received.extend_from_slice(&buffer[..count]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                let mut fds = [PollFd::new(&peer, PollFlags::IN)];
                poll(&mut fds, Some(&crate::kit::deadline())).expect("poll(2)");
            }
            Err(error) => panic!("receive: {error}"),
        }
    }
    assert!(received == data[..sent], "{} of {sent} bytes, or others", received.len());
}
