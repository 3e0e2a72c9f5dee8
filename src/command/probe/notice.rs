//! After a second of waiting, prints what is waited for, for how long, and why it may take time.

use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::address::{Address, Style};
use crate::client::{Deadline, Failure, Symptom};

/// When the first notice is due, and the time between later ones.
const FIRST_AFTER: Duration = Duration::from_secs(1);
const AGAIN_AFTER: Duration = Duration::from_secs(10);
/// How often an address without a listener is tried again.
const RETRY_AFTER: Duration = Duration::from_millis(100);

/// What is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// A connection.
    Connect,
    /// A listener, after this symptom.
    Listener(Symptom),
    /// The first reply, or a later one.
    Reply { first: bool },
    /// The rest of a reply that has begun.
    Rest,
}

/// A thread that prints to standard error while its owner waits. It ends with its owner.
pub(super) struct Notice {
    limit: Duration,
    phase: Arc<Mutex<(Phase, Instant)>>,
    stop: Option<mpsc::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Notice {
    pub(super) fn start(address: &Address, limit: Duration) -> Self {
        let phase = Arc::new(Mutex::new((Phase::Connect, Instant::now())));
        let (stop, stopped) = mpsc::channel();
        let (address, shared) = (address.clone(), Arc::clone(&phase));
        let thread = std::thread::spawn(move || {
            let mut told: Option<(Instant, Instant)> = None;
            loop {
                let (phase, since) = *shared.lock().unwrap_or_else(PoisonError::into_inner);
                let due = match told {
                    Some((of, at)) if of == since => at + AGAIN_AFTER,
                    _ => since + FIRST_AFTER,
                };
                let pause = due.saturating_duration_since(Instant::now());
                if pause.is_zero() {
                    let text = text(&address, phase, since.elapsed(), limit);
                    let _ = writeln!(std::io::stderr(), "{text}");
                    told = Some((since, Instant::now()));
                } else if stopped.recv_timeout(pause.min(FIRST_AFTER))
                    != Err(mpsc::RecvTimeoutError::Timeout)
                {
                    return;
                }
            }
        });
        Self { limit, phase, stop: Some(stop), thread: Some(thread) }
    }

    /// Makes an attempt with the given time. With `wait`, it repeats the attempt until somebody
    /// listens.
    pub(super) fn until_somebody_listens<T>(
        &self,
        wait: bool,
        mut attempt: impl FnMut(Duration) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let (started, patience) = (Instant::now(), Deadline::after(self.limit));
        loop {
            match attempt(patience.remaining().unwrap_or(self.limit)) {
                Err(failure)
                    if wait && failure.symptom.is_nobody_listens() && !patience.is_over() =>
                {
                    self.phase(Phase::Listener(failure.symptom), started);
                    std::thread::sleep(RETRY_AFTER);
                }
                result => return result,
            }
        }
    }

    /// Sets what is waited for, and since when.
    pub(super) fn phase(&self, phase: Phase, since: Instant) {
        *self.phase.lock().unwrap_or_else(PoisonError::into_inner) = (phase, since);
    }

    /// Sets the phase to the rest of a reply.
    pub(super) fn rest(&self) {
        self.phase(Phase::Rest, Instant::now());
    }
}

impl Drop for Notice {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn text(address: &Address, phase: Phase, elapsed: Duration, limit: Duration) -> String {
    let elapsed = elapsed.as_secs();
    let limit = limit.as_secs_f32();
    match phase {
        Phase::Connect => format!(
            "{address}: waiting for a connection for {elapsed} s, up to {limit} s: {}",
            match address {
                Address::Inet(..) => "the name server, the host or the server does not answer yet",
                Address::Unix(..) => "the backlog of the socket is full",
                Address::Vsock(..) | Address::VsockMux(..) => "the virtual machine may be starting",
            }
        ),
        Phase::Listener(symptom) => format!(
            "{address}: cannot be reached yet ({symptom}), retrying for {elapsed} s, up to {limit} s"
        ),
        Phase::Reply { first: true } => {
            let is_datagram = address.style() == Style::Datagram;
            let done = if is_datagram { "sent" } else { "connected" };
            // Only a unix datagram socket knows that a process has the address.
            let or = match address {
                Address::Unix(..) => "its image may be downloading",
                _ if is_datagram => "no server is there",
                _ => "its image may be downloading",
            };
            format!(
                "{address}: {done}, waiting for the first reply for {elapsed} s, up to {limit} s: \
                 the service may be starting, or {or}"
            )
        }
        Phase::Reply { first: false } => {
            format!("{address}: waiting for the next reply for {elapsed} s, up to {limit} s")
        }
        Phase::Rest => format!(
            "{address}: the reply has begun, waiting for the rest for {elapsed} s: fails if \
             nothing more comes for {limit} s"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_notice_says_for_what_since_when_and_why() {
        for (address, phase, expected) in [
            (
                "udp:127.0.0.1:3000",
                Phase::Reply { first: true },
                "udp:127.0.0.1:3000: sent, waiting for the first reply for 1 s, up to 30 s: the \
                 service may be starting, or no server is there",
            ),
            (
                "unix-dgram:/s",
                Phase::Reply { first: true },
                "unix-dgram:/s: sent, waiting for the first reply for 1 s, up to 30 s: the \
                 service may be starting, or its image may be downloading",
            ),
            (
                "unix:/s",
                Phase::Rest,
                "unix:/s: the reply has begun, waiting for the rest for 1 s: fails if nothing \
                 more comes for 30 s",
            ),
            (
                "vsock:20:1",
                Phase::Connect,
                "vsock:20:1: waiting for a connection for 1 s, up to 30 s: the virtual machine \
                 may be starting",
            ),
        ] {
            let address: Address = address.parse().unwrap();
            let said = text(&address, phase, Duration::from_millis(1010), Duration::from_secs(30));
            assert_eq!(said, expected);
        }
    }
}
