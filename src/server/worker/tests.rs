//! What shows only from inside: what a worker remembers between two turns.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::*;
use crate::server::{BusyPoll, Limits, Shutdown};
use crate::sys::option;

/// Calls `check` with a worker that has one socket.
fn with_worker(fd: OwnedFd, limits: &Limits, check: impl FnOnce(&mut Worker<'_>)) {
    let (_trigger, shutdown) = Shutdown::on_trigger().expect("eventfd");
    let kind = SocketKind::of(fd.as_fd()).expect("a socket");
    let service = kind.service().expect("it can be served");
    let names = ["test".to_owned()];
    let shared = Shared {
        names: &names,
        limits,
        busy_poll: BusyPoll::Off,
        listeners: &[],
        is_alone: true,
        connections: 0.into(),
        shutdown: &shutdown,
        failure: None,
    };
    let part = Part { fd, source: 0, kind, service };
    let mut worker = Worker::new(&shared, vec![part], Calls::default()).expect("it starts");
    check(&mut worker);
}

#[test]
fn a_connection_that_has_more_to_do_has_one_more_turn_and_not_several() {
    let (mut peer, ours) = UnixStream::pair().expect("socketpair(2)");
    let limits = Limits { stream_buffer_bytes: 1, turn_bytes: 1, ..Limits::default() };
    peer.write_all(b"hello").expect("send");
    with_worker(ours.into(), &limits, |worker| {
        // Its turn ends before its bytes do, and events tell of it in the meantime.
        for _ in 0..3 {
            worker.connection_event(0, EventFlags::IN);
        }
        assert_eq!(worker.ready, [0]);
        worker.work_off_the_ready();
        assert_eq!(worker.ready, [0]);
        for _ in 0..3 {
            worker.work_off_the_ready();
        }
        assert!(worker.ready.is_empty());
    });
    let mut reply = String::new();
    peer.read_to_string(&mut reply).expect("receive");
    assert_eq!(reply, "hello");
}

/// No event tells that the kernel has memory again (`ENOBUFS`): the timer does.
#[test]
fn a_connection_that_was_short_of_memory_is_tried_again() {
    let (mut peer, ours) = UnixStream::pair().expect("socketpair(2)");
    peer.set_nonblocking(true).expect("O_NONBLOCK");
    with_worker(ours.into(), &Limits::default(), |worker| {
        let mut sent = 0;
        while !worker.connections.get(0).expect("a connection").is_blocked() {
            sent += peer.write(&[b'x'; 4096]).expect("send");
            worker.space.is_short_of_memory = true;
            worker.connection_event(0, EventFlags::IN);
        }
        assert_eq!(worker.starved, [0]);
        let mut received = 0;
        while received < sent {
            received += match peer.read(&mut [0; 4096]) {
                Ok(count) => count,
                Err(error) => {
                    assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
                    let due = worker.retry_backoff.due().expect("a retry is planned");
                    while Instant::now() < due {}
                    worker.timers();
                    0
                }
            };
        }
        assert!(worker.starved.is_empty());
    });
}

/// Nobody else empties the error queue, and `EPOLLERR` would wake the worker until it is empty.
#[test]
fn an_error_queue_is_emptied() {
    /// `IP_RECVERR` of linux/in.h.
    const IP_RECVERR: i32 = 11;
    let socket = UdpSocket::bind("127.0.0.1:0").expect("bind");
    option::set(socket.as_fd(), libc::IPPROTO_IP, IP_RECVERR, 1).expect("IP_RECVERR");
    let gone = UdpSocket::bind("127.0.0.1:0").expect("bind");
    gone.send_to(b"hello", socket.local_addr().expect("an address")).expect("send");
    drop(gone);
    let observer = socket.try_clone().expect("dup");
    let events = || {
        let mut fds = [PollFd::new(&observer, PollFlags::IN)];
        poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).expect("poll(2)");
        fds[0].revents()
    };
    with_worker(socket.into(), &Limits::default(), |worker| {
        worker.echo_datagrams(0, EventFlags::IN);
        assert_eq!(events(), PollFlags::ERR, "the reply was refused");
        // The first receive reports the error itself, the next one finds nothing.
        for _ in 0..2 {
            worker.echo_datagrams(0, EventFlags::ERR);
        }
        assert_eq!(events(), PollFlags::empty());
    });
}

/// Splicing cannot tell an urgent byte from the end.
#[test]
fn a_spliced_stream_goes_on_after_an_urgent_byte() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    let peer = TcpStream::connect(listener.local_addr().expect("an address")).expect("connect");
    let (ours, _) = listener.accept().expect("accept");
    ours.set_nonblocking(true).expect("O_NONBLOCK");
    let send = |bytes: &[u8], flags| rustix::net::send(&peer, bytes, flags).expect("send");
    send(b"before", rustix::net::SendFlags::empty());
    send(b"!", rustix::net::SendFlags::OOB);
    send(b"after", rustix::net::SendFlags::empty());
    peer.shutdown(std::net::Shutdown::Write).expect("shutdown");
    with_worker(ours.into(), &Limits::default(), |worker| {
        worker.connections.get(0).expect("a connection").splice_from_now_on();
        let signs = Signs { end: false, urgent: false, unknown: true };
        worker.turn(0, signs);
        while !worker.ready.is_empty() {
            worker.work_off_the_ready();
        }
        assert_eq!(worker.connections.len(), 0, "the peer has sent its end");
    });
    let mut reply = String::new();
    (&peer).read_to_string(&mut reply).expect("receive");
    assert_eq!(reply, "before!after");
}
