//! The command to check: it is started with sockets, as a service manager does, and ended.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, getpid, kill_process, pidfd_open};

use super::case::Miss;
use super::folder::Folder;
use super::inspection::Inspection;
use super::processes;
use crate::activator::{Bound, HandOver, Target};
use crate::address::{Address, Style, UnixName};
use crate::cli::ConformArgs;
use crate::command::children;
use crate::deadline::Deadline;
use crate::error::{Context, Error, ErrorKind, Result};
use crate::sys;
use crate::text::Escaped;

/// How long a command may take to end after SIGTERM before it gets SIGKILL.
const KILL_PATIENCE: Duration = Duration::from_secs(10);
/// How much later than the end of the command an answer may arrive.
const END_PATIENCE: Duration = Duration::from_millis(300);
/// The backlog of the sockets; clients wait in it before the start.
const BACKLOG: i32 = 4096;
/// What this process may have got from a service manager of its own. The command is told about
/// another one.
const OURS: [&str; 5] =
    ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "FDSTORE", "LISTEN_PIDFDID"];

/// An engine's command line.
pub(super) struct Engine {
    target: Target,
    /// How long an answer or an end may take.
    pub(super) timeout: Duration,
    folder: Folder,
    /// Makes names of files unique.
    files: AtomicUsize,
}

/// How the sockets are handed over, and to whom.
#[derive(Clone, Copy)]
pub(super) struct Run<'a> {
    pub(super) hand_over: HandOver,
    pub(super) environment: &'a [(&'a str, &'a OsStr)],
    /// The arguments that follow the command.
    pub(super) arguments: &'a [&'a str],
}

pub(super) const SERVE: Run<'_> =
    Run { hand_over: HandOver::ListenFds, environment: &[], arguments: &["serve"] };
pub(super) const INSPECT: Run<'_> = Run { arguments: &["inspect", "--json"], ..SERVE };

impl Engine {
    pub(super) fn new(args: &ConformArgs) -> Result<Self> {
        let command = args.command.as_slice();
        if command.is_empty() && !args.list {
            return Err(Error::new(ErrorKind::Usage, "conform needs a command to check").remedy(
                "give one that ends in this program: `conform -- podman run --rm --network=none \
                 IMAGE /socket-activate-echo`; or --vsock-mux for a hypervisor",
            ));
        }
        // For --list nothing is started.
        let target = if args.list {
            Target::find(&["/proc/self/exe"], Vec::new())?
        } else {
            Target::find(command, Vec::new())?
        };
        // A descriptor that a shell has left open here would look like one of the engine's.
        sys::handover::keep_descriptors_to_ourselves().context("mark descriptors close-on-exec")?;
        let folder = Folder::new().context("make a temporary folder")?;
        // What an engine leaves behind becomes a child of this process, so that it can be found.
        let _ = rustix::process::set_child_subreaper(Some(getpid()));
        Ok(Self { target, timeout: args.timeout, folder, files: AtomicUsize::new(0) })
    }

    /// A path that is not used yet.
    pub(super) fn path(&self) -> PathBuf {
        self.folder.path().join(self.files.fetch_add(1, Ordering::Relaxed).to_string())
    }

    pub(super) fn bind(&self, address: &Address, name: &str) -> Result<Bound, Miss> {
        // What cannot be bound here says nothing about the engine.
        Bound::new(address, BACKLOG, name).map_err(|error| Miss::Skip(error.to_string()))
    }

    /// A unix socket in the temporary folder.
    pub(super) fn unix(&self, style: Style, name: &str) -> Result<Bound, Miss> {
        self.bind(&Address::Unix(style, UnixName::Path(self.path())), name)
    }

    /// A socket for each name: unix streams.
    pub(super) fn listeners(&self, names: &[&str]) -> Result<Vec<Bound>, Miss> {
        names.iter().map(|name| self.unix(Style::Stream, name)).collect()
    }

    pub(super) fn start(&self, sockets: &[Bound], run: Run<'_>) -> Result<Running<'_>, Miss> {
        let mut target = self.target.clone();
        target.hand_over = run.hand_over;
        target.arguments.extend(run.arguments.iter().map(OsString::from));
        target.environment.extend(OURS.map(|name| (name.into(), None)));
        let own = run.environment.iter();
        target.environment.extend(own.map(|(name, value)| (name.into(), Some(value.into()))));
        let (stdout, stderr) = (self.path(), self.path());
        let files = (|| Ok((File::create(&stdout)?, File::create(&stderr)?)))();
        let (out, err) = files.map_err(|error: io::Error| {
            Miss::Skip(format!("create a file for the output: {error}"))
        })?;
        let started = Instant::now();
        let child = target.spawn(sockets, |command| {
            command.stdin(Stdio::null()).stdout(out).stderr(err);
            children::end_with_this_process(command);
        });
        let child = child.map_err(|error| Miss::Fail(error.to_string()))?;
        let pid = Pid::from_child(&child);
        let pidfd = pidfd_open(pid, PidfdFlags::empty())
            .map_err(|error| Miss::Skip(format!("pidfd_open(2): {error}")))?;
        let (status, end_seen) = (None, None);
        Ok(Running { engine: self, child, pid, pidfd, stdout, stderr, started, status, end_seen })
    }

    /// Runs `inspect` to its end, and returns what it has seen. The sockets need traffic before: an
    /// engine may wait for it.
    pub(super) fn inspect(&self, sockets: &[Bound], run: Run<'_>) -> Result<Inspection, Miss> {
        let mut running = self.start(sockets, run)?;
        let status = running.wait()?;
        Inspection::parse(&running.output()).ok_or_else(|| {
            Miss::Fail(format!("{status}, and it printed no JSON; {}", running.last_words()))
        })
    }
}

/// A command that was started. Dropping it ends it.
pub(super) struct Running<'a> {
    engine: &'a Engine,
    child: Child,
    pid: Pid,
    pidfd: OwnedFd,
    stdout: PathBuf,
    stderr: PathBuf,
    pub(super) started: Instant,
    status: Option<ExitStatus>,
    /// When it was first seen that the command had ended before a client had its answer.
    end_seen: Option<Instant>,
}

impl Running<'_> {
    /// The process that was started: the engine, or what it became.
    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits for the end.
    pub(super) fn wait(&mut self) -> Result<ExitStatus, Miss> {
        let timeout = self.engine.timeout;
        match self.ended_within(timeout) {
            Some(status) => Ok(status),
            None => Err(Miss::Fail(format!(
                "the command did not end within {timeout:?}; {}",
                self.last_words()
            ))),
        }
    }

    /// Waits until something arrives at `fd`, the end of a client.
    pub(super) fn answers(&mut self, fd: impl AsFd) -> Result<(), Miss> {
        let timeout = self.engine.timeout;
        let deadline = Deadline::after(timeout);
        let mut fds = [PollFd::new(&fd, PollFlags::IN), PollFd::new(&self.pidfd, PollFlags::IN)];
        while !deadline.is_over() && fds.iter().all(|fd| fd.revents().is_empty()) {
            let left = deadline.remaining().and_then(|left| Timespec::try_from(left).ok());
            let _ = poll(&mut fds, left.as_ref());
        }
        let has_ended = !fds[1].revents().is_empty();
        if !has_ended {
            return match fds[0].revents().is_empty() {
                false => Ok(()),
                true => {
                    let words = self.last_words();
                    Err(Miss::Fail(format!("no answer within {timeout:?}; {words}")))
                }
            };
        }
        // What the program has sent may be a moment behind its end.
        let ended = *self.end_seen.get_or_insert_with(Instant::now);
        let grace = END_PATIENCE.saturating_sub(ended.elapsed());
        if Deadline::after(grace).wait(&fd, PollFlags::IN).is_ok() {
            return Ok(());
        }
        let status = self.wait()?;
        let words = self.last_words();
        Err(Miss::Fail(format!("the command ended with {status} before it answered; {words}")))
    }

    /// Sends SIGTERM, as a service manager does, and waits for the end. What goes on gets SIGKILL.
    pub(super) fn stop(&mut self) -> Result<ExitStatus, Miss> {
        self.signal(Signal::TERM);
        let timeout = self.engine.timeout;
        self.ended_within(timeout).ok_or_else(|| {
            self.kill();
            Miss::Fail(format!("it did not end within {timeout:?} after SIGTERM: it needs SIGKILL"))
        })
    }

    /// Sends SIGKILL, and waits for the end.
    pub(super) fn kill(&mut self) {
        self.signal(Signal::KILL);
        self.ended_within(KILL_PATIENCE);
    }

    fn signal(&self, signal: Signal) {
        // It is reaped only here, so the process id is not reused.
        if self.status.is_none() {
            let _ = kill_process(self.pid, signal);
        }
    }

    fn ended_within(&mut self, timeout: Duration) -> Option<ExitStatus> {
        if self.status.is_none()
            && Deadline::after(timeout).wait(&self.pidfd, PollFlags::IN).is_ok()
        {
            self.status = self.child.wait().ok();
        }
        self.status
    }

    /// Whether it has ended already.
    pub(super) fn has_ended(&mut self) -> bool {
        self.ended_within(Duration::ZERO).is_some()
    }

    fn output(&self) -> String {
        lossy(&self.stdout)
    }

    /// The last line on standard error, for a reason.
    pub(super) fn last_words(&self) -> String {
        /// A reason is one line.
        const CHARS_MAX: usize = 300;
        let text = lossy(&self.stderr);
        match text.lines().rev().find(|line| !line.trim().is_empty()) {
            Some(line) => {
                let line: String = line.chars().take(CHARS_MAX).collect();
                format!("its last line on standard error: {}", Escaped::new(&line))
            }
            None => "nothing on standard error".to_owned(),
        }
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.signal(Signal::TERM);
        if self.ended_within(KILL_PATIENCE).is_none() {
            self.kill();
        }
        processes::end_programs();
    }
}

fn lossy(path: &Path) -> String {
    /// More than `inspect` prints about 200 sockets. An engine may print without an end.
    const BYTES_MAX: u64 = 4 << 20;
    let mut bytes = Vec::new();
    if let Ok(file) = File::open(path) {
        let _ = file.take(BYTES_MAX).read_to_end(&mut bytes);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
