//! The echo server: it is handed its sockets, its limits and a shutdown handle; it never binds,
//! parses arguments or reads the environment.
//!
//! One worker is one thread with one epoll instance. What it does for a socket depends on the
//! socket's [`Service`]:
//!
//! | service | file |
//! |---|---|
//! | accept connections | `listener` |
//! | echo on a connection | `connection` |
//! | echo datagrams | `datagram`, `deferred`, `reflection`, `room` |

mod backoff;
mod connection;
mod datagram;
mod deferred;
mod limits;
mod listener;
mod peer;
mod pipe;
mod poller;
mod processors;
mod reflection;
mod room;
mod shutdown;
mod table;
mod worker;
mod workspace;

use std::os::fd::OwnedFd;
use std::sync::atomic::AtomicU32;
use std::time::Duration;

pub use limits::Limits;
pub use poller::BusyPoll;
pub use shutdown::{Shutdown, Trigger};

use crate::activation::{InheritedSocket, Service, SocketKind};
use crate::error::{Error, ErrorKind, Result};
use worker::{Part, Worker};

/// How a server runs.
#[derive(Default)]
pub struct Config {
    /// What peers can grow, and how far.
    pub limits: Limits,
    /// Whether a worker waits awake for a while.
    pub busy_poll: BusyPoll,
    /// How many threads share the listening sockets; 0 is 1. Datagram sockets and inherited
    /// connections are dealt out, each to one of them, so that nothing is reordered. Connections
    /// without a listener are served by one.
    pub workers: usize,
    /// Called from the event loop of the first worker.
    pub heartbeat: Option<Heartbeat>,
    /// Called once, from the event loop of the first worker, when a shutdown begins.
    pub on_shutdown: Option<Box<dyn FnOnce() + Send>>,
}

/// Something to do again and again, for as long as the event loop is alive: a watchdog.
pub struct Heartbeat {
    /// How long from one call to the next.
    pub interval: Duration,
    /// What to do.
    pub beat: Box<dyn FnMut() + Send>,
}

/// How many workers use every processor that this process may run on.
pub fn workers_for_all_processors() -> usize {
    processors::usable() as usize
}

/// What a server has done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Connections that were accepted or inherited.
    pub connections: u64,
    /// Datagrams that were received.
    pub messages: u64,
    /// Bytes that were received.
    pub bytes: u64,
    /// Datagrams that could not be answered.
    pub unanswered: u64,
}

/// Echoes on the sockets until `shutdown`, or until all of them have ended: at once if there is
/// none, and with the last connection if connections were all that was inherited.
///
/// # Errors
///
/// A socket that cannot be prepared, or a system call of the event loop that failed. What goes
/// wrong with one peer is logged and ends that peer's connection only.
pub fn run(
    sockets: Vec<InheritedSocket>,
    config: Config,
    shutdown: &Shutdown,
) -> Result<Statistics> {
    let workers = workers_for(&sockets, config.workers);
    let mut names = Vec::with_capacity(sockets.len());
    let mut listeners = Vec::new();
    let mut dealt: Vec<Vec<Part>> = (0..workers).map(|_| Vec::new()).collect();
    for (source, socket) in sockets.into_iter().enumerate() {
        let number = u16::try_from(source).map_err(|_| {
            Error::new(ErrorKind::Descriptor, format!("{source} sockets are too many"))
                .remedy("hand over at most 65536")
        })?;
        names.push(socket.name);
        match socket.service {
            Service::StreamListener | Service::SeqpacketListener => {
                listeners.push(SharedListener { fd: socket.fd, source: number, kind: socket.kind });
            }
            _ => dealt[source % workers].push(Part {
                fd: socket.fd,
                source: number,
                kind: socket.kind,
                service: socket.service,
            }),
        }
    }
    // One worker that fails has to stop the others.
    let failure = if workers == 1 { None } else { Some(Shutdown::on_trigger()?) };
    let shared = Shared {
        names: &names,
        limits: &config.limits,
        busy_poll: config.busy_poll,
        listeners: &listeners,
        is_alone: workers == 1,
        connections: AtomicU32::new(0),
        shutdown,
        failure,
    };
    run_workers(
        &shared,
        dealt,
        Calls { heartbeat: config.heartbeat, on_shutdown: config.on_shutdown },
    )
}

/// A worker that has only connections ends with them, and takes the heartbeat along. Without a
/// listener to keep it, one worker serves everything.
fn workers_for(sockets: &[InheritedSocket], wanted: usize) -> usize {
    let is_listener =
        |service| matches!(service, Service::StreamListener | Service::SeqpacketListener);
    let has_listener = sockets.iter().any(|socket| is_listener(socket.service));
    let has_connection = sockets.iter().any(|socket| socket.service.is_one_connection());
    if has_connection && !has_listener { 1 } else { wanted.max(1) }
}

fn run_workers(shared: &Shared<'_>, mut dealt: Vec<Vec<Part>>, calls: Calls) -> Result<Statistics> {
    let first = dealt.remove(0);
    std::thread::scope(|scope| {
        let others: Vec<_> = dealt
            .into_iter()
            .map(|parts| scope.spawn(move || run_worker(shared, parts, Calls::default())))
            .collect();
        let mut results = vec![run_worker(shared, first, calls)];
        for other in others {
            let died = |_| Err(Error::new(ErrorKind::Other, "a worker died"));
            results.push(other.join().unwrap_or_else(died));
        }
        let mut total = Statistics::default();
        for result in results {
            total += result?;
        }
        Ok(total)
    })
}

fn run_worker(shared: &Shared<'_>, parts: Vec<Part>, calls: Calls) -> Result<Statistics> {
    let result = Worker::new(shared, parts, calls).and_then(Worker::run);
    if let (Err(_), Some((trigger, _))) = (&result, &shared.failure) {
        trigger.pull();
    }
    result
}

/// What the first worker calls back.
#[derive(Default)]
struct Calls {
    heartbeat: Option<Heartbeat>,
    on_shutdown: Option<Box<dyn FnOnce() + Send>>,
}

/// A listening socket that every worker accepts from.
#[derive(Debug)]
struct SharedListener {
    fd: OwnedFd,
    source: u16,
    kind: SocketKind,
}

/// What the workers have in common.
struct Shared<'a> {
    names: &'a [String],
    limits: &'a Limits,
    busy_poll: BusyPoll,
    listeners: &'a [SharedListener],
    is_alone: bool,
    /// How many connections there are, over all workers.
    connections: AtomicU32,
    shutdown: &'a Shutdown,
    /// How one of several workers stops the others.
    failure: Option<(Trigger, Shutdown)>,
}

impl Shared<'_> {
    /// What ends a worker.
    fn shutdowns(&self) -> impl Iterator<Item = &Shutdown> {
        let failure = self.failure.as_ref().map(|(_, failure)| failure);
        std::iter::once(self.shutdown).chain(failure)
    }
}

impl Statistics {
    fn unanswered(&mut self, socket: &str, count: u64, what: &str) {
        self.unanswered += count;
        log::debug!("not answered on {socket}: {count} × {what}");
    }
}

impl std::ops::AddAssign for Statistics {
    fn add_assign(&mut self, other: Self) {
        self.connections += other.connections;
        self.messages += other.messages;
        self.bytes += other.bytes;
        self.unanswered += other.unanswered;
    }
}

impl std::fmt::Debug for Heartbeat {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Heartbeat").field("interval", &self.interval).finish_non_exhaustive()
    }
}
