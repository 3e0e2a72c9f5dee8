//! `--restart`: holds the sockets, and starts the command again for new traffic after each end.
//! That is what a socket unit and its service do: systemd.socket(5).

use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use rustix::event::Timespec;
use rustix::process::{Pid, getpgid, getpgrp, kill_process};

use super::announce;
use super::failures::{Failures, Pace};
use super::wait::{Signals, StopRequest, is_hung_up, ready, shut_down};
use crate::activator::{Bound, Target};
use crate::backoff::Backoff;
use crate::cli::ActivateArgs;
use crate::command::{Outcome, children};
use crate::error::Result;

/// How often a command is started that ends well and leaves the traffic: as often as a socket unit
/// does before it fails, 20 times in 2 s (systemd.socket(5), TriggerLimitBurst=). Such a command may
/// serve one peer in each process.
const LONGEST_AFTER_SUCCESS: Duration = Duration::from_millis(100);

/// The sockets, and what becomes of the command.
struct Supervisor<'a> {
    sockets: &'a [Bound],
    target: &'a Target,
    signals: &'a Signals,
    args: &'a ActivateArgs,
    /// When the next start may be, after one that was of no use.
    retry: Backoff,
    failures: Failures,
    starts: Pace,
    count: u64,
}

/// A process of the command.
struct Run {
    pid: Pid,
    started: Instant,
    /// The number of the socket with the traffic that it was started for.
    traffic: Option<usize>,
    /// Whether its start was logged.
    is_logged: bool,
}

/// What comes next while no process runs.
enum Next {
    Start(Option<usize>),
    Stop(&'static str),
}

/// Runs the command until SIGTERM or SIGINT, which are forwarded to it. Returns the status that it
/// then ends with, or 0 if no process runs.
///
/// # Errors
///
/// A listening socket was shut down, or a system call failed unexpectedly.
pub(super) fn run(
    sockets: &[Bound],
    target: &Target,
    signals: &Signals,
    args: &ActivateArgs,
) -> Outcome {
    let mut supervisor = Supervisor {
        sockets,
        target,
        signals,
        args,
        retry: Backoff::default(),
        failures: Failures::default(),
        starts: Pace::default(),
        count: 0,
    };
    loop {
        let traffic = match supervisor.next()? {
            Next::Start(traffic) => traffic,
            Next::Stop(signal) => {
                supervisor.failures.tell_rest();
                let count = supervisor.count;
                log::info!("ended by {signal}; the command was started {count} times");
                return Ok(0);
            }
        };
        let Some(run) = supervisor.start(traffic) else { continue };
        match supervisor.attend(&run)? {
            (status, None) => supervisor.ended(&run, status)?,
            (status, Some(signal)) => {
                supervisor.failures.tell_rest();
                let count = supervisor.count;
                log::info!("ended by {signal}: {status}; the command was started {count} times");
                return Ok(exit_status(status));
            }
        }
    }
}

impl Supervisor<'_> {
    /// Waits for traffic, or only for the end of the pause with `--now`.
    fn next(&mut self) -> Result<Next> {
        loop {
            let now = Instant::now();
            self.retry.take(now);
            let pause = self.retry.due().map(|due| due.saturating_duration_since(now));
            let looks = pause.is_none() && !self.args.now;
            // During a pause, traffic would end each wait.
            let sockets = if looks { self.sockets } else { &[] };
            let timeout = (!looks).then(|| pause.unwrap_or_default());
            let traffic = self.look(sockets, timeout)?;
            if let Some(signal) = self.signals.stop_requested()? {
                return Ok(Next::Stop(signal));
            }
            children::reap(|_, _| {})?;
            if traffic.is_some() || (pause.is_none() && self.args.now) {
                return Ok(Next::Start(traffic));
            }
        }
    }

    /// Starts a process. If that fails, the traffic waits for the next try.
    fn start(&mut self, traffic: Option<usize>) -> Option<Run> {
        let started = Instant::now();
        let is_logged = self.starts.is_due(started);
        if is_logged {
            announce::running(self.target, self.sockets, traffic, self.args);
        }
        let child = self.target.spawn(self.sockets, children::end_with_this_process);
        match child {
            Ok(child) => {
                self.count += 1;
                Some(Run { pid: Pid::from_child(&child), started, traffic, is_logged })
            }
            Err(error) => {
                self.failures.tell(error);
                self.retry.plan(Instant::now());
                None
            }
        }
    }

    /// Waits for the end of the process, and looks at no socket. Returns how it ended, and the last
    /// signal that asked for the end.
    fn attend(&self, run: &Run) -> Result<(ExitStatus, Option<&'static str>)> {
        let mut stopped = None;
        loop {
            ready(std::iter::empty(), self.signals, None)?;
            for request in self.signals.take()? {
                forward(request, run.pid);
                stopped = Some(request.name);
            }
            let mut ended = None;
            children::reap(|pid, status| ended = ended.or((pid == run.pid).then_some(status)))?;
            if let Some(status) = ended {
                return Ok((status, stopped));
            }
        }
    }

    /// Plans a pause if the process was of no use, and logs how it ended. A program that fails at
    /// once, or that does not take the traffic, would be started without an end.
    fn ended(&mut self, run: &Run, status: ExitStatus) -> Result<()> {
        let now = Instant::now();
        let took_it = match run.traffic {
            Some(number) => {
                let socket = self.sockets.get(number).map(std::slice::from_ref);
                self.look(socket.unwrap_or_default(), Some(Duration::ZERO))?.is_none()
            }
            None => now.duration_since(run.started) >= LONGEST_AFTER_SUCCESS,
        };
        match (status.success(), took_it) {
            (true, true) => self.retry.reset(),
            (true, false) => _ = self.retry.plan_within(LONGEST_AFTER_SUCCESS, now),
            (false, _) => self.retry.plan(now),
        }
        let pause = self.retry.due().map(|due| due.saturating_duration_since(now));
        let next = if self.args.now { "it is started again" } else { "traffic starts it again" };
        let pid = run.pid;
        if !status.success() {
            let pause = pause.unwrap_or_default();
            self.failures.tell(format_args!(
                "the command failed: {status} (pid {pid}); see its output; the sockets are held, \
                 and {next} after {pause:?}"
            ));
        } else if run.traffic.is_some() && pause == Some(LONGEST_AFTER_SUCCESS) {
            let remedy = match self.args.inetd {
                true => "",
                false => "; a command that uses standard input and output needs --inetd",
            };
            self.failures.tell(format_args!(
                "the command ends again and again, and does not take the traffic (pid {pid}); \
                 the sockets are held, and {next} after {LONGEST_AFTER_SUCCESS:?}{remedy}"
            ));
        } else if run.is_logged {
            log::info!("the command ended: {status} (pid {pid}); the sockets are held, and {next}");
        }
        Ok(())
    }

    /// Waits for traffic, for a signal, or until the timeout. Returns the number of a socket with
    /// traffic.
    ///
    /// # Errors
    ///
    /// A listening socket was shut down. The command would get it again, and programs refuse it; a
    /// socket unit fails too.
    fn look(&self, sockets: &[Bound], timeout: Option<Duration>) -> Result<Option<usize>> {
        let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
        let ready = ready(sockets.iter(), self.signals, timeout)?;
        for (socket, events) in sockets.iter().zip(&ready) {
            if socket.is_listener() && is_hung_up(*events) {
                return Err(shut_down(socket));
            }
        }
        Ok(ready.iter().position(|events| !events.is_empty()))
    }
}

/// Forwards the signal, unless a terminal sent it to the process too: some programs drop their
/// clients when SIGINT comes twice.
fn forward(request: StopRequest, pid: Pid) {
    let has_it = request.is_from_kernel && getpgid(Some(pid)).is_ok_and(|id| id == getpgrp());
    if has_it {
        return;
    }
    // Until it is reaped, the process id belongs to no other process.
    if let Err(error) = kill_process(pid, request.signal) {
        log::warn!("forward {} to the command (pid {pid}): {error}", request.name);
    }
}

/// The exit status that a shell shows for it.
fn exit_status(status: ExitStatus) -> u8 {
    let signal = status.signal().map(|signal| 128 + signal);
    let code = status.code().or(signal);
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(u8::MAX)
}
