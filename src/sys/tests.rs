//! Each call on real sockets: they are run under valgrind too, which sees what a call reads and
//! writes beyond its buffers.

use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use rustix::event::PollFlags;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair, sockopt};

use super::control::{CONTROL_MAX, CREDENTIALS_SPACE, write};
use super::message::{Batch, ReplyTo, receive_packet, send};
use super::{descriptor, option, query, queue, signal};
use crate::deadline::Deadline;

#[test]
fn datagrams_are_answered_from_where_they_lie() {
    let dir = tempfile::tempdir().expect("a directory");
    let server = UnixDatagram::bind(dir.path().join("server")).expect("bind");
    let client = UnixDatagram::bind(dir.path().join("client")).expect("bind");
    for datagram in [&b"hello"[..], b"", b"longer than a slot"] {
        client.send_to(datagram, dir.path().join("server")).expect("send");
    }
    let mut batch = Batch::new(4, 8, CONTROL_MAX);
    assert_eq!(batch.receive(server.as_fd(), 4).expect("receive"), 3);
    let received: Vec<_> =
        (0..3).map(|slot| (batch.data(slot).to_vec(), batch.is_truncated(slot))).collect();
    let expected = [(&b"hello"[..], false), (b"", false), (b"longer t", true)];
    assert_eq!(received, expected.map(|(data, is_truncated)| (data.to_vec(), is_truncated)));
    let name = batch.name(0).to_vec();
    assert_eq!(batch.name(2), name);
    batch.push_reply(0, 1, ReplyTo::Sender, |control| write(control, &Default::default()));
    batch.push_reply(0, 3, ReplyTo::Name(&name), |_| 0);
    assert_eq!(batch.send(server.as_fd(), 0, 2).expect("send"), 2);
    send(server.as_fd(), &name, &[], b"alone").expect("send");
    let mut buffer = [0; 32];
    for reply in [&b"hello"[..], b"hellolonger t", b"alone"] {
        let len = client.recv(&mut buffer).expect("receive");
        assert_eq!(&buffer[..len], reply);
    }
    batch.clear_replies();
    let error = batch.receive(server.as_fd(), 4).expect_err("nothing is left");
    assert_eq!(error.raw_os_error(), Some(libc::EAGAIN));
}

#[test]
fn a_connected_socket_has_one_peer() {
    let (ours, theirs) = UnixDatagram::pair().expect("a pair");
    theirs.send(b"ping").expect("send");
    let mut batch = Batch::new(1, 8, CREDENTIALS_SPACE);
    assert_eq!(batch.receive(ours.as_fd(), 1).expect("receive"), 1);
    batch.push_reply(0, 1, ReplyTo::Peer, |_| 0);
    assert_eq!(batch.send(ours.as_fd(), 0, 1).expect("send"), 1);
    send(ours.as_fd(), &[], &[], b"pong").expect("send");
    assert!(queue::unsent(ours.as_fd()).expect("a count") > 0, "nobody has read it");
    let mut buffer = [0; 4];
    for reply in [b"ping", b"pong"] {
        theirs.recv(&mut buffer).expect("receive");
        assert_eq!(&buffer, reply);
    }
    assert_eq!(queue::unsent(ours.as_fd()).expect("a count"), 0);
}

#[test]
fn a_packet_has_its_length_and_says_whether_it_came_with_more() {
    let (ours, theirs) =
        socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
            .expect("a pair");
    for has_credentials in [false, true] {
        sockopt::set_socket_passcred(&ours, has_credentials).expect("SO_PASSCRED");
        rustix::io::write(&theirs, b"packet").expect("send");
        let mut buffer = [0; 4];
        let packet = receive_packet(ours.as_fd(), &mut buffer).expect("receive");
        assert_eq!((packet.len, packet.has_control), (6, has_credentials));
        assert_eq!(&buffer, b"pack");
    }
}

#[test]
fn options_and_descriptors() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    option::set(listener.as_fd(), libc::SOL_SOCKET, libc::SO_KEEPALIVE, 1).expect("set");
    assert_eq!(option::get(listener.as_fd(), libc::SOL_SOCKET, libc::SO_KEEPALIVE).ok(), Some(1));
    let error = option::get(listener.as_fd(), libc::SOL_SOCKET, -1).expect_err("no such option");
    assert_eq!(error.raw_os_error(), Some(libc::ENOPROTOOPT));
    let _client = TcpStream::connect(listener.local_addr().expect("an address")).expect("connect");
    let soon = Deadline::after(Duration::from_secs(10));
    soon.wait(&listener, PollFlags::IN).expect("a connection");
    assert_eq!(query::accept_queue(listener.as_fd()).expect("TCP_INFO").waiting, 1);
    assert!(query::duplicate(listener.as_raw_fd()).expect("fcntl").is_some());
    assert!(query::duplicate(-1).expect("no call").is_none());
    assert!(descriptor::adopt(-1).expect("no call").is_none());
    // It is blocked in this thread only, and nobody sends it.
    signal::signalfd(&[libc::SIGUSR1]).expect("signalfd");
}
