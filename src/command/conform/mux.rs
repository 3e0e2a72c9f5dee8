//! The host's side of a hypervisor's vsock device: a unix socket that multiplexes the guest's
//! ports.

use std::fmt;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use crate::address::{Address, Style, UnixName};
use crate::cli::ConformArgs;
use crate::client::{Connection, Exchange, Failure, Pattern, Symptom, connect};
use crate::error::Result;
use crate::proc::{self, Process};
use crate::sys::option;

/// What a client sends to see that it is served.
const SIZE: usize = 64;
/// The most that a client sends.
const SIZE_MAX: usize = 1_000_000;
/// How often to look whether a process has closed its descriptors: the kernel has no event for it.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// The multiplexer to check.
pub(super) struct Mux {
    path: UnixName,
    pub(super) port: u32,
    /// How long an answer or an end may take.
    pub(super) timeout: Duration,
    pattern: Pattern,
}

impl Mux {
    /// The one that the command line asks for. Of all cases to list, these are a part.
    ///
    /// # Errors
    ///
    /// If nobody listens on the unix socket, or this user may not connect to it.
    pub(super) fn new(args: &ConformArgs) -> Result<Option<Self>> {
        let example = || "vsock-mux:/path/to.sock:3000".parse().expect("an address");
        let address = args.vsock_mux.clone().or_else(|| args.list.then(example));
        let Some(Address::VsockMux(path, port)) = address else { return Ok(None) };
        let pattern = Pattern::random(SIZE_MAX);
        let mux = Self { path, port, timeout: args.timeout, pattern };
        match (!args.list).then(|| mux.connected()) {
            Some(Err(failure)) if is_of_the_path(failure.symptom) => Err(failure.into()),
            _ => Ok(Some(mux)),
        }
    }

    /// A connection to the unix socket, on which nothing has been sent.
    pub(super) fn raw(&self) -> Result<Connection, Failure> {
        connect(&Address::Unix(Style::Stream, self.path.clone()), self.timeout)
    }

    /// A connection to the guest's port.
    pub(super) fn connected(&self) -> Result<Connection, Failure> {
        self.connected_to(self.port)
    }

    /// A connection to another port of the guest.
    pub(super) fn connected_to(&self, port: u32) -> Result<Connection, Failure> {
        connect(&Address::VsockMux(self.path.clone(), port), self.timeout)
    }

    /// Bytes to send, at most [`SIZE_MAX`].
    pub(super) fn bytes(&self, length: usize) -> &[u8] {
        self.pattern.at(0, length.min(SIZE_MAX))
    }

    /// A client that is served: every byte of its echo is verified. It stays connected.
    pub(super) fn served(&self) -> Result<Served, Failure> {
        self.served_with(SIZE)
    }

    /// The same with a message of another size.
    pub(super) fn served_with(&self, size: usize) -> Result<Served, Failure> {
        let mut exchange = Exchange { connection: self.connected()?, timeout: self.timeout };
        exchange.verify(self.pattern.message(0, size.min(SIZE_MAX)), || ())?;
        let credentials = option::peer_credentials(exchange.connection.as_fd());
        // 0: outside of our PID namespace.
        let process = credentials.ok().map(|[pid, ..]| pid).filter(|&pid| pid != 0);
        Ok(Served { process, _connection: exchange.connection })
    }
}

/// Whether there is no multiplexer to check. To learn that, a client sends all of `CONNECT`: one
/// that only connects may end the hypervisor (cloud-hypervisor#6621).
fn is_of_the_path(symptom: Symptom) -> bool {
    use Symptom::{NoSuchPath, PermissionDenied, Refused, WrongType};
    matches!(symptom, NoSuchPath | PermissionDenied | Refused | WrongType)
}

/// A client that was served, and the process that listens on the unix socket.
pub(super) struct Served {
    pub(super) process: Option<u32>,
    _connection: Connection,
}

/// The descriptors that a process has open, counted while one client is connected.
#[derive(Clone, Copy)]
pub(super) struct Descriptors {
    pid: u32,
    count: usize,
}

impl Descriptors {
    /// `None` if this user may not see them.
    pub(super) fn of(served: &Served) -> Option<Self> {
        let pid = served.process?;
        Some(Self { pid, count: proc::descriptors(pid)? })
    }

    /// Waits until there are no more than that. Returns how many more there are at the end.
    pub(super) fn excess_within(self, timeout: Duration) -> Option<usize> {
        let started = Instant::now();
        loop {
            match proc::descriptors(self.pid)?.saturating_sub(self.count) {
                0 => return Some(0),
                excess if started.elapsed() >= timeout => return Some(excess),
                _ => std::thread::sleep(LOOK_AGAIN),
            }
        }
    }
}

impl fmt::Display for Descriptors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { pid, count } = self;
        match Process::of(*pid) {
            Some(process) => write!(f, "{count} descriptors of {} (pid {pid})", process.name),
            None => write!(f, "{count} descriptors of process {pid}, which has ended"),
        }
    }
}
