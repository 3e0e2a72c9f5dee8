//! The flags of `bench`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::{seconds, size};

/// The kinds of load of `bench`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum BenchMode {
    /// One message in flight on each connection; for datagrams, on each socket
    #[default]
    Pingpong,
    /// Streams, written and read as fast as they go
    Bulk,
    /// Datagrams with many in flight; counts the lost ones
    Flood,
    /// Connections that do nothing: memory of each, then whether each still answers
    Idle,
    /// Starts: from fork to the first echo, through activation, of each --run; ADDR is what to bind
    Cold,
}

/// The flags of `bench`.
#[derive(Debug, Clone, Default, Args)]
#[command(after_help = BENCH_EXAMPLES)]
pub struct BenchArgs {
    /// The servers to put load on; NAME is for the tables
    #[arg(value_name = "[NAME=]ADDR")]
    pub targets: Vec<String>,
    /// The kind of load
    #[arg(short, long, value_name = "MODE", default_value = "pingpong")]
    pub mode: BenchMode,
    /// Connections, or datagram sockets
    #[arg(short, long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub connections: u32,
    /// Bytes of a message, up to 1073741824; with bulk, of a write [default: 64; bulk: 65536]
    #[arg(short, long, value_name = "BYTES", value_parser = size)]
    pub size: Option<usize>,
    /// How long a round is measured
    #[arg(short, long, value_name = "SECONDS", default_value = "5", value_parser = time)]
    pub duration: Duration,
    /// How long a round runs before it is measured
    #[arg(short, long, value_name = "SECONDS", default_value = "0.5", value_parser = time)]
    pub warmup: Duration,
    /// Rounds against each server, up to 1000 [default: 1; with --compare 5; cold: 100 starts]
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub rounds: Option<u32>,
    /// Take turns between the servers, and report each one's ratio to the first, round by round
    #[arg(long)]
    pub compare: bool,
    /// Send on a schedule of N messages a second over all connections, whatever the server does;
    /// a latency then begins when its message was due
    #[arg(long, value_name = "N", value_parser = rate)]
    pub rate: Option<f64>,
    /// Poll instead of sleeping: the client's own wake-ups leave the latencies
    #[arg(long)]
    pub busy: bool,
    /// Compare every byte of bulk, and wait until all of it is back
    #[arg(long)]
    pub verify: bool,
    /// Flood with trains of datagrams that the kernel cuts (UDP_SEGMENT)
    #[arg(long)]
    pub gso: bool,
    /// Datagrams in flight on each socket of a flood; 0 is no limit [default: 256; with --gso 4096]
    #[arg(long, value_name = "N")]
    pub window: Option<usize>,
    /// How long to wait for a connection and for a reply
    #[arg(short, long, value_name = "SECONDS", default_value = "10", value_parser = time)]
    pub timeout: Duration,
    /// Congestion control of our own end of TCP, for example reno
    #[arg(long, value_name = "NAME")]
    pub congestion: Option<String>,
    /// Run on this CPU only
    #[arg(long, value_name = "N")]
    pub cpu: Option<usize>,
    /// The server's process, for its CPU time and memory [default: who holds the socket]
    #[arg(long, value_name = "PID", value_parser = clap::value_parser!(u32).range(1..))]
    pub server_pid: Option<u32>,
    /// With --mode cold: a server to start, in words, without a shell; may be repeated [default:
    /// our own `serve`]
    #[arg(long, value_name = "[NAME=]COMMAND")]
    pub run: Vec<String>,
    /// Print one JSON document instead of tables; of a run that fails it has the error
    #[arg(long)]
    pub json: bool,
    /// Write the distribution of the latencies as an SVG picture
    #[arg(long, value_name = "FILE.svg")]
    pub plot: Option<PathBuf>,
}

const BENCH_EXAMPLES: &str = "\
Examples:
  Latency of one connection, as a user of a container sees it:
    socket-activate-echo bench tcp:127.0.0.1:3000
  What 50 connections get through, and where the time goes:
    socket-activate-echo bench -c 50 --plot latency.svg tcp:127.0.0.1:3000
  Bytes a second, each one verified:
    socket-activate-echo bench -m bulk --verify unix:/run/echo.sock
  Packets a second of UDP, sent in trains:
    socket-activate-echo bench -m flood --gso udp:127.0.0.1:3000
  The latency of 1000 requests a second, stalls included:
    socket-activate-echo bench -c 10 --rate 1000 tcp:127.0.0.1:3000
  How long the first client of an activated service waits:
    socket-activate-echo bench -m cold
  Two servers, in turns:
    socket-activate-echo bench --compare host=tcp:127.0.0.1:3000 container=tcp:127.0.0.1:4000";

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
