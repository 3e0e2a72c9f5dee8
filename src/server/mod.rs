//! The echo server: it is handed its sockets, its limits and a shutdown handle; it never binds,
//! parses arguments or reads the environment.
//!
//! One worker is one thread with one epoll instance. What it does for a socket depends on the
//! socket's [`Service`]:
//!
//! | service | file |
//! |---|---|
//! | accept connections | `listeners` |
//! | echo on a connection | `connections`, `connection`, `pipe` |
//! | echo datagrams | `datagrams`, `datagram` |

mod backoff;
mod busy_poll;
mod connection;
mod connections;
mod datagram;
mod datagrams;
mod limits;
mod listeners;
mod peer;
mod permits;
mod pipe;
mod poller;
mod processors;
mod shutdown;
mod socket_options;
mod table;
mod token;
mod worker;
mod workspace;

use std::os::fd::OwnedFd;
use std::sync::mpsc;
use std::thread;
use std::time::Instant;

pub use busy_poll::BusyPoll;
pub use limits::Limits;
pub use shutdown::{Shutdown, Trigger};

use crate::activation::{Family, InheritedSocket, Service, SocketKind};
use crate::address::{Address, UnixName};
use crate::error::{Error, ErrorKind, Result};
use crate::text::Escaped;
use permits::Permits;
use worker::{Ended, Worker};

/// How a server runs.
#[derive(Debug, Default)]
pub struct Config {
    /// What peers can grow, and how far.
    pub limits: Limits,
    /// Whether a worker waits awake for a while.
    pub busy_poll: BusyPoll,
    /// How many threads share the listening sockets; 0 is 1. Datagram sockets and inherited
    /// connections are dealt out, each to one of them, so that nothing is reordered. Connections
    /// without a listener are served by one.
    pub workers: usize,
    /// Unix datagram sockets that are never answered, whoever claims to be them: those that take
    /// what this process says for its own word, such as the service manager's (sd_notify(3)). The
    /// server's own sockets are among them anyway.
    pub never_answered: Vec<UnixName>,
}

/// What happens to a server while it runs, for whoever wants to know. Each method is called from
/// the event loop of the first worker, which serves nobody until it returns.
pub trait Observer {
    /// All sockets are served from now on.
    fn ready(&mut self) {}

    /// When [`Observer::tick`] is wanted: asked for before each wait. `None`: not at all.
    fn next_due(&self) -> Option<Instant> {
        None
    }

    /// [`Observer::next_due`] has come.
    fn tick(&mut self, _now: Instant) {}

    /// A shutdown begins: nothing more is accepted.
    fn stopping(&mut self) {}
}

/// Nobody wants to know.
impl Observer for () {}

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
/// A limit that nothing can be served with, a socket that cannot be prepared, a worker that cannot
/// be started, or a system call of the event loop that failed. What goes wrong with one peer is
/// logged and ends that peer's connection only.
pub fn run(
    sockets: Vec<InheritedSocket>,
    config: &Config,
    shutdown: &Shutdown,
    observer: &mut dyn Observer,
) -> Result<Statistics> {
    config.limits.check()?;
    let workers = workers_for(&sockets, config.workers);
    let mut names = Vec::with_capacity(sockets.len());
    let mut listeners = Vec::new();
    let mut never_answered = config.never_answered.clone();
    never_answered.extend(sockets.iter().filter_map(unix_name));
    let mut dealt: Vec<Vec<Part>> = (0..workers).map(|_| Vec::new()).collect();
    for (source, socket) in sockets.into_iter().enumerate() {
        let number = u16::try_from(source).map_err(|_| {
            Error::new(ErrorKind::Descriptor, format!("{source} sockets are too many"))
                .remedy("hand over at most 65536")
        })?;
        names.push(Escaped::new(&socket.name).to_string());
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
        connections: &Permits::new(config.limits.connections_max as usize),
        never_answered: &never_answered,
        shutdown,
        failure,
    };
    run_workers(&shared, dealt, observer)
}

/// The name of a unix socket that is served.
fn unix_name(socket: &InheritedSocket) -> Option<UnixName> {
    match &socket.kind.local {
        Some(Address::Unix(_, name)) if socket.kind.family == Family::Unix => Some(name.clone()),
        _ => None,
    }
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

fn run_workers(
    shared: &Shared<'_>,
    mut dealt: Vec<Vec<Part>>,
    observer: &mut dyn Observer,
) -> Result<Statistics> {
    let first = dealt.remove(0);
    thread::scope(|scope| {
        let (starts, started) = mpsc::channel();
        let mut others = Vec::with_capacity(dealt.len());
        let mut results = Vec::with_capacity(dealt.len() + 1);
        for parts in dealt {
            let starts = starts.clone();
            // The other end is there for as long as the first worker waits for it.
            let work = move || run_worker(shared, parts, &mut (), || starts.send(()).is_ok());
            match thread::Builder::new().spawn_scoped(scope, work) {
                Ok(worker) => others.push(worker),
                Err(error) => {
                    results.push(Err(not_started(&error)));
                    shared.stop();
                    break;
                }
            }
        }
        drop(starts);
        // Only when all of them serve is the server ready.
        let count = if results.is_empty() { others.len() } else { usize::MAX };
        let all_have_started = || started.iter().take(count).count() == count;
        results.push(run_worker(shared, first, observer, all_have_started));
        for other in others {
            let died = |_| Err(Error::new(ErrorKind::Other, "a worker died"));
            results.push(other.join().unwrap_or_else(died));
        }
        sum_up(results, !shared.listeners.is_empty())
    })
}

fn not_started(error: &std::io::Error) -> Error {
    Error::new(ErrorKind::Other, format!("start a worker: {error}"))
        .remedy("use fewer --workers, or raise TasksMax= of the unit, or ulimit -u")
}

/// Runs a worker, unless `starts` says that another one could not be started.
fn run_worker(
    shared: &Shared<'_>,
    parts: Vec<Part>,
    observer: &mut dyn Observer,
    starts: impl FnOnce() -> bool,
) -> Result<Option<Ended>> {
    let result = Worker::new(shared, parts)
        .and_then(|worker| if starts() { worker.run(observer).map(Some) } else { Ok(None) });
    if result.is_err() {
        shared.stop();
    }
    result
}

/// What all workers have done; the first error, if there is one.
fn sum_up(results: Vec<Result<Option<Ended>>>, has_listeners: bool) -> Result<Statistics> {
    let mut total = Statistics::default();
    let mut ended_by_themselves = true;
    for result in results {
        if let Some(ended) = result? {
            total += ended.statistics;
            ended_by_themselves &= ended.by_itself;
        }
    }
    if ended_by_themselves && has_listeners {
        return Err(Error::new(ErrorKind::Other, "no listening socket accepts connections")
            .remedy("restart the socket unit: something shut its sockets down"));
    }
    Ok(total)
}

/// An inherited socket that is no listener: one worker has it.
struct Part {
    fd: OwnedFd,
    source: u16,
    kind: SocketKind,
    service: Service,
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
    /// The room for connections, over all workers.
    connections: &'a Permits,
    never_answered: &'a [UnixName],
    shutdown: &'a Shutdown,
    /// How one of several workers stops the others.
    failure: Option<(Trigger, Shutdown)>,
}

impl Shared<'_> {
    /// One worker cannot go on: the others stop.
    fn stop(&self) {
        if let Some((trigger, _)) = &self.failure {
            trigger.pull();
        }
    }

    /// What ends a worker.
    fn shutdowns(&self) -> impl Iterator<Item = &Shutdown> {
        let failure = self.failure.as_ref().map(|(_, failure)| failure);
        std::iter::once(self.shutdown).chain(failure)
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
