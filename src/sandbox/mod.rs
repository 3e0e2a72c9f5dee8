//! Takes from a server everything that it does not need to echo: no_new_privs, Landlock and seccomp.
//!
//! [`Sandbox::prepare`] decides what applies, before there are threads. [`Sandbox::enter`] confines
//! the calling thread for good. The server calls it in each worker when its sockets are prepared,
//! before the first byte is received.
//!
//! | layer | what it refuses | how |
//! |---|---|---|
//! | no_new_privs | privileges through execve(2): set-user-ID programs | without effect |
//! | Landlock | files, TCP bind and connect, signals and abstract sockets of others | `EACCES`, `EPERM` |
//! | seccomp | every system call that is not in [`ALLOWED`] | `SIGSYS` ends the process |
//!
//! What the kernel or a container engine does not allow is left out, unless [`Mode::Require`].

mod calls;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "riscv64"))]
mod filter;
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "riscv64")))]
#[path = "no_filter.rs"]
mod filter;
mod ruleset;
// Elsewhere there is no filter that could be tested, and 32-bit processors lack some of the calls.
#[cfg(all(test, any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "riscv64")))]
mod tests;

use std::cell::Cell;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{CWD, Mode as FileMode, OFlags, ResolveFlags, openat2};
use rustix::io::Errno;

pub use calls::{ALLOWED, Allowed, REFUSED, Refused};
pub use ruleset::Reach;

use crate::error::{Error, ErrorKind, Result};
use crate::sys::trap;
use filter::Filter;

/// Whether the server is confined.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Mode {
    /// By every layer that the kernel allows.
    #[default]
    Auto,
    /// Not at all.
    Off,
    /// By every layer; a layer that cannot be applied is an error.
    Require,
}

impl std::str::FromStr for Mode {
    type Err = String;

    /// `auto`, `off` or `require`.
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            "off" => Ok(Self::Off),
            "require" => Ok(Self::Require),
            _ => Err("auto, off or require is expected".to_owned()),
        }
    }
}

/// What a server does, which decides what it is allowed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Needs {
    /// It serves unix streams, whose bulk data is spliced.
    pub unix_streams: bool,
    /// It serves seqpacket connections.
    pub seqpackets: bool,
    /// It serves datagram sockets.
    pub datagrams: bool,
    /// It answers unix datagrams, whose senders have paths and abstract names.
    pub unix_datagrams: bool,
    /// The kernel or a filter has no openat2(2), so the paths of these senders are opened with
    /// openat(2).
    pub lacks_openat2: bool,
    /// It polls before it sleeps.
    pub busy_polls: bool,
    /// More than one worker runs.
    pub has_threads: bool,
    /// Peers are named, in a line for each message, or counted by their source.
    pub names_peers: bool,
    /// Some of its sockets do not echo, but say what the server sees of a peer.
    pub answers: bool,
    /// The service manager listens on an abstract unix socket.
    pub abstract_manager: bool,
    /// The service manager listens on a vsock address.
    pub vsock_manager: bool,
    /// It hands connections to the service manager at its end.
    pub keeps_connections: bool,
}

impl Needs {
    /// What Landlock must leave possible.
    fn reach(&self) -> Reach {
        Reach { abstract_sockets: self.unix_datagrams || self.abstract_manager }
    }
}

/// Where the line about a forbidden system call goes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Log {
    /// Nowhere: standard error is a client's socket.
    #[default]
    Nowhere,
    /// Standard error, for people.
    Plain,
    /// Standard error, with the priority that the journal reads.
    Journal,
}

/// What confines the workers of a server. The default confines nothing.
#[derive(Default)]
pub struct Sandbox {
    mode: Option<Mode>,
    reach: Reach,
    filter: Option<Filter>,
    has_told: AtomicBool,
}

impl Sandbox {
    /// Prepares the confinement of a server with these `needs`, and what is logged if the server
    /// makes a system call that it is not allowed. Call it before there are other threads: the
    /// handler of `SIGSYS` is that of the process.
    ///
    /// # Errors
    ///
    /// With [`Mode::Require`]: this processor has no system call filter, or the kernel refuses the
    /// handler of `SIGSYS`.
    pub fn prepare(mode: Mode, needs: &Needs, log: Log) -> Result<Self> {
        if mode == Mode::Off {
            return Ok(Self::default());
        }
        // rustix asks the kernel for it when it is first used, with prctl(2).
        rustix::param::page_size();
        let sandbox = Self { mode: Some(mode), reach: needs.reach(), ..Self::default() };
        let handled = match log {
            Log::Nowhere => trap::die_silently(),
            Log::Plain => trap::report("socket-activate-echo: "),
            Log::Journal => trap::report("<2>"),
        };
        let filter = match handled {
            Ok(()) => Filter::new(needs),
            Err(error) => Err(failed("handle SIGSYS").because(error)),
        };
        match filter {
            Ok(filter) => Ok(Self { filter: Some(filter), ..sandbox }),
            Err(error) => sandbox.leave_out("seccomp", error).map(|()| sandbox),
        }
    }

    /// Whether files cannot be opened any more once a thread has entered.
    pub fn is_on(&self) -> bool {
        self.mode.is_some()
    }

    /// How many system calls are allowed; `None` without a filter.
    pub fn calls(&self) -> Option<usize> {
        self.filter.as_ref().map(Filter::calls)
    }

    /// Confines the calling thread, and the threads that it starts, for good. A second call in the
    /// same thread changes nothing.
    ///
    /// # Errors
    ///
    /// With [`Mode::Require`]: a layer cannot be applied.
    pub fn enter(&self) -> Result<()> {
        thread_local!(static HAS_ENTERED: Cell<bool> = const { Cell::new(false) });
        if !self.is_on() || HAS_ENTERED.replace(true) {
            return Ok(());
        }
        // Landlock first: the filter forbids its system calls.
        let landlock = ruleset::restrict(self.reach);
        let applied = landlock.as_ref().copied().unwrap_or_default();
        landlock.map(drop).or_else(|error| self.leave_out("Landlock", error))?;
        // After this, even memory for the log's text must come from an allowed call.
        let filtered = self.filter.as_ref().map(Filter::apply).transpose();
        let is_filtered = matches!(filtered, Ok(Some(())));
        filtered.map(drop).or_else(|error| self.leave_out("seccomp", error))?;
        if !self.has_told.swap(true, Ordering::Relaxed) {
            let calls = self.calls().filter(|_| is_filtered);
            log::debug!("sandbox: {}", Applied { landlock: applied, calls });
        }
        Ok(())
    }

    fn leave_out(&self, layer: &str, error: Error) -> Result<()> {
        if self.mode == Some(Mode::Require) {
            return Err(error.remedy(
                "use --sandbox auto, or see what forbids it: `inspect` lists what this kernel and \
                 this container allow",
            ));
        }
        log::debug!("sandbox without {layer}: {error}");
        Ok(())
    }
}

impl fmt::Debug for Sandbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (calls, reach) = (self.calls(), self.reach);
        f.debug_struct("Sandbox")
            .field("mode", &self.mode)
            .field("reach", &reach)
            .field("calls", &calls)
            .finish()
    }
}

/// What was applied, in words.
struct Applied {
    landlock: bool,
    calls: Option<usize>,
}

impl fmt::Display for Applied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.landlock { "Landlock" } else { "no Landlock" })?;
        match self.calls {
            Some(calls) => write!(f, ", {calls} system calls are allowed"),
            None => f.write_str(", every system call is allowed"),
        }
    }
}

/// What this process could use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Available {
    /// Whether no_new_privs can be set: prctl(2).
    pub no_new_privileges: bool,
    /// The ABI of the kernel's Landlock; `None` if there is none, or a filter forbids it.
    pub landlock_abi: Option<u32>,
    /// Whether a system call filter can be added, and this program has one for this processor.
    pub seccomp: bool,
}

impl Available {
    /// Asks the kernel. It changes nothing.
    pub fn here() -> Self {
        Self {
            no_new_privileges: trap::no_new_privileges().is_ok(),
            landlock_abi: trap::landlock_abi().ok(),
            seccomp: filter::IS_KNOWN && trap::can_trap(),
        }
    }
}

/// Whether openat2(2) works with the flags that a server uses: not before Linux 5.12, and not where
/// a filter forbids it.
pub fn has_openat2() -> bool {
    let opened =
        openat2(CWD, "/", OFlags::PATH | OFlags::CLOEXEC, FileMode::empty(), ResolveFlags::CACHED);
    !matches!(opened, Err(Errno::NOSYS | Errno::INVAL | Errno::PERM))
}

fn failed(attempted: &str) -> Error {
    Error::new(ErrorKind::Other, format!("enter the sandbox: {attempted}"))
}
