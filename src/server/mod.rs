//! The echo server. It receives its sockets, its limits and a shutdown handle. It never binds,
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
//!
//! A socket that does not echo but answers ([`Answer`]) goes the same way.

mod answer;
mod bell;
mod busy_poll;
mod connection;
mod connections;
mod datagram;
mod datagrams;
mod exit_idle;
mod idle;
mod kept;
mod limits;
mod listeners;
mod observer;
mod pace;
mod peer;
mod per_source;
mod permits;
mod pipe;
mod poller;
mod processors;
mod pulse;
mod reporter;
mod shared;
mod shutdown;
mod socket_options;
mod table;
mod token;
mod unread;
mod worker;
mod workspace;

use std::sync::mpsc;
use std::thread;
use std::time::Duration;

pub use answer::{Answer, Asker, Credentials, Question, Response};
pub use busy_poll::BusyPoll;
pub use kept::{Ended, Kept, KeptConnection, KeptReplies};
pub use limits::Limits;
pub use observer::{LongTurn, Observer, Progress, Statistics};
pub use shutdown::{Shutdown, Trigger};

use crate::activation::{Family, InheritedSocket, Service};
use crate::address::{Address, UnixName};
use crate::error::{Error, ErrorKind, Result};
use crate::sandbox::Sandbox;
use crate::text::Escaped;
use bell::Bell;
use pace::Pace;
use per_source::PerSource;
use permits::Permits;
use pulse::Pulse;
use shared::{ServedSocket, Shared, Work};
use worker::{Finished, Worker};

/// The configuration of a server.
#[derive(Debug, Default)]
pub struct Config {
    /// The limits of what peers can make grow.
    pub limits: Limits,
    /// Whether workers poll before they sleep.
    pub busy_poll: BusyPoll,
    /// How many threads share the listening sockets; 0 means 1. Each datagram socket and each
    /// inherited connection belongs to one thread, so that nothing is reordered. Inherited
    /// connections without a listener are served by one thread.
    pub workers: usize,
    /// Unix datagram sockets that are never answered, because they trust messages from this
    /// process, such as the service manager's socket (sd_notify(3)). The server's own datagram
    /// sockets are always included.
    pub never_answered: Vec<UnixName>,
    /// Ends the server when there was no connection, no reply kept for its receiver and nothing
    /// received for this long. What comes later stays in the kernel for the next server. `None`:
    /// the server goes on.
    pub exit_idle_time: Option<Duration>,
    /// Whether a shutdown returns what is unfinished in [`Ended::kept`], as it is, instead of
    /// draining it. Nothing more is then received, sent or closed. If an inherited socket is a
    /// connection (`Accept=yes`, standard input), the server drains all the same: such a connection
    /// ends with this process.
    pub keeps_connections: bool,
    /// What some of the sockets say in place of an echo.
    pub answer: Option<Box<dyn Answer>>,
    /// What confines the workers before they receive anything.
    pub sandbox: Sandbox,
}

/// The number of workers that use all processors on which this process may run.
pub fn workers_for_all_processors() -> usize {
    processors::usable() as usize
}

/// Echoes on the sockets until `shutdown`, or until the server is idle
/// ([`Config::exit_idle_time`]), or until all sockets have ended: at once if there are none, and
/// after the last connection if only connections were inherited.
///
/// `kept` is what an earlier run has returned, in this process or in another one. What a connection
/// is owed is sent first. [`Statistics`] do not count these connections again.
///
/// # Errors
///
/// A limit is too low or too high, a socket cannot be prepared, a worker cannot be started, or a
/// system call of the event loop failed. An error of one peer is logged and ends only that peer's
/// connection. After an error, what was kept is closed.
pub fn run(
    sockets: Vec<InheritedSocket>,
    kept: Kept,
    config: &Config,
    shutdown: &Shutdown,
    observer: &mut dyn Observer,
) -> Result<Ended> {
    config.limits.check()?;
    let workers = workers_for(&sockets, &kept, config.workers);
    let has_connection = sockets.iter().any(|socket| socket.service.is_one_connection());
    let mut limits = config.limits.clone();
    // Each worker has its share, so that none of them has to ask the others.
    limits.unread_bytes_max /= workers;
    let mut names = Vec::with_capacity(sockets.len());
    let mut listeners = Vec::new();
    let mut never_answered = config.never_answered.clone();
    never_answered.extend(sockets.iter().filter_map(unix_name));
    let kept_source = if kept.connections.is_empty() { 0 } else { source_number(sockets.len())? };
    let mut dealt: Vec<Work> =
        kept.deal(&sockets, workers).into_iter().map(|kept| (Vec::new(), kept)).collect();
    let answer = config.answer.as_deref();
    for (source, socket) in sockets.into_iter().enumerate() {
        let number = source_number(source)?;
        names.push(Escaped::new(&socket.name).to_string());
        let socket = ServedSocket {
            fd: socket.fd,
            source: number,
            kind: socket.kind,
            service: socket.service,
            is_asked: answer.is_some_and(|answer| answer.is_for(source)),
        };
        let is_listener = is_listener(socket.service);
        if is_listener { &mut listeners } else { &mut dealt[source % workers].0 }.push(socket);
    }
    names.push("kept".to_owned());
    // If one of several workers fails, it must stop the others.
    let failure = if workers == 1 { None } else { Some(Shutdown::on_trigger()?) };
    let bell = if workers == 1 { None } else { Some(Bell::new()?) };
    let pulses: Vec<_> = (0..workers).map(|_| Pulse::default()).collect();
    let shared = Shared {
        names: &names,
        busy_poll: config.busy_poll.without_files(config.sandbox.is_on()),
        sandbox: &config.sandbox,
        answer,
        limits: &limits,
        listeners: &listeners,
        is_alone: workers == 1,
        connections: &Permits::new(config.limits.connections_max as usize),
        per_source: PerSource::new(config.limits.connections_max_per_source),
        idle_lines: Pace::default(),
        never_answered: &never_answered,
        exit_idle_time: config.exit_idle_time,
        shutdown,
        failure,
        pulses: &pulses,
        bell,
        keeps_connections: config.keeps_connections && !has_connection,
        kept_source,
    };
    let mut ended = run_workers(&shared, dealt, observer)?;
    ended.statistics.ended_idle = shared.connections.are_closed();
    Ok(ended)
}

fn source_number(source: usize) -> Result<u16> {
    u16::try_from(source).map_err(|_| {
        Error::new(ErrorKind::Descriptor, format!("{source} sockets are too many"))
            .remedy("pass at most 65536")
    })
}

fn is_listener(service: Service) -> bool {
    matches!(service, Service::StreamListener | Service::SeqpacketListener)
}

/// The name of a served unix datagram socket. No reply can reach a socket of another type.
fn unix_name(socket: &InheritedSocket) -> Option<UnixName> {
    let is_unix_datagram =
        socket.kind.family == Family::Unix && socket.service == Service::Datagram;
    match &socket.kind.local {
        Some(Address::Unix(_, name)) if is_unix_datagram => Some(name.clone()),
        _ => None,
    }
}

/// A worker with only connections ends with them, and the heartbeat of the first worker ends too.
/// So without a listener, one worker serves everything.
fn workers_for(sockets: &[InheritedSocket], kept: &Kept, wanted: usize) -> usize {
    let has_listener = sockets.iter().any(|socket| is_listener(socket.service));
    let has_connection = !kept.connections.is_empty()
        || sockets.iter().any(|socket| socket.service.is_one_connection());
    if has_connection && !has_listener { 1 } else { wanted.max(1) }
}

fn run_workers(
    shared: &Shared<'_>,
    mut dealt: Vec<Work>,
    observer: &mut dyn Observer,
) -> Result<Ended> {
    let first = dealt.remove(0);
    thread::scope(|scope| {
        let (starts, started) = mpsc::channel();
        let mut others = Vec::with_capacity(dealt.len());
        let mut results = Vec::with_capacity(dealt.len() + 1);
        for (number, work) in (1..).zip(dealt) {
            let starts = starts.clone();
            // The receiver exists as long as the first worker waits for the others.
            let run = move || {
                let worker = Worker::new(shared, number, work);
                run_worker(shared, worker, &mut (), || starts.send(()).is_ok())
            };
            match thread::Builder::new().spawn_scoped(scope, run) {
                Ok(worker) => others.push(worker),
                Err(error) => {
                    results.push(Err(not_started(error)));
                    shared.stop();
                    break;
                }
            }
        }
        drop(starts);
        // The server is ready only when all workers have started.
        let count = if results.is_empty() { others.len() } else { usize::MAX };
        let all_have_started = || started.iter().take(count).count() == count;
        results.push(run_worker(shared, Worker::new(shared, 0, first), observer, all_have_started));
        for other in others {
            let died = |_| Err(Error::new(ErrorKind::Other, "a worker thread panicked"));
            results.push(other.join().unwrap_or_else(died));
        }
        sum_up(results, !shared.listeners.is_empty())
    })
}

fn not_started(error: std::io::Error) -> Error {
    Error::new(ErrorKind::Other, "start a worker").because(error).remedy(
        "use fewer --workers, or raise the limit: `ulimit -u` in a shell, TasksMax= in a unit",
    )
}

/// Runs a worker, unless `starts` reports that another one could not be started.
fn run_worker(
    shared: &Shared<'_>,
    worker: Result<Worker<'_>>,
    observer: &mut dyn Observer,
    starts: impl FnOnce() -> bool,
) -> Result<Option<Finished>> {
    let result = worker
        .and_then(|worker| shared.sandbox.enter().map(|()| worker))
        .and_then(|worker| if starts() { worker.run(observer).map(Some) } else { Ok(None) });
    if result.is_err() {
        shared.stop();
    }
    result
}

/// What all workers have returned, or the first error.
fn sum_up(results: Vec<Result<Option<Finished>>>, has_listeners: bool) -> Result<Ended> {
    let mut total = Ended::default();
    let mut ended_by_themselves = true;
    for result in results {
        if let Some(finished) = result? {
            ended_by_themselves &= finished.by_itself;
            total += finished.ended;
        }
    }
    if ended_by_themselves && has_listeners {
        return Err(Error::new(ErrorKind::Other, "no listening socket accepts connections")
            .remedy(
                "restart the socket unit or `activate`: another process that shares the \
                     sockets called shutdown(2)",
            ));
    }
    Ok(total)
}
