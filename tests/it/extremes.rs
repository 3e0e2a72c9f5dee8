//! What few peers do: send urgent data, messages larger than the usual buffers, or datagrams to a
//! broadcast address, want no reply, and be gone or late at the wrong moment. The model has them
//! reset and half-close.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream, UdpSocket};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::net::SendFlags;
use socket2::SockRef;

use crate::activators::{Active, Kind};
use crate::clients::{Client, connect, expect_numbers, messages, pattern, receive, send_numbers};
use crate::handover::hand_over;
use crate::kit::{DEADLINE, deadline, run};

/// Urgent bytes are bytes of the stream, also in bulk that the server splices.
#[test]
fn urgent_bytes_keep_their_place() {
    for kind in [Kind::Tcp4, Kind::UnixStream] {
        let active = Active::of(kind);
        for len in [0, 5, 300_000, 20_000_000] {
            let peer = connect(&active.address, &active.dir);
            // Of two urgent bytes that arrive before anybody could accept, TCP drops the first.
            messages(&peer, &[1]);
            let mut sent = pattern(len);
            let mut received = Vec::new();
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    let (mut writer, bulk) = (&peer, sent.clone());
                    for urgent in [b"!", b"?"] {
                        writer.write_all(&bulk).expect("send");
                        rustix::net::send(&peer, urgent, SendFlags::OOB).expect("send");
                    }
                    writer.write_all(b"the end").expect("send");
                    writer.shutdown(Shutdown::Write).expect("shutdown");
                });
                (&peer).read_to_end(&mut received).expect("receive until the end");
            });
            sent = [&sent[..], b"!", &sent, b"?the end"].concat();
            assert!(received == sent, "{kind:?}: {} of {} bytes", received.len(), sent.len());
        }
        active.process.terminate().expect_code(0);
    }
}

/// To an IPv6 socket, a broadcast of IPv4 is addressed to itself: nothing can be sent from there.
#[test]
fn a_broadcast_is_answered() {
    for wildcard in ["udp:0.0.0.0:0", "udp:[::]:0"] {
        let active = Active::server(wildcard);
        let port = active.sockaddr().as_socket().expect("an IP address").port();
        let client = UdpSocket::bind("0.0.0.0:0").expect("bind");
        client.set_broadcast(true).expect("SO_BROADCAST");
        client.set_read_timeout(Some(DEADLINE)).expect("a timeout");
        for _ in 0..2 {
            client.send_to(b"hello", ("127.255.255.255", port)).expect("send");
            let (count, from) = client.recv_from(&mut [0; 9]).expect("receive");
            assert_eq!((count, from.port()), (5, port), "{wildcard}");
        }
        active.process.terminate().expect_code(0);
    }
}

/// The kernel holds so many datagrams for a receiver (net.unix.max_dgram_qlen), the server keeps the
/// next ones, for a second. A receiver that is late again and again must not make the server wait
/// ever longer, or the replies expire; and a signal loses none that waits.
#[test]
fn late_receivers_get_everything_each_time() {
    const REPLIES: u32 = 60;
    let active = Active::of(Kind::UnixDatagram);
    let late = UnixDatagram::bind(active.dir.path("late")).expect("bind");
    let other = connect(&active.address, &active.dir);
    for round in 1..=20 {
        send_numbers(&late, &active.dir.path("s"), REPLIES);
        // All have been received when somebody else is answered.
        messages(&other, &[5]);
        if round == 20 {
            active.process.signal(rustix::process::Signal::TERM);
        }
        expect_numbers(&late, REPLIES);
    }
    active.process.finish().expect_code(0);
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

/// `Accept=yes` starts a service for a client who may be gone by then: that is not an error of the
/// unit's.
#[test]
fn a_client_that_reset_before_the_service_started() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    let client = TcpStream::connect(listener.local_addr().expect("an address")).expect("connect");
    let (connection, _) = listener.accept().expect("accept");
    SockRef::from(&client).set_linger(Some(Duration::ZERO)).expect("SO_LINGER");
    drop(client);
    let mut fds = [PollFd::new(&connection, PollFlags::RDHUP)];
    poll(&mut fds, Some(&deadline())).expect("poll(2)");
    run(&mut hand_over(connection, &[])).expect_code(0);
}

/// An empty message of a socket pair is a message, and the end is the end, also where the socket
/// waits by default and was never accepted.
#[test]
fn empty_messages_on_an_inherited_pair() {
    let pair = socket2::Socket::pair(socket2::Domain::UNIX, socket2::Type::SEQPACKET, None);
    let (ours, theirs) = pair.expect("socketpair(2)");
    ours.set_read_timeout(Some(DEADLINE)).expect("a timeout");
    // The first ones wait in the socket before the server can ask for credentials with them.
    for message in [&b""[..], b"a", b"", b""] {
        assert_eq!(ours.send(message).expect("send"), message.len());
    }
    let process = crate::kit::Process::start(&mut hand_over(theirs, &[]));
    for message in [&b""[..], b"a", b"", b""] {
        assert_eq!(receive(&ours, 1), message);
    }
    messages(&ours, &[0, 1, 0, 65_536, 0]);
    drop(ours);
    process.finish().expect_code(0);
}
