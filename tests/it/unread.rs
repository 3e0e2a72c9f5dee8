//! `--unread-bytes-max`: what peers that do not read can make the server keep.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};

use crate::activators::{Active, Kind};
use crate::clients::{Client, connect, messages, pattern};
use crate::handover::hand_over;
use crate::kit::{DEADLINE, Process, many_descriptors, measured};

/// Without room for a single byte, everybody who reads is served as ever.
#[test]
fn nobody_needs_what_the_server_keeps() {
    for kind in Kind::ALL {
        for bytes in ["0", "1000", "100000"] {
            let active = Active::serve(kind, &["--unread-bytes-max", bytes]);
            Client::InProcess.check(&active);
            active.process.terminate().expect_code(0);
        }
    }
}

/// A server with these flags. The sockets of its TCP connections have small buffers, as in a kernel
/// with little memory: the kernel has one limit of memory for all TCP sockets (`tcp_mem`, tcp(7)).
fn serve(kind: Kind, flags: &[&str]) -> Active {
    if kind != Kind::Tcp4 {
        return Active::serve(kind, flags);
    }
    let listener = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    listener.set_recv_buffer_size(32 << 10).expect("SO_RCVBUF");
    listener.set_send_buffer_size(32 << 10).expect("SO_SNDBUF");
    listener.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).expect("bind");
    listener.listen(4096).expect("listen");
    let address = listener.local_addr().expect("an address").as_socket().expect("an IP address");
    let process = Process::start(&mut hand_over(listener, &[&["serve"], flags].concat()));
    Active::at(process, &format!("tcp:{address}"))
}

/// A peer that sends until nobody takes any more, and how many bytes, or messages of a seqpacket
/// socket, that was.
struct Deaf {
    socket: Socket,
    sent: usize,
}

const PEERS: usize = 5000;
const BOUND: usize = 8 << 20;
/// The most memory that a connection needs whose peer does not read, without its bytes: its place
/// in the table, and a block that says what is kept for it.
const EACH: usize = 128;
const MESSAGE: usize = 8192;

impl Deaf {
    fn connect(active: &Active, kind: Kind) -> Self {
        let socket = if kind == Kind::Tcp4 {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
            // Segments as on Ethernet: into a window that is smaller than a segment, as on the
            // loopback device, the kernel sends only when a timer expires.
            socket.set_tcp_mss(1460).expect("TCP_MAXSEG");
            socket.set_recv_buffer_size(16 << 10).expect("SO_RCVBUF");
            socket.connect(&active.sockaddr()).expect("connect");
            socket.set_read_timeout(Some(DEADLINE)).expect("a timeout");
            socket
        } else {
            connect(&active.address, &active.dir)
        };
        socket.set_send_buffer_size(32 << 10).expect("SO_SNDBUF");
        socket.set_nonblocking(true).expect("O_NONBLOCK");
        Self { socket, sent: 0 }
    }

    /// Sends as much as is taken now. Returns whether that was anything.
    fn fill(&mut self, content: &[u8]) -> bool {
        let before = self.sent;
        loop {
            match (&self.socket).write(&content[self.sent % MESSAGE..MESSAGE]) {
                Ok(count) => self.sent += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => panic!("after {} bytes: {error}", self.sent),
            }
        }
        self.sent > before
    }

    /// Receives everything, and then the end.
    fn catch_up(mut self, content: &[u8]) {
        self.socket.set_nonblocking(false).expect("O_NONBLOCK");
        self.socket.shutdown(Shutdown::Write).expect("shutdown");
        let (mut received, mut buffer) = (0, vec![0; MESSAGE]);
        loop {
            let at = received % MESSAGE;
            let count = self.socket.read(&mut buffer[..MESSAGE - at]).expect("receive");
            if count == 0 {
                break;
            }
            assert!(buffer[..count] == content[at..at + count], "other bytes at {received}");
            received += count;
        }
        assert_eq!(received, self.sent);
    }
}

/// The longest time that a new peer waits for its echo.
fn serve_newcomers(active: &Active, count: usize) -> Duration {
    let newcomer = |_| {
        let start = Instant::now();
        messages(&connect(&active.address, &active.dir), &[64]);
        start.elapsed()
    };
    (0..count).map(newcomer).max().unwrap_or_default()
}

#[test]
fn thousands_that_never_read_are_bounded_and_stop_nobody() {
    let Some(_turn) = many_descriptors(PEERS, "5,000 peers that never read") else { return };
    let content = pattern(MESSAGE);
    for kind in [Kind::UnixStream, Kind::Tcp4, Kind::UnixSeqpacket] {
        let active = serve(kind, &["--unread-bytes-max", &BOUND.to_string()]);
        serve_newcomers(&active, 10);
        let before = active.process.memory_kib("VmHWM");
        let mut deaf: Vec<_> = (0..PEERS).map(|_| Deaf::connect(&active, kind)).collect();
        let (mut slowest, end) = (Duration::ZERO, Instant::now() + 4 * DEADLINE);
        // The server has had a turn with each of them when a new peer has its echo twice.
        let mut stuck = 0;
        while stuck < 2 {
            let moved =
                deaf.iter_mut().filter_map(|peer| peer.fill(&content).then_some(())).count();
            slowest = slowest.max(serve_newcomers(&active, 2));
            stuck = if moved == 0 { stuck + 1 } else { 0 };
            assert!(Instant::now() < end, "{moved} of them still send");
        }
        let peak = active.process.memory_kib("VmHWM");
        let most = before as usize + (BOUND + PEERS * EACH) / 1024;
        let sent = deaf.iter().map(|peer| peer.sent).sum::<usize>() >> 20;
        measured(&format!(
            "{kind:?}: {PEERS} peers have sent {sent} MiB; {before} KiB before, at most {peak} KiB; \
             the slowest of the others was served in {slowest:?}"
        ));
        assert!(peak as usize <= most, "{kind:?}: {peak} KiB, and {most} KiB are allowed");
        // Nothing of theirs is lost, and nobody was cut off.
        for peer in deaf.into_iter().step_by(PEERS / 50) {
            peer.catch_up(&content);
        }
        active.process.terminate().expect_code(0);
    }
}

/// When nothing more may be kept, a peer that reads has its bulk as ever.
#[test]
fn bulk_is_served_beside_peers_that_have_used_up_the_bound() {
    let content = pattern(MESSAGE);
    for kind in [Kind::UnixStream, Kind::Tcp4, Kind::UnixSeqpacket] {
        let active = serve(kind, &["--unread-bytes-max", "20000", "--workers", "2"]);
        let mut deaf: Vec<_> = (0..20).map(|_| Deaf::connect(&active, kind)).collect();
        let mut stuck = 0;
        while stuck < 2 {
            let moved =
                deaf.iter_mut().filter_map(|peer| peer.fill(&content).then_some(())).count();
            serve_newcomers(&active, 4);
            stuck = if moved == 0 { stuck + 1 } else { 0 };
        }
        Client::InProcess.check(&active);
        deaf.into_iter().for_each(|peer| peer.catch_up(&content));
        active.process.terminate().expect_code(0);
    }
}
