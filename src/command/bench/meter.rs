//! The clock of one round, and its counts.

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use indicatif::ProgressBar;

use super::server::{Cpu, Server};
use super::settings::Settings;
use super::wait::TICK;

/// Longer latencies are recorded as this: it is longer than any timeout in use.
const LATENCY_MAX_NS: u64 = 600_000_000_000;

/// The counts of one round, from the end of its warm-up.
#[derive(Debug, Default)]
pub(super) struct Sample {
    /// The length of the measurement in seconds.
    pub(super) seconds: f64,
    /// Messages that came back whole; for a flood, datagrams.
    pub(super) round_trips: u64,
    /// Bytes that came back.
    pub(super) bytes: u64,
    /// Nanoseconds from the send to the last byte of the reply; with `--rate`, from the time at
    /// which the message was due.
    pub(super) latency_ns: Latencies,
    /// Connections that ended, and calls that failed.
    pub(super) errors: u64,
    /// Replies that differ from what was sent.
    pub(super) wrong: u64,
    /// Datagrams that did not come back in time.
    pub(super) lost: u64,
    /// Messages of `--rate` that were due and had not come back at the end.
    pub(super) unfinished: u64,
    /// The first error, in words.
    pub(super) first_error: Option<String>,
    /// The CPU time of the server's process.
    pub(super) cpu: Option<Cpu>,
    /// The congestion control of a TCP connection.
    pub(super) congestion: Option<String>,
    /// The memory that idle connections cost.
    pub(super) memory: Option<Memory>,
}

/// The server's memory in bytes, without the kernel's memory for sockets.
#[derive(Debug, Clone, Copy)]
pub(super) struct Memory {
    /// Resident, with one used connection.
    pub(super) before: u64,
    /// Resident, with all connections.
    pub(super) idle: u64,
    /// Resident, after each connection was used once.
    pub(super) used: u64,
    /// How many connections were added to the first.
    pub(super) added: usize,
}

/// The distribution of times in nanoseconds, with a precision of three digits.
#[derive(Debug)]
pub(super) struct Latencies(pub(super) Histogram<u64>);

impl Default for Latencies {
    fn default() -> Self {
        Self(Histogram::new_with_bounds(1, LATENCY_MAX_NS, 3).expect("bounds as it wants them"))
    }
}

impl Sample {
    /// Counts an echoed message.
    pub(super) fn round_trip(&mut self, latency_ns: u64, bytes: usize) {
        self.round_trips += 1;
        self.bytes += bytes as u64;
        self.latency_ns.0.saturating_record(latency_ns);
    }

    /// Counts a failure. The first one is kept as text.
    pub(super) fn error(&mut self, describe: impl FnOnce() -> String) {
        self.errors += 1;
        if self.first_error.is_none() {
            self.first_error = Some(describe());
        }
    }

    /// Resets the counts of the warm-up, except the errors.
    fn restart(&mut self) {
        self.round_trips = 0;
        self.bytes = 0;
        self.lost = 0;
        self.unfinished = 0;
        self.latency_ns.0.reset();
    }

    /// Messages in a second.
    pub(super) fn per_second(&self) -> Option<f64> {
        Some(self.round_trips as f64 / self.seconds.max(1e-9))
    }

    /// Echoed bytes in a second.
    pub(super) fn bytes_per_second(&self) -> Option<f64> {
        Some(self.bytes as f64 / self.seconds.max(1e-9))
    }

    /// The server's CPU time in nanoseconds for each message.
    pub(super) fn cpu_per_message(&self) -> Option<f64> {
        Some(self.cpu?.nanoseconds as f64 / self.round_trips as f64)
    }

    /// The server's CPU time in nanoseconds for each echoed MiB.
    pub(super) fn cpu_per_mebibyte(&self) -> Option<f64> {
        Some(self.cpu?.nanoseconds as f64 / (self.bytes as f64 / f64::from(1 << 20)))
    }

    /// Bytes of the server's memory for each idle connection.
    pub(super) fn per_connection(&self) -> Option<f64> {
        let Memory { before, idle, added, .. } = self.memory?;
        Some((idle as f64 - before as f64) / added.max(1) as f64)
    }

    /// A percentile of the latencies, in nanoseconds.
    pub(super) fn percentile(&self, quantile: f64) -> Option<f64> {
        let known = !self.latency_ns.0.is_empty();
        known.then(|| self.latency_ns.0.value_at_quantile(quantile) as f64)
    }
}

/// Times the warm-up and the measurement with one clock.
pub(super) struct Meter<'a> {
    origin: Instant,
    /// When the measurement started; `None` during the warm-up.
    began: Option<u64>,
    next_look: u64,
    phase_end: u64,
    duration: Duration,
    server: Option<Server>,
    cpu_at_start: Option<Cpu>,
    progress: &'a ProgressBar,
    /// The milliseconds of the earlier rounds.
    done: u64,
    /// The counts.
    pub(super) sample: Sample,
}

impl<'a> Meter<'a> {
    /// Creates a meter and starts the warm-up.
    pub(super) fn new(
        settings: &Settings<'_>,
        server: Option<Server>,
        progress: &'a ProgressBar,
    ) -> Self {
        Self {
            origin: Instant::now(),
            began: None,
            next_look: 0,
            phase_end: settings.args.warmup.as_nanos() as u64,
            duration: settings.args.duration,
            server,
            cpu_at_start: None,
            progress,
            done: progress.position(),
            sample: Sample::default(),
        }
    }

    /// Nanoseconds since the creation of the meter.
    pub(super) fn now(&self) -> u64 {
        self.origin.elapsed().as_nanos() as u64
    }

    /// Whether the round goes on at time `now`. It is cheap enough to call for each message.
    pub(super) fn goes_on(&mut self, now: u64) -> bool {
        now < self.next_look || self.look(now)
    }

    /// Whether the warm-up is over.
    pub(super) fn is_measuring(&self) -> bool {
        self.began.is_some()
    }

    fn look(&mut self, now: u64) -> bool {
        self.progress.set_position(self.done + now / 1_000_000);
        if now < self.phase_end {
            self.next_look = self.phase_end.min(now + TICK.as_nanos() as u64);
            return true;
        }
        if self.began.is_some() {
            return false;
        }
        self.sample.restart();
        self.cpu_at_start = self.server.as_ref().and_then(Server::cpu);
        let began = self.now();
        self.began = Some(began);
        self.phase_end = began + self.duration.as_nanos() as u64;
        self.next_look = began;
        true
    }

    /// Ends the measurement while the connections are still open, because some servers have a
    /// thread or child for each, which ends with it.
    pub(super) fn stop(&mut self) {
        let now = self.now();
        self.sample.seconds = now.saturating_sub(self.began.unwrap_or(0)) as f64 / 1e9;
        let end = self.server.as_ref().and_then(Server::cpu);
        self.sample.cpu = match (self.cpu_at_start, end) {
            (Some(start), Some(end)) => Some(end.since(start)),
            _ => None,
        };
        self.progress.set_position(self.done + now / 1_000_000);
    }
}
