//! The flags of `bench`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::{seconds, size};

/// The kinds of load of `bench`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum BenchMode {
    /// One message in flight on each connection or datagram socket
    #[default]
    Pingpong,
    /// Streams, written and read as fast as possible
    Bulk,
    /// Datagrams with many in flight; counts the lost ones
    Flood,
    /// Connections without traffic: their memory, then whether each still answers
    Idle,
    /// Starts each --run many times, activated on ADDR: time from fork to the first echo
    Cold,
}

/// The flags of `bench`.
#[derive(Debug, Clone, Default, Args)]
pub struct BenchArgs {
    /// The servers to put load on; NAME is for the tables
    #[arg(value_name = "[NAME=]ADDR")]
    pub targets: Vec<String>,
    /// Kind of load
    #[arg(short, long, value_name = "MODE", default_value = "pingpong")]
    pub mode: BenchMode,
    /// Connections, or datagram sockets
    #[arg(short, long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub connections: u32,
    /// Bytes of each message [default: 64; bulk: 65536]
    ///
    /// With --mode bulk, of each write. At most 1073741824.
    #[arg(short, long, value_name = "BYTES", value_parser = size)]
    pub size: Option<usize>,
    /// Measured time of each round
    #[arg(short, long, value_name = "SECONDS", default_value = "5", value_parser = time)]
    pub duration: Duration,
    /// Load before the measured time of each round
    #[arg(short, long, value_name = "SECONDS", default_value = "0.5", value_parser = time, hide_short_help = true)]
    pub warmup: Duration,
    /// Rounds for each server
    ///
    /// At most 1000. With --mode cold, starts of each server, at most 1000000. [default: 1; with
    /// --compare: 5; with --mode cold: 100]
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub rounds: Option<u32>,
    /// Take turns between servers and report ratios
    ///
    /// Each round measures every server once. The ratios are to the first server.
    #[arg(long)]
    pub compare: bool,
    /// Send N messages a second, on a schedule
    ///
    /// N counts all connections together. A slow server does not delay the schedule: the latency
    /// of a message begins when it was due.
    #[arg(long, value_name = "N", value_parser = rate)]
    pub rate: Option<f64>,
    /// Poll instead of sleeping
    ///
    /// The latencies then do not contain the wake-ups of this client.
    #[arg(long, hide_short_help = true)]
    pub busy: bool,
    /// With --mode bulk: compare every byte
    ///
    /// A round then lasts until all bytes are back.
    #[arg(long)]
    pub verify: bool,
    /// With --mode flood: send many datagrams with one call
    ///
    /// The kernel divides the data into datagrams: UDP_SEGMENT in udp(7).
    #[arg(long, hide_short_help = true)]
    pub gso: bool,
    /// With --mode flood: datagrams in flight on each socket
    ///
    /// 0 is no limit. [default: 256; with --gso: 4096]
    #[arg(long, value_name = "N", hide_short_help = true)]
    pub window: Option<usize>,
    /// Time limit for connect and each reply
    #[arg(short, long, value_name = "SECONDS", default_value = "10", value_parser = time, hide_short_help = true)]
    pub timeout: Duration,
    /// TCP congestion control of this client, for example reno
    #[arg(long, value_name = "NAME", hide_short_help = true)]
    pub congestion: Option<String>,
    /// Run on this CPU only
    #[arg(long, value_name = "N", hide_short_help = true)]
    pub cpu: Option<usize>,
    /// The server's process, for its CPU time and memory
    ///
    /// [default: the process that has the socket]
    #[arg(long, value_name = "PID", value_parser = clap::value_parser!(u32).range(1..), hide_short_help = true)]
    pub server_pid: Option<u32>,
    /// With --mode cold: a server to start
    ///
    /// COMMAND is split at spaces; no shell reads it. May be repeated. [default: this program's
    /// `serve`]
    #[arg(long, value_name = "[NAME=]COMMAND")]
    pub run: Vec<String>,
    /// Print one JSON document instead of tables
    ///
    /// If the run fails, the document has the error.
    #[arg(long)]
    pub json: bool,
    /// Write the latency distribution as an SVG image
    #[arg(long, value_name = "FILE.svg")]
    pub plot: Option<PathBuf>,
}

/// Times are counted in nanoseconds of 64 bits: sums of a few of these fit, and nobody waits for
/// the end of one.
const TIME_MAX: Duration = Duration::from_secs(1_000_000_000);

fn time(text: &str) -> Result<Duration, String> {
    Ok(seconds(text)?.min(TIME_MAX))
}

fn rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if rate > 0.0 && rate.is_finite() => Ok(rate),
        _ => Err("a number of messages a second above 0 is expected".to_owned()),
    }
}
