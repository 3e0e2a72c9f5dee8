//! What can be tested only from inside: what a worker remembers between two turns.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::*;
use crate::activation::Service;
use crate::sandbox::Sandbox;
use crate::server::pace::Pace;
use crate::server::permits::Permits;
use crate::server::pulse::Pulse;
use crate::server::shared::ServedSocket;
use crate::server::{BusyPoll, Limits, Shutdown};
use crate::sys::option;
use crate::testing::without_other_processes;

/// Calls `check` with a worker that has one socket, and room for one connection.
fn with_worker(
    socket: impl Into<OwnedFd>,
    limits: &Limits,
    check: impl FnOnce(&mut Worker<'_>, &Permits),
) {
    with_sockets(vec![socket.into()], limits, check);
}

/// The same with several sockets.
fn with_sockets(
    sockets: Vec<OwnedFd>,
    limits: &Limits,
    check: impl FnOnce(&mut Worker<'_>, &Permits),
) {
    let (_trigger, shutdown) = Shutdown::on_trigger().expect("eventfd");
    let permits = Permits::new(1);
    let is_listener = |socket: &ServedSocket| socket.service == Service::StreamListener;
    let (listeners, own): (Vec<_>, Vec<_>) =
        sockets.into_iter().map(ServedSocket::first).partition(is_listener);
    let shared = Shared {
        names: &["test".to_owned()],
        limits,
        busy_poll: BusyPoll::Off.into(),
        sandbox: &Sandbox::default(),
        answer: None,
        listeners: &listeners,
        is_alone: true,
        connections: &permits,
        per_source: None,
        idle_lines: Pace::default(),
        never_answered: &[],
        exit_idle_time: None,
        shutdown: &shutdown,
        failure: None,
        pulses: &[Pulse::default()],
        bell: None,
        keeps_connections: false,
        kept_source: 0,
    };
    check(&mut Worker::new(&shared, 0, (own, Kept::default())).expect("it starts"), &permits);
}

fn connection_event(worker: &mut Worker<'_>, flags: EventFlags) {
    worker.event(Token::Connection(0), flags, &mut ());
}

fn datagram_event(worker: &mut Worker<'_>, flags: EventFlags) {
    worker.event(Token::Datagram(0), flags, &mut ());
}

fn continue_ready(worker: &mut Worker<'_>) {
    worker.connections.continue_ready(&mut worker.space);
}

#[test]
fn a_connection_that_has_more_to_do_has_one_more_turn_and_not_several() {
    let (mut peer, ours) = UnixStream::pair().expect("socketpair(2)");
    let limits = Limits { stream_buffer_bytes: 1, round_bytes: 1, ..Limits::default() };
    peer.write_all(b"hello").expect("send");
    with_worker(ours, &limits, |worker, _| {
        // Its turn ends before its bytes do, and more events come meanwhile.
        for _ in 0..3 {
            connection_event(worker, EventFlags::IN);
        }
        assert!(worker.connections.ready() > 0);
        continue_ready(worker);
        assert!(worker.connections.ready() > 0);
        for _ in 0..3 {
            continue_ready(worker);
        }
        assert_eq!(worker.connections.ready(), 0);
    });
    let mut reply = String::new();
    peer.read_to_string(&mut reply).expect("receive");
    assert_eq!(reply, "hello");
}

/// Small messages count like large ones, so other connections get their turn in between.
#[test]
fn a_turn_ends_after_some_messages_however_short_they_are() {
    let limits = Limits { round_bytes: 4 * 4096, ..Limits::default() };
    let (peer, ours) = socket2::Socket::pair(socket2::Domain::UNIX, socket2::Type::SEQPACKET, None)
        .expect("a pair");
    peer.set_nonblocking(true).expect("O_NONBLOCK");
    for _ in 0..10 {
        peer.send(b"x").expect("send");
    }
    with_worker(ours, &limits, |worker, _| {
        connection_event(worker, EventFlags::IN);
        let replies = std::iter::from_fn(|| (&peer).read(&mut [0]).ok());
        assert_eq!(replies.count(), 4);
        assert!(worker.connections.ready() > 0);
    });
}

/// A pipe belongs to the connection that uses it, and its permit returns however that ends.
#[test]
fn peers_that_reset_in_the_middle_of_a_splice_leave_the_pipes_to_the_others() {
    let limits = Limits { pipes_max: 1, ..Limits::default() };
    let (peer, ours) = UnixStream::pair().expect("socketpair(2)");
    peer.set_nonblocking(true).expect("O_NONBLOCK");
    ours.set_nonblocking(true).expect("O_NONBLOCK");
    with_worker(ours, &limits, |worker, _| {
        worker.connections.get(0).expect("a connection").splice_from_now_on();
        // The peer sends and does not read, until the pipe is full too.
        while !worker.connections.get(0).expect("a connection").is_blocked() {
            let _ = (&peer).write(&[b'x'; 65_536]);
            connection_event(worker, EventFlags::IN);
        }
        assert!(worker.space.pipes.take().is_none(), "the one pipe is lent");
        let _guard = without_other_processes();
        drop(peer);
        connection_event(worker, EventFlags::OUT | EventFlags::HUP | EventFlags::ERR);
        assert_eq!(worker.connections.len(), 0);
        assert!(worker.space.pipes.take().is_some(), "it may be made again");
    });
}

/// Whatever the peers are, however much room there is, and whether bytes are copied or spliced.
#[test]
fn what_is_kept_for_peers_that_do_not_read_never_exceeds_the_limit() {
    use socket2::{Domain, Socket, Type};
    const CONNECTIONS: u32 = 30;
    for unread_bytes_max in [0, 1, 5000, 100_000, 1_000_000, usize::MAX] {
        let (mut peers, mut ours) = (Vec::new(), Vec::new());
        for number in 0..CONNECTIONS {
            let kind = if number % 2 == 0 { Type::STREAM } else { Type::SEQPACKET };
            let (peer, other) = Socket::pair(Domain::UNIX, kind, None).expect("socketpair(2)");
            peer.set_nonblocking(true).expect("O_NONBLOCK");
            other.set_nonblocking(true).expect("O_NONBLOCK");
            peers.push(peer);
            ours.push(other.into());
        }
        let message_bytes_max = 65_536;
        let limits = Limits { unread_bytes_max, message_bytes_max, ..Limits::default() };
        with_sockets(ours, &limits, |worker, _| {
            for number in (0..CONNECTIONS).step_by(4) {
                worker.connections.get(number).expect("a connection").splice_from_now_on();
            }
            let mut most = 0;
            for _ in 0..20 {
                for (number, mut peer) in (0..).zip(&peers) {
                    while peer.write(&[b'x'; 40_000]).is_ok() {}
                    worker.event(Token::Connection(number), EventFlags::IN, &mut ());
                    most = most.max(worker.space.unread.kept());
                    continue_ready(worker);
                }
            }
            assert!(most <= unread_bytes_max, "{most} of {unread_bytes_max}");
            assert!(most >= unread_bytes_max.min(1_000_000) / 2, "{most} of {unread_bytes_max}");
            let blocked = |number| worker.connections.get(number).expect("it is open").is_blocked();
            assert!((0..CONNECTIONS).all(blocked));
            // Who is gone is owed nothing.
            let _guard = without_other_processes();
            drop(peers);
            for number in 0..CONNECTIONS {
                let flags = EventFlags::OUT | EventFlags::HUP | EventFlags::RDHUP;
                worker.event(Token::Connection(number), flags, &mut ());
            }
            assert_eq!((worker.connections.len(), worker.space.unread.kept()), (0, 0));
        });
    }
}

/// The worker must empty the error queue: `EPOLLERR` would wake it until the queue is empty.
#[test]
fn an_error_queue_is_emptied() {
    /// `IP_RECVERR` of linux/in.h.
    const IP_RECVERR: i32 = 11;
    let socket = UdpSocket::bind("127.0.0.1:0").expect("bind");
    option::set(socket.as_fd(), libc::IPPROTO_IP, IP_RECVERR, 1).expect("IP_RECVERR");
    let gone = UdpSocket::bind("127.0.0.1:0").expect("bind");
    gone.send_to(b"hello", socket.local_addr().expect("an address")).expect("send");
    let _guard = without_other_processes();
    drop(gone);
    let observer = socket.try_clone().expect("dup");
    let events = || {
        let mut fds = [PollFd::new(&observer, PollFlags::IN)];
        poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).expect("poll(2)");
        fds[0].revents()
    };
    with_worker(socket, &Limits::default(), |worker, _| {
        datagram_event(worker, EventFlags::IN);
        assert_eq!(events(), PollFlags::ERR, "the reply was refused");
        // The first receive reports the error, the next one finds nothing.
        for _ in 0..2 {
            datagram_event(worker, EventFlags::ERR);
        }
        assert_eq!(events(), PollFlags::empty());
    });
}

/// splice(2) returns 0 for an urgent byte and for the end.
#[test]
fn a_spliced_stream_goes_on_after_an_urgent_byte() {
    let (mut peer, ours) = UnixStream::pair().expect("socketpair(2)");
    ours.set_nonblocking(true).expect("O_NONBLOCK");
    with_worker(ours, &Limits::default(), |worker, _| {
        let send = |bytes: &[u8], flags| rustix::net::send(&peer, bytes, flags).expect("send");
        worker.connections.get(0).expect("a connection").splice_from_now_on();
        send(b"before", rustix::net::SendFlags::empty());
        send(b"!", rustix::net::SendFlags::OOB);
        send(b"after", rustix::net::SendFlags::empty());
        peer.shutdown(std::net::Shutdown::Write).expect("shutdown");
        connection_event(worker, EventFlags::IN);
        while worker.connections.ready() > 0 {
            continue_ready(worker);
        }
        assert_eq!(worker.connections.len(), 0, "the peer has sent its end");
    });
    let mut reply = String::new();
    peer.read_to_string(&mut reply).expect("receive");
    assert_eq!(reply, "before!after");
}

/// The waits before accepting is tried again, after there was no room.
#[test]
fn the_wait_for_room_starts_anew_after_a_connection_was_accepted() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    let address = listener.local_addr().expect("an address");
    let there_is_no_room = |worker: &mut Worker<'_>| {
        worker.event(Token::Listener(0), EventFlags::IN, &mut ());
        let due = worker.listeners.next_due().expect("connections are looked for again");
        worker.listeners.on_time(due, &worker.space);
        due - Instant::now()
    };
    let clients = [0; 2].map(|_| TcpStream::connect(address).expect("connect"));
    with_worker(listener, &Limits::default(), |worker, permits| {
        let taken = permits.take().expect("the only one");
        let longest = (0..10).map(|_| there_is_no_room(worker)).last().expect("the tenth");
        drop(taken);
        let shortest = there_is_no_room(worker);
        assert_eq!(worker.connections.len(), 1, "one had room, and the next has not");
        assert!(shortest < longest / 10, "{shortest:?} after {longest:?}");
        // The end of one connection makes room for the next one, which gets the same number.
        worker.event(Token::Listener(0), EventFlags::IN, &mut ());
        assert!(worker.listeners.next_due().is_some());
        let _guard = without_other_processes();
        drop(clients);
        connection_event(worker, EventFlags::IN | EventFlags::RDHUP);
        worker.after_events(&mut ());
        assert_eq!(worker.listeners.next_due(), None, "there is room");
        worker.event(Token::Listener(0), EventFlags::IN, &mut ());
        assert!(worker.connections.get(0).is_some());
    });
}
