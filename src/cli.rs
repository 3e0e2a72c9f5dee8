//! One definition of verbs and flags: parsing, help, man pages and completions come from it.

mod bench;

use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use crate::address::{Address, SCHEMES, demo_set};
use crate::error::ErrorKind;
use crate::server::BusyPoll;

pub use bench::{BenchArgs, BenchMode};

/// An echo server that takes its sockets from systemd socket activation.
///
/// Without a verb it is `serve`: it echoes on every socket that was handed over.
#[derive(Debug, Parser)]
#[command(name = "socket-activate-echo", version, args_conflicts_with_subcommands = true)]
#[command(after_help = after_help())]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub verb: Option<Verb>,
    /// Without a verb: the flags of `serve`.
    #[command(flatten)]
    pub serve: ServeArgs,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Echo on the sockets that were handed over
    Serve(ServeArgs),
    /// Bind sockets and, on the first traffic, run a command with them
    #[command(after_help = activate_help())]
    Activate(ActivateArgs),
    /// Send to echo servers, verify what comes back, and say what is wrong
    Probe(ProbeArgs),
    /// Put load on echo servers and report throughput and latency
    Bench(BenchArgs),
    /// Explain the file descriptors that were handed over
    Inspect(InspectArgs),
}

/// The flags of `serve`.
#[derive(Debug, Clone, Default, Args)]
pub struct ServeArgs {
    /// Print a line for each receive and send: bytes, fd name, peer
    #[arg(short, long)]
    pub debug: bool,
    /// Tell the service manager READY=1 through NOTIFY_SOCKET once the sockets are served
    #[arg(short, long)]
    pub sdnotify: bool,
    /// Wait this long before anything is received, to see what clients do meanwhile
    #[arg(short = 't', long, value_name = "SECONDS", default_value = "0", value_parser = seconds, hide_default_value = true)]
    pub start_sleep: Duration,
    /// Connections at the same time; more wait in the kernel's backlog [default: what the
    /// descriptor limit allows]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub connections_max: Option<u32>,
    /// Before sleeping, look for the next event for a while: `auto` while that has lately paid and
    /// never when idle, `off`, or always for so many microseconds
    #[arg(long, value_name = "auto|off|MICROSECONDS", default_value = "auto")]
    pub busy_poll: BusyPoll,
    /// Threads that share the listening sockets; `auto` is one for each processor
    #[arg(long, value_name = "N|auto", default_value = "1", value_parser = workers)]
    pub workers: Workers,
}

/// How many threads serve.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Workers {
    /// One for each processor that the process may run on.
    Auto,
    /// So many.
    Number(u16),
}

impl Default for Workers {
    fn default() -> Self {
        Self::Number(1)
    }
}

/// The flags of `activate`.
#[derive(Debug, Clone, Default, Args)]
pub struct ActivateArgs {
    /// Bind this address; may be repeated [default: the demo set, see below]. A unix socket
    /// file that a process left behind is replaced; a living one, or another file, never is
    #[arg(short, long = "listen", value_name = "ADDR")]
    pub listen: Vec<Address>,
    /// Name of the sockets in LISTEN_FDNAMES: one for all, or one for each -l in turn, also
    /// joined by colons [default: the scheme of ADDR; with --accept: connection]
    #[arg(long = "fdname", value_name = "NAME")]
    pub fdnames: Vec<String>,
    /// Accept connections here and run one COMMAND for each, as Accept=yes does
    #[arg(short, long, conflicts_with = "now")]
    pub accept: bool,
    /// With --accept: connections at the same time; more wait in the kernel's backlog
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..))]
    pub connections_max: u32,
    /// Hand the socket over as standard input and output, as inetd does
    #[arg(long)]
    pub inetd: bool,
    /// Run COMMAND at once instead of on the first traffic
    #[arg(long)]
    pub now: bool,
    /// Set an environment variable of COMMAND; may be repeated. A bare NAME has to be set in ours,
    /// which COMMAND inherits as a whole
    #[arg(short = 'E', long = "setenv", value_name = "NAME[=VALUE]")]
    pub setenv: Vec<OsString>,
    /// Connections that may wait to be accepted, for listen(2)
    #[arg(long, value_name = "N", default_value_t = 4096, value_parser = clap::value_parser!(i32).range(1..))]
    pub backlog: i32,
    /// What to run with the sockets, with its arguments [default: this program's `serve`]
    #[arg(trailing_var_arg = true, value_name = "COMMAND")]
    pub command: Vec<OsString>,
}

/// The largest message that `probe` sends over a stream.
const PROBE_SIZE_MAX: u64 = 1 << 30;

/// The flags of `probe`.
#[derive(Debug, Clone, Default, Args)]
#[command(after_help = PROBE_EXAMPLES, after_long_help = PROBE_HELP)]
pub struct ProbeArgs {
    /// Where to send [default: the demo set of `activate`]
    #[arg(value_name = "ADDR")]
    pub addresses: Vec<Address>,
    /// Messages to send to each address, over one connection
    #[arg(short, long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub count: u32,
    /// Bytes of each message: over a stream up to 1073741824, else as many as one packet of the
    /// family takes (UDP: 65507 over IPv4, 65527 over IPv6; unix: the send buffer); 0 is an empty
    /// datagram
    #[arg(short, long, value_name = "BYTES", default_value = "64", value_parser = probe_size)]
    pub size: usize,
    /// How long to wait for a connection, and for each reply to begin and to go on: the first may
    /// start a container or pull its image
    #[arg(short, long, value_name = "SECONDS", default_value = "30", value_parser = seconds, allow_negative_numbers = true)]
    pub timeout: Duration,
    /// Retry until something listens, for at most --timeout; the wait for the reply comes after
    #[arg(short, long)]
    pub wait: bool,
    /// Print one JSON document instead of rows
    #[arg(long)]
    pub json: bool,
    /// Send the lines of standard input to one ADDR, and show the echo of each with its time
    #[arg(short, long, conflicts_with_all = ["count", "size", "json"])]
    pub interactive: bool,
}

const PROBE_EXAMPLES: &str = "\
Examples:
  socket-activate-echo probe                               the demo set, a row for each socket
  socket-activate-echo probe tcp:127.0.0.1:3000 -c 1000    a thousand round trips
  socket-activate-echo probe unix:/run/echo.sock -s 268435456
  socket-activate-echo probe --wait --timeout 120 vsock:20:3000
  socket-activate-echo probe -i vsock-mux:/run/vm.vsock:3000";

const PROBE_HELP: &str = "\
Examples:
  socket-activate-echo probe
      The demo set: a row for each socket.
  socket-activate-echo probe tcp:127.0.0.1:3000 --count 1000
      A thousand round trips over one connection: their minimum and median.
  socket-activate-echo probe unix:/run/echo.sock --size 268435456
      256 MiB there and back, every byte verified.
  socket-activate-echo probe --wait --timeout 120 vsock:20:3000
      A virtual machine that is still booting.
  socket-activate-echo probe -i vsock-mux:/run/vm.vsock:3000
      Type lines, see their echoes.

The row has the time of connect(2), the time to the first byte of the first reply, the shortest and
the median round trip, and the verdict. What is wrong follows on standard error, with its likely
cause and the next command to run. The exit status is that of the first address that failed; a
socket of the demo set that this kernel cannot have, such as vsock without its loopback transport,
is skipped and counts as no failure.

The JSON document is an object with exit_status, message_size and results, an array in the order of
the addresses. Each result has address, verdict (echoed, skipped, or the name of the failure),
exit_status, messages_echoed, connect_ns, first_reply_ns, round_trip_min_ns, round_trip_median_ns,
round_trip_max_ns (nanoseconds, null where it did not come to it), message and remedy (text or
null).";

fn probe_size(text: &str) -> Result<usize, String> {
    let expected = || format!("a number of bytes from 0 to {PROBE_SIZE_MAX} is expected");
    let size: u64 = text.parse().map_err(|_| expected())?;
    if size > PROBE_SIZE_MAX {
        return Err(expected());
    }
    usize::try_from(size).map_err(|_| expected())
}

/// The flags of `inspect`.
#[derive(Debug, Clone, Default, Args)]
pub struct InspectArgs {
    /// Print one JSON document instead of a table
    #[arg(long)]
    pub json: bool,
}

fn workers(text: &str) -> Result<Workers, String> {
    /// Far more than any machine has processors for.
    const WORKERS_MAX: u16 = 1024;
    match text.parse() {
        _ if text == "auto" => Ok(Workers::Auto),
        Ok(number @ 1..=WORKERS_MAX) => Ok(Workers::Number(number)),
        _ => Err(format!("auto or a number from 1 to {WORKERS_MAX} is expected")),
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "a number of seconds is expected".to_owned())?;
    Duration::try_from_secs_f64(seconds).map_err(|_| "0 or more seconds are expected".to_owned())
}

/// The grammar of addresses and the demo set, as the end of `activate --help` lists them.
fn activate_help() -> String {
    let mut help = String::from("Addresses:\n");
    for (scheme, rest) in SCHEMES.iter().filter(|(scheme, _)| *scheme != "vsock-mux") {
        help.push_str(&format!("  {scheme}:{rest}\n"));
    }
    help.push_str("\nThe demo set:\n");
    for (address, _) in demo_set(Path::new("$HOME")) {
        help.push_str(&format!("  {address}\n"));
    }
    help.push_str("  without vsock or IPv6 where the machine has none");
    help
}

/// The exit statuses, as the end of `--help` lists them.
fn after_help() -> String {
    let mut help = String::from("Exit status:\n    0  success");
    for kind in ErrorKind::ALL {
        help.push_str(&format!("\n  {:>3}  {}", kind.exit_status(), kind.meaning()));
    }
    help
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_is_sound() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }

    #[test]
    fn the_flags_of_serve_combine_with_and_without_the_verb() {
        for line in [
            "e -d -s -t 3",
            "e -dst3",
            "e --debug --sdnotify --start-sleep 3",
            "e --start-sleep=3 -sd",
            "e serve -d -s -t 3",
        ] {
            let cli =
                Cli::try_parse_from(line.split(' ')).unwrap_or_else(|e| panic!("{line}: {e}"));
            let serve = match cli.verb {
                Some(Verb::Serve(args)) => args,
                None => cli.serve,
                other => panic!("{line}: {other:?}"),
            };
            assert!(serve.debug && serve.sdnotify, "{line}");
            assert_eq!(serve.start_sleep, Duration::from_secs(3), "{line}");
        }
    }
}
