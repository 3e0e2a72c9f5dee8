//! One definition of verbs and flags: parsing, help, man pages and completions come from it.

mod bench;
mod help;
mod probe;

use std::ffi::OsString;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueHint};

use crate::address::Address;
use crate::server::BusyPoll;

pub use bench::{BenchArgs, BenchMode};
pub use probe::ProbeArgs;

/// An echo server that takes its sockets from systemd socket activation.
///
/// Without a verb it is `serve`: it echoes on every socket that was handed over.
#[derive(Debug, Parser)]
#[command(name = "socket-activate-echo", version, args_conflicts_with_subcommands = true)]
#[command(max_term_width = 100, subcommand_value_name = "VERB", subcommand_help_heading = "Verbs", after_help = help::program(), after_long_help = help::program_long())]
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
    #[command(after_help = help::SERVE_EXAMPLES, after_long_help = help::serve())]
    Serve(ServeArgs),
    /// Bind sockets and, on the first traffic, run a command with them
    #[command(after_help = help::activate(), after_long_help = help::activate_long())]
    Activate(ActivateArgs),
    /// Send to echo servers, verify what comes back, and say what is wrong
    Probe(ProbeArgs),
    /// Put load on echo servers and report throughput and latency
    Bench(BenchArgs),
    /// Explain the file descriptors that were handed over
    #[command(after_help = help::INSPECT_EXAMPLES, after_long_help = help::inspect())]
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
    /// Look for the next event for a while before sleeping: `auto` while that has lately paid and
    /// nobody else needs the processor, `off`, or always for this number of microseconds. It answers
    /// a lone client two to four times as fast, for up to one whole processor while clients are active
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
    /// This number.
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
    #[arg(trailing_var_arg = true, value_name = "COMMAND", value_hint = ValueHint::CommandWithArguments)]
    pub command: Vec<OsString>,
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

/// The largest message of `probe` and `bench`, which hold one in memory.
const SIZE_MAX: usize = 1 << 30;

fn size(text: &str) -> Result<usize, String> {
    let size = text.parse().ok().filter(|size| *size <= SIZE_MAX);
    size.ok_or_else(|| format!("a number of bytes from 0 to {SIZE_MAX} is expected"))
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "a number of seconds is expected".to_owned())?;
    Duration::try_from_secs_f64(seconds).map_err(|_| "0 or more seconds are expected".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

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
