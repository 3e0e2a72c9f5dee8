//! The settings from the command line. Combinations without a meaning are refused here.

use super::target::Target;
use crate::address::{Address, Inet, Style};
use crate::cli::{BenchArgs, BenchMode};
use crate::error::{Error, ErrorKind, Result};
use crate::proc;

/// The kinds of load.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Load {
    /// One message in flight on each connection.
    PingPong,
    /// Streams, written and read at full speed.
    Bulk,
    /// Datagrams with many in flight.
    Flood,
    /// Connections that do nothing.
    Idle,
}

/// What to do in one round, and how many rounds.
#[derive(Debug)]
pub(super) struct Settings<'a> {
    /// The flags, for those whose default depends on nothing else.
    pub(super) args: &'a BenchArgs,
    /// The kind of load.
    pub(super) load: Load,
    /// Connections, or datagram sockets.
    pub(super) connections: usize,
    /// Bytes of a message; for bulk, of a write.
    pub(super) size: usize,
    /// Datagrams in flight during a flood; 0 is no limit.
    pub(super) window: usize,
    /// Rounds against each server.
    pub(super) rounds: usize,
    /// The server's process, if the user named it.
    pub(super) server_pid: Option<u32>,
}

/// Each round keeps the distribution of its latencies: a quarter of a MiB.
const ROUNDS_MAX: usize = 1000;
/// At this size, the cost of the system call is small; larger writes exceed the processor's cache.
const BULK_SIZE: usize = 64 * 1024;
/// This many fit in the default receive buffer of a datagram socket, so the flood itself loses
/// nothing.
const WINDOW: usize = 256;
/// A train needs the buffer space of one datagram, so more can be in flight.
const WINDOW_GSO: usize = 4096;

impl<'a> Settings<'a> {
    pub(super) fn new(args: &'a BenchArgs) -> Self {
        let load = match args.mode {
            BenchMode::Pingpong => Load::PingPong,
            BenchMode::Bulk => Load::Bulk,
            BenchMode::Flood => Load::Flood,
            BenchMode::Idle | BenchMode::Cold => Load::Idle,
        };
        Self {
            args,
            load,
            connections: args.connections as usize,
            size: args.size.unwrap_or(if load == Load::Bulk { BULK_SIZE } else { 64 }),
            window: args.window.unwrap_or(if args.gso { WINDOW_GSO } else { WINDOW }),
            rounds: args.rounds.map_or(if args.compare { 5 } else { 1 }, |n| n as usize),
            server_pid: args.server_pid,
        }
    }

    /// Refuses what has no meaning for the addresses.
    pub(super) fn check(&self, targets: &[Target]) -> Result<()> {
        if targets.is_empty() {
            return usage("no server: give an ADDR, for example tcp:127.0.0.1:3000");
        }
        if self.server_pid.is_some() && targets.len() > 1 {
            return usage("--server-pid names one process, but there are several servers");
        }
        match self.server_pid {
            Some(pid) if proc::cpu_nanoseconds(pid).is_none() => {
                return usage(format!("--server-pid {pid}: /proc has no such process"));
            }
            _ => {}
        }
        if self.args.congestion.is_some() && !targets.iter().any(Target::is_tcp) {
            return usage("--congestion is for TCP, and no server has a TCP address");
        }
        if self.rounds > ROUNDS_MAX {
            return usage(format!("--rounds above {ROUNDS_MAX} is for --mode cold"));
        }
        targets.iter().try_for_each(|target| self.check_one(&target.address))
    }

    fn check_one(&self, address: &Address) -> Result<()> {
        let style = address.style();
        if self.args.gso && !matches!(address, Address::Inet(Inet::Udp, ..)) {
            return usage(format!("--gso is for udp, not for {address}"));
        }
        let (mode, is_for) = match (self.load, style) {
            (Load::Bulk, Style::Datagram | Style::Seqpacket) => ("bulk", "streams"),
            (Load::Flood, Style::Stream | Style::Seqpacket) => ("flood", "datagrams"),
            (Load::Idle, Style::Datagram) => ("idle", "connections"),
            _ if self.size == 0 && style != Style::Datagram => return Err(empty(address)),
            (Load::Flood, _) if self.size == 0 => {
                return usage(
                    "--mode flood cannot count empty datagrams: give a --size of 1 or more",
                );
            }
            (_, Style::Datagram | Style::Stream | Style::Seqpacket) => return Ok(()),
        };
        usage(format!("--mode {mode} is for {is_for}, not for {address}"))
    }

    /// The duration of the whole run, for the progress bar.
    pub(super) fn seconds_of_all(&self, targets: usize) -> f64 {
        let round = self.args.duration + self.args.warmup;
        round.as_secs_f64() * (self.rounds * targets) as f64
    }
}

/// Refuses flags that the mode would ignore.
pub(super) fn check_flags(args: &BenchArgs) -> Result<()> {
    let for_one_mode = [
        ("--rate", args.rate.is_some(), BenchMode::Pingpong, "pingpong"),
        // No other mode measures latencies.
        ("--plot", args.plot.is_some(), BenchMode::Pingpong, "pingpong"),
        ("--verify", args.verify, BenchMode::Bulk, "bulk"),
        ("--gso", args.gso, BenchMode::Flood, "flood"),
        ("--window", args.window.is_some(), BenchMode::Flood, "flood"),
        ("--run", !args.run.is_empty(), BenchMode::Cold, "cold"),
    ];
    for (flag, is_given, mode, name) in for_one_mode {
        if is_given && args.mode != mode {
            return usage(format!("{flag} is for --mode {name}"));
        }
    }
    let not_for_cold = [
        ("--compare", args.compare),
        ("--cpu", args.cpu.is_some()),
        ("--server-pid", args.server_pid.is_some()),
        ("--congestion", args.congestion.is_some()),
    ];
    match not_for_cold.into_iter().find(|(_, is_given)| *is_given) {
        Some((flag, _)) if args.mode == BenchMode::Cold => {
            usage(format!("{flag} is not for --mode cold"))
        }
        _ => Ok(()),
    }
}

/// The error for empty messages where their echo cannot be recognised.
pub(super) fn empty(address: &Address) -> Error {
    let message =
        format!("an empty message over {address} would look like the end of the connection");
    Error::new(ErrorKind::Usage, message).remedy("give a --size of 1 or more")
}

fn usage<T>(message: impl Into<String>) -> Result<T> {
    Err(Error::new(ErrorKind::Usage, message))
}
