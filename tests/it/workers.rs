//! Several workers: they serve each kind of socket as one worker does, share the limits, and all
//! end.

use std::io::{Read, Write};
use std::net::{Shutdown as Direction, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use socket_activate_echo::activation::{InheritedSocket, SocketKind};
use socket_activate_echo::server::{self, Config, Kept, Observer, Progress, Shutdown};
use socket2::SockRef;

use crate::activators::{Active, Kind};
use crate::clients::{Client, connect, messages, pattern, receive};
use crate::handover::{hand_over, hand_over_with};
use crate::kit::{DEADLINE, Dir, Process, run};

const SERVE: [&str; 3] = ["serve", "--workers", "3"];

fn serve(kind: Kind, flags: &[&str]) -> Active {
    Active::serve(kind, &[&SERVE[1..], flags].concat())
}

fn tcp(active: &Active) -> TcpStream {
    connect(&active.address, &active.dir).into()
}

#[test]
fn every_kind_is_served_under_load() {
    for kind in Kind::ALL {
        let active = serve(kind, &[]);
        std::thread::scope(|scope| {
            for _ in 0..6 {
                scope.spawn(|| {
                    for _ in 0..4 {
                        Client::InProcess.check(&active);
                    }
                });
            }
        });
        active.process.terminate().expect_code(0);
    }
}

/// It is one limit for all workers, and room that one of them makes is used by any.
#[test]
fn a_limit_holds_for_all_and_everybody_is_served_in_the_end() {
    const MOST: usize = 3;
    let active = serve(Kind::Tcp4, &["--connections-max", "3"]);
    let served = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..24 {
            let (active, served) = (&active, &served);
            scope.spawn(move || {
                let mut client = tcp(active);
                client.write_all(b"hello").expect("send");
                client.read_exact(&mut [0; 5]).expect("receive");
                let others = served.fetch_add(1, Ordering::SeqCst);
                assert!(others < MOST, "{others} others are served at the same time");
                client.write_all(b"again").expect("send");
                client.read_exact(&mut [0; 5]).expect("receive");
                served.fetch_sub(1, Ordering::SeqCst);
                client.shutdown(Direction::Write).expect("shutdown");
                assert_eq!(client.read(&mut [0]).expect("the end"), 0);
            });
        }
    });
    active.process.terminate().expect_code(0);
}

#[test]
fn a_signal_ends_all_of_them_although_peers_do_not_read() {
    for signal in [Signal::TERM, Signal::INT] {
        let active = serve(Kind::UnixStream, &[]);
        let idle: Vec<_> = (0..6).map(|_| tcp(&active)).collect();
        let mut deaf: Vec<_> = (0..6).map(|_| tcp(&active)).collect();
        for peer in &mut deaf {
            peer.set_nonblocking(true).expect("O_NONBLOCK");
            while peer.write(&pattern(65_536)).is_ok() {}
        }
        messages(&connect(&active.address, &active.dir), &[64]);
        active.process.signal(signal);
        active.process.finish().expect_code(0);
        for mut peer in idle {
            assert_eq!(peer.read(&mut [0]).expect("the end, and no reset"), 0);
        }
    }
}

/// Also where peers are served by different workers: each has its own order.
#[test]
fn the_order_of_a_peer_is_kept() {
    let alone = Active::of(Kind::UnixDatagram);
    for active in [serve(Kind::Udp4, &[]), serve(Kind::UnixDatagram, &[]), alone] {
        let socket = connect(&active.address, &active.dir);
        SockRef::from(&socket).set_recv_buffer_size(1 << 20).expect("SO_RCVBUF");
        for round in 0..200_u32 {
            let batch = || (round * 8..round * 8 + 8).map(u32::to_be_bytes);
            for message in batch() {
                assert_eq!(socket.send(&message).expect("send"), 4);
            }
            for message in batch() {
                assert_eq!(receive(&socket, 4), message, "{}", active.address);
            }
        }
        active.process.terminate().expect_code(0);
    }
}

/// One that finds out that there is nothing left to accept tells the others, who may sleep. A unix
/// listener that was shut down hangs up, and goes on saying that nobody waits.
#[test]
fn all_end_when_the_listener_was_shut_down() {
    let dir = Dir::new();
    let tcp = TcpListener::bind("127.0.0.1:0").expect("bind");
    let unix = UnixListener::bind(dir.path("s")).expect("bind");
    let tcp_client = TcpStream::connect(tcp.local_addr().expect("an address")).expect("connect");
    let unix_client = UnixStream::connect(dir.path("s")).expect("connect");
    for (listener, client) in
        [(OwnedFd::from(tcp), OwnedFd::from(tcp_client)), (unix.into(), unix_client.into())]
    {
        let handed_over = listener.try_clone().expect("dup");
        let process = Process::start(&mut hand_over(handed_over, &SERVE));
        let client = socket2::Socket::from(client);
        client.set_read_timeout(Some(DEADLINE)).expect("a timeout");
        messages(&client, &[5]);
        rustix::net::shutdown(&listener, rustix::net::Shutdown::Both).expect("shutdown");
        drop(client);
        process.finish().expect_code(1).expect_stderr(&["no listening socket accepts connections"]);
    }
}

/// A watchdog is fed for as long as anything is served.
#[test]
fn the_heartbeat_outlives_a_connection() {
    let (mut peer, connection) = UnixStream::pair().expect("socketpair(2)");
    let datagram = UdpSocket::bind("127.0.0.1:0").expect("bind");
    let sockets: Vec<_> = [OwnedFd::from(connection), datagram.into()].map(inherited).into();
    let (sender, beats) = std::sync::mpsc::channel();
    let (trigger, shutdown) = Shutdown::on_trigger().expect("eventfd");
    let mut heart = Heart { due: Instant::now(), sender };
    let config = Config { workers: 2, ..Config::default() };
    std::thread::scope(|scope| {
        let server =
            scope.spawn(|| server::run(sockets, Kept::default(), &config, &shutdown, &mut heart));
        peer.shutdown(Direction::Write).expect("shutdown");
        assert_eq!(peer.read(&mut [0]).expect("the end"), 0);
        let ended = beats.try_iter().count();
        let goes_on = (0..50).all(|_| beats.recv_timeout(DEADLINE).is_ok());
        trigger.pull();
        assert!(goes_on, "after {ended} beats the connection ended, and the heartbeat with it");
        server.join().expect("no panic").expect("it ends well");
    });
}

/// Wants to be called once a millisecond.
struct Heart {
    due: Instant,
    sender: Sender<()>,
}

impl Observer for Heart {
    fn next_due(&self) -> Option<Instant> {
        Some(self.due)
    }

    fn tick(&mut self, now: Instant, _: &Progress) {
        self.due = now + Duration::from_millis(1);
        self.sender.send(()).expect("the test listens");
    }
}

pub(crate) fn inherited(fd: OwnedFd) -> InheritedSocket {
    let kind = SocketKind::of(fd.as_fd()).expect("a socket");
    let service = kind.service().expect("it can be served");
    InheritedSocket { fd, name: "test".to_owned(), kind, service }
}

/// One that cannot start does not leave the others running with nobody to know.
#[test]
fn one_that_cannot_start_is_reported() {
    // Open before are the three streams, the listener, the signals and the workers' own event:
    // two of the workers have room for an epoll instance, and the others have not.
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    let environment = "LISTEN_PID=$$ LISTEN_FDS=1; ulimit -n 8";
    let mut command = hand_over_with(listener, environment, "", &["serve", "--workers", "9"]);
    run(&mut command).expect_code(1).expect_stderr(&["create an epoll instance"]);
}
