//! Waits for traffic on a socket, or a signal.

use std::os::fd::OwnedFd;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::Signal;

use crate::activator::Bound;
use crate::error::{Context, Error, ErrorKind, Result};
use crate::sys;

/// SIGTERM, SIGINT and SIGCHLD as a descriptor to wait for. For PID 1 of a container, the default
/// action of SIGTERM and SIGINT would do nothing.
#[derive(Debug)]
pub(super) struct Signals(OwnedFd);

/// What ended the wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Waited {
    /// The socket with this index has a connection or a datagram.
    Traffic(usize),
    /// This signal came: SIGTERM or SIGINT.
    Stopped(&'static str),
}

impl Signals {
    pub(super) fn block() -> Result<Self> {
        // An inherited ignored SIGCHLD would not be reported, and the exit status of a child would
        // be lost.
        sys::handover::default_action(libc::SIGCHLD).context("take SIGCHLD back")?;
        sys::signal::signalfd(&[libc::SIGTERM, libc::SIGINT, libc::SIGCHLD])
            .map(Self)
            .context("wait for SIGTERM, SIGINT and SIGCHLD through a signalfd")
    }

    /// Takes all pending signals. Returns the name of SIGTERM or SIGINT if one of them is pending.
    pub(super) fn stop_requested(&self) -> Result<Option<&'static str>> {
        Ok(self.take()?.last().map(|request| request.name))
    }

    /// Takes all pending signals. Returns those that ask for the end.
    pub(super) fn take(&self) -> Result<Vec<StopRequest>> {
        /// `sizeof(struct signalfd_siginfo)`; the signal's number is its first field, and its code
        /// the third.
        const SIGINFO_BYTES: usize = 128;
        let mut requests = Vec::new();
        loop {
            let mut info = [0; SIGINFO_BYTES];
            match rustix::io::read(&self.0, &mut info) {
                Ok(_) => {
                    let [a, b, c, d, _, _, _, _, e, f, g, h, ..] = info;
                    let (name, signal) = match i32::from_ne_bytes([a, b, c, d]) {
                        libc::SIGTERM => ("SIGTERM", Signal::TERM),
                        libc::SIGINT => ("SIGINT", Signal::INT),
                        _ => continue,
                    };
                    let is_from_kernel = i32::from_ne_bytes([e, f, g, h]) == libc::SI_KERNEL;
                    requests.push(StopRequest { name, signal, is_from_kernel });
                }
                Err(Errno::AGAIN) => return Ok(requests),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error).context("read the signalfd"),
            }
        }
    }
}

/// A SIGTERM or SIGINT that came.
#[derive(Debug, Clone, Copy)]
pub(super) struct StopRequest {
    pub(super) name: &'static str,
    pub(super) signal: Signal,
    /// The kernel sent it for a terminal, to the whole foreground process group.
    pub(super) is_from_kernel: bool,
}

/// Waits until a socket has a connection or a datagram. It takes nothing from the socket: the
/// command does that.
///
/// # Errors
///
/// A system call failed unexpectedly, or all sockets were listeners and were shut down.
pub(super) fn for_traffic(sockets: &[Bound], signals: &Signals) -> Result<Waited> {
    let mut waiting: Vec<_> = sockets.iter().enumerate().collect();
    loop {
        let ready = ready(waiting.iter().map(|(_, socket)| *socket), signals, None)?;
        if let Some(signal) = signals.stop_requested()? {
            return Ok(Waited::Stopped(signal));
        }
        for ((number, socket), events) in std::mem::take(&mut waiting).into_iter().zip(ready) {
            if events.is_empty() {
                waiting.push((number, socket));
            } else if socket.is_listener() && is_hung_up(events) {
                log::warn!("{}", shut_down(socket));
            } else {
                return Ok(Waited::Traffic(number));
            }
        }
        if waiting.is_empty() {
            return Err(Error::new(
                ErrorKind::Other,
                "wait for traffic: no socket listens any \
                                                     more",
            ));
        }
    }
}

/// Waits for one of the sockets, for a signal, or until the timeout. Returns the events of each
/// socket.
pub(super) fn ready<'a>(
    sockets: impl Iterator<Item = &'a Bound>,
    signals: &'a Signals,
    timeout: Option<Timespec>,
) -> Result<Vec<PollFlags>> {
    let events = PollFlags::IN | PollFlags::RDHUP;
    let mut fds: Vec<_> = sockets.map(|socket| PollFd::new(socket, events)).collect();
    fds.push(PollFd::new(&signals.0, PollFlags::IN));
    match poll(&mut fds, timeout.as_ref()) {
        Ok(_) | Err(Errno::INTR) => {}
        Err(error) => return Err(error).context("poll the sockets"),
    }
    fds.pop();
    Ok(fds.iter().map(PollFd::revents).collect())
}

/// What poll(2) always reports for a listening socket that was shut down.
pub(super) fn is_hung_up(events: PollFlags) -> bool {
    events.intersects(PollFlags::RDHUP | PollFlags::HUP)
}

/// shutdown(2) affects every holder of the socket, and another holder called it.
pub(super) fn shut_down(socket: &Bound) -> Error {
    let message = format!("accept on {socket}: the socket does not listen any more");
    Error::new(ErrorKind::Other, message)
        .remedy("start `activate` again: another process that shares the socket called shutdown(2)")
}
