//! Peers that exchange data all the time and verify every byte: what comes back is what was sent,
//! in order, once. For servers that are restarted or killed meanwhile.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use socket_activate_echo::address::{Address, Style, domain_of};
use socket2::Socket;

/// What a peer does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Habit {
    /// Sends a message when all of the one before has come back.
    PingPong(usize),
    /// Sends and receives as much as it can.
    Bulk,
    /// Sends until nothing is taken any more, does not read for a while, and then reads all of it.
    Stalls,
}

/// A peer that waits longer for something that it is owed has lost it.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long a peer that stalls reads nothing.
const STALL: Duration = Duration::from_millis(700);
/// The messages of a seqpacket peer that sends bulk.
const MESSAGE: usize = 3000;
const BULK_WINDOW: u64 = 1 << 20;
/// A length that has no factor in common with any of the sizes.
const TABLE_LEN: usize = (1 << 20) + 7;

/// What became of the peers.
#[derive(Debug, Default)]
pub(crate) struct Report {
    pub(crate) bytes: u64,
    pub(crate) round_trips: u64,
    /// The longest time between a message and its echo.
    pub(crate) longest_pause: Duration,
    /// Connections that ended.
    pub(crate) lost: usize,
}

/// Peers on a thread of their own.
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Result<Report, String>>,
}

impl Load {
    /// Starts a peer for each address and habit, and returns when each was answered: until then its
    /// connection may wait in a backlog. A connection that ends is a failure, unless peers
    /// `reconnect`. `prepare` runs first on the thread, for example to enter a network.
    pub(crate) fn start(
        peers: Vec<(Address, Habit)>,
        reconnect: bool,
        prepare: impl FnOnce() + Send + 'static,
    ) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let (answered, all_answered) = channel();
        let thread = std::thread::spawn(move || {
            prepare();
            let table = Arc::new(table());
            let peers = peers.into_iter().enumerate();
            let peers: Result<Vec<_>, _> = peers
                .map(|(seed, (address, habit))| Peer::new(seed, address, habit, Arc::clone(&table)))
                .collect();
            talk(peers?, reconnect, &stopped, answered)
        });
        // An error means that the thread has failed: `finish` says why.
        let _ = all_answered.recv();
        Self { stop, thread }
    }

    /// Lets each peer receive what it is owed, and ends. Fails if one did not get that.
    pub(crate) fn finish(self) -> Report {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("no panic").unwrap_or_else(|what| panic!("{what}"))
    }
}

fn table() -> Vec<u8> {
    (0..TABLE_LEN as u64).map(|at| (at.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as u8).collect()
}

fn talk(
    mut peers: Vec<Peer>,
    reconnect: bool,
    stop: &AtomicBool,
    answered: Sender<()>,
) -> Result<Report, String> {
    let mut report = Report::default();
    let mut answered = Some(answered);
    loop {
        if peers.iter().all(|peer| peer.received > 0) {
            if let Some(answered) = answered.take() {
                let _ = answered.send(());
            }
        }
        let is_stopping = stop.load(Ordering::Relaxed);
        let now = Instant::now();
        if is_stopping && peers.iter().all(|peer| peer.sent == peer.received) {
            return Ok(report);
        }
        let mut fds: Vec<_> = peers
            .iter()
            .map(|peer| PollFd::new(&peer.socket, peer.events(is_stopping, now)))
            .collect();
        let a_moment = Timespec { tv_sec: 0, tv_nsec: 20_000_000 };
        poll(&mut fds, Some(&a_moment)).map_err(|error| format!("poll: {error}"))?;
        let ready: Vec<_> = fds.iter().map(PollFd::revents).collect();
        for (peer, ready) in peers.iter_mut().zip(ready) {
            let before = peer.received;
            let result = peer.turn(ready, is_stopping, &mut report);
            report.bytes += peer.received - before;
            match result {
                Ok(()) if peer.progress.elapsed() > PATIENCE && peer.is_owed() => {
                    return Err(peer.describe("waits in vain"));
                }
                Ok(()) => {}
                Err(End::Wrong(what)) => return Err(peer.describe(&what)),
                Err(End::Lost(what)) if !reconnect => return Err(peer.describe(&what)),
                Err(End::Lost(_)) => {
                    report.lost += 1;
                    let seed = peer.seed + 1000;
                    let (address, table) = (peer.address.clone(), Arc::clone(&peer.table));
                    *peer = Peer::new(seed, address, peer.habit, table)?;
                }
            }
        }
    }
}

/// Why a connection cannot go on.
enum End {
    /// What came is not what is owed.
    Wrong(String),
    /// Nothing comes any more.
    Lost(String),
}

struct Peer {
    seed: usize,
    address: Address,
    habit: Habit,
    table: Arc<Vec<u8>>,
    socket: Socket,
    sent: u64,
    received: u64,
    /// The lengths of the messages that are owed, if messages have boundaries.
    messages: VecDeque<usize>,
    /// When something was last sent or received.
    progress: Instant,
    asked: Instant,
    /// Since when it does not read.
    stalls: Option<Instant>,
}

impl Peer {
    fn new(
        seed: usize,
        address: Address,
        habit: Habit,
        table: Arc<Vec<u8>>,
    ) -> Result<Self, String> {
        let failed = |error: std::io::Error| format!("connect to {address}: {error}");
        let sockaddr = address.to_client().resolve().expect("an address").remove(0);
        let r#type = address.style().socket_type();
        let socket = Socket::new(domain_of(&sockaddr), r#type, address.protocol());
        let socket = socket.map_err(failed)?;
        socket.connect(&sockaddr).map_err(failed)?;
        socket.set_nonblocking(true).map_err(failed)?;
        let now = Instant::now();
        let (messages, stalls) = (VecDeque::new(), None);
        Ok(Self {
            seed,
            address,
            habit,
            table,
            socket,
            sent: 0,
            received: 0,
            messages,
            progress: now,
            asked: now,
            stalls,
        })
    }

    fn is_owed(&self) -> bool {
        self.sent > self.received && self.stalls.is_none()
    }

    fn wants_to_send(&self, is_stopping: bool) -> bool {
        let owed = self.sent - self.received;
        !is_stopping
            && match self.habit {
                Habit::PingPong(size) => owed == 0 || self.sent % size as u64 != 0,
                Habit::Bulk => owed < BULK_WINDOW,
                Habit::Stalls => self.stalls.is_none() && owed == 0,
            }
    }

    fn events(&self, is_stopping: bool, now: Instant) -> PollFlags {
        let reads = is_stopping || self.stalls.is_none_or(|since| now - since > STALL);
        let mut events = PollFlags::empty();
        events.set(PollFlags::IN, reads);
        events.set(PollFlags::OUT, self.wants_to_send(is_stopping));
        events
    }

    fn turn(
        &mut self,
        ready: PollFlags,
        is_stopping: bool,
        report: &mut Report,
    ) -> Result<(), End> {
        if ready.intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR) {
            self.receive()?;
            if let Habit::PingPong(size) = self.habit {
                if self.sent == self.received && self.sent % size as u64 == 0 {
                    report.round_trips += 1;
                    report.longest_pause = report.longest_pause.max(self.asked.elapsed());
                }
            }
        }
        if ready.contains(PollFlags::OUT) && self.wants_to_send(is_stopping) {
            self.send()?;
        }
        Ok(())
    }

    fn receive(&mut self) -> Result<(), End> {
        let mut buffer = [0; 65_536];
        loop {
            let count = match (&self.socket).read(&mut buffer) {
                Ok(0) => return Err(End::Lost("the end of the stream".to_owned())),
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(End::Lost(format!("receive: {error}"))),
            };
            if self.received + count as u64 > self.sent {
                return Err(End::Wrong("more came than was sent".to_owned()));
            }
            if self.address.style() == Style::Seqpacket && self.messages.pop_front() != Some(count)
            {
                return Err(End::Wrong(format!("a message of {count} bytes, which was not sent")));
            }
            let expected = self.pattern(self.received).take(count);
            if !buffer[..count].iter().eq(expected) {
                return Err(End::Wrong(format!("other bytes than at {}", self.received)));
            }
            self.received += count as u64;
            self.progress = Instant::now();
            if self.received == self.sent {
                self.stalls = None;
                return Ok(());
            }
        }
    }

    fn send(&mut self) -> Result<(), End> {
        loop {
            let size = match self.habit {
                Habit::PingPong(size) => size - (self.sent % size as u64) as usize,
                _ if self.address.style() == Style::Seqpacket => MESSAGE,
                _ => 65_536,
            };
            let bytes: Vec<u8> = self.pattern(self.sent).take(size).copied().collect();
            self.asked = Instant::now();
            let count = match (&self.socket).write(&bytes) {
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    // With nothing owed, only the peer itself can be behind.
                    if self.habit == Habit::Stalls && self.sent > self.received {
                        self.stalls = Some(self.asked);
                    }
                    return Ok(());
                }
                Err(error) => return Err(End::Lost(format!("send: {error}"))),
            };
            if self.address.style() == Style::Seqpacket {
                self.messages.push_back(count);
            }
            self.sent += count as u64;
            self.progress = self.asked;
            if self.habit != Habit::Stalls {
                return Ok(());
            }
        }
    }

    /// The bytes from this position on.
    fn pattern(&self, at: u64) -> impl Iterator<Item = &u8> {
        let start = (at as usize + self.seed * 101) % self.table.len();
        self.table[start..].iter().chain(self.table.iter())
    }

    fn describe(&self, what: &str) -> String {
        let Self { seed, address, habit, sent, received, .. } = self;
        format!(
            "peer {seed} ({habit:?}) of {address}: {what}; {received} of {sent} bytes came back"
        )
    }
}
