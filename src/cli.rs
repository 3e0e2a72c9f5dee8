//! One definition of verbs and flags: parsing, help, man pages and completions come from it.

mod bench;
mod conform;
mod help;
mod probe;
mod tip;

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueHint};

use crate::address::Address;
use crate::sandbox::Mode;
use crate::server::BusyPoll;

pub use bench::{BenchArgs, BenchMode};
pub use conform::{ConformArgs, Format};
pub use probe::ProbeArgs;
pub use tip::tip;

/// An echo server that takes its sockets from systemd socket activation
///
/// Without a verb it is `serve`: it echoes on every socket that was passed to it.
#[derive(Debug, Parser)]
#[command(name = "socket-activate-echo", version, args_conflicts_with_subcommands = true)]
#[command(max_term_width = 80, subcommand_value_name = "VERB", subcommand_help_heading = "Verbs")]
#[command(override_usage = "socket-activate-echo [VERB] [OPTIONS]")]
#[command(after_help = help::SUMMARY, after_long_help = help::program())]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub verb: Option<Verb>,
    /// Without a verb: the flags of `serve`.
    #[command(flatten)]
    pub serve: ServeArgs,
    /// Write the man pages and completions below DIR
    ///
    /// DIR is a folder like ~/.local/share or /usr/local/share. The output lists the files, and
    /// what man and each shell need to find them.
    #[arg(long, value_name = "DIR", exclusive = true, value_hint = ValueHint::DirPath)]
    pub generate: Option<PathBuf>,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Echo on the sockets that were passed to it
    #[command(override_usage = "socket-activate-echo [serve] [OPTIONS]")]
    #[command(after_help = help::SUMMARY_WITHOUT_ADDRESSES, after_long_help = help::serve())]
    Serve(ServeArgs),
    /// Bind sockets and, on the first traffic, run a command with them
    #[command(
        override_usage = "socket-activate-echo activate [-l ADDR]... [OPTIONS] [--] [COMMAND...]"
    )]
    #[command(after_help = help::SUMMARY, after_long_help = help::activate())]
    Activate(ActivateArgs),
    /// Send to echo servers, verify what comes back, and say what is wrong
    #[command(override_usage = "socket-activate-echo probe [OPTIONS] [ADDR...]")]
    #[command(after_help = help::SUMMARY, after_long_help = help::probe())]
    Probe(ProbeArgs),
    /// Put load on echo servers and report throughput and latency
    #[command(override_usage = "socket-activate-echo bench [OPTIONS] [[NAME=]ADDR...]")]
    #[command(after_help = help::SUMMARY, after_long_help = help::bench())]
    Bench(BenchArgs),
    /// Explain the file descriptors that were passed to it
    #[command(override_usage = "socket-activate-echo inspect [--json]")]
    #[command(after_help = help::SUMMARY_WITHOUT_ADDRESSES, after_long_help = help::inspect())]
    Inspect(InspectArgs),
    /// Check whether an engine passes sockets on as it should
    #[command(override_usage = "socket-activate-echo conform [OPTIONS] -- COMMAND...")]
    #[command(after_help = help::SUMMARY_WITHOUT_ADDRESSES, after_long_help = help::conform())]
    Conform(ConformArgs),
}

// The first paragraph of each flag is its line in `-h` and in the completions. What is rarely
// needed is left out of `-h`, which fits a screen of 24 lines.

/// The flags of `serve`.
#[derive(Debug, Clone, Default, Args)]
pub struct ServeArgs {
    /// Log a line for each receive and send
    ///
    /// The line has the number of bytes, the fd name and the peer.
    #[arg(short, long)]
    pub debug: bool,
    /// Send READY=1 to the service manager
    ///
    /// It is sent to NOTIFY_SOCKET when all sockets are served, for a service of Type=notify.
    #[arg(short, long)]
    pub sdnotify: bool,
    /// Wait before the first receive [default: 0]
    ///
    /// This simulates a service that starts slowly.
    #[arg(short = 't', long, value_name = "SECONDS", default_value = "0", value_parser = seconds, hide_default_value = true)]
    pub start_sleep: Duration,
    /// Serve at most N connections at the same time
    ///
    /// More wait in the kernel's backlog. [default: as many as the descriptor limit allows]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub connections_max: Option<u32>,
    /// End when nothing has happened for this long [default: never]
    ///
    /// Nothing: no connection, no reply that waits for its receiver, and nothing received. What
    /// comes later waits in the kernel, and the service manager starts the next server for it.
    #[arg(long, value_name = "SECONDS", value_parser = seconds, hide_short_help = true)]
    pub exit_idle_time: Option<Duration>,
    /// Serve at most N connections of one source at the same time
    ///
    /// A source is an IPv4 address, an IPv6 network of 64 bits, a user of unix sockets, or a vsock
    /// CID. More are refused: accepted, closed at once and counted. systemd's
    /// MaxConnectionsPerSource= does the same, but only with Accept=yes. [default: no limit]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..), hide_short_help = true)]
    pub connections_max_per_source: Option<u32>,
    /// End a connection on which nothing moves for so long
    ///
    /// That is a connection whose peer neither sends anything nor takes anything of what it is
    /// owed. It ends with the end of stream, at most an eighth of that time later. What its peer
    /// has not taken is lost. [default: no limit]
    #[arg(long, value_name = "SECONDS", value_parser = some_seconds, hide_short_help = true)]
    pub idle_timeout: Option<Duration>,
    /// Keep at most so many bytes for all peers that do not read
    ///
    /// What would be more stays in the kernel until its peer reads: nobody is cut off, and everybody
    /// who reads is served. [default: an eighth of the memory that the machine has, or that
    /// MemoryMax= or MemoryHigh= allow]
    #[arg(long, value_name = "BYTES", hide_short_help = true)]
    pub unread_bytes_max: Option<usize>,
    /// Poll for the next event before a thread sleeps
    ///
    /// Polling answers a single client two to four times as fast, and uses up to one whole
    /// processor while clients are active. `auto` polls only while recent polls found events and no
    /// other thread needs the processor, and never when idle. `off` always sleeps at once; a number
    /// polls for that many microseconds before each sleep.
    #[arg(
        long,
        value_name = "auto|off|MICROSECONDS",
        default_value = "auto",
        hide_short_help = true
    )]
    pub busy_poll: BusyPoll,
    /// Keep connections over a restart of the service
    ///
    /// On SIGTERM, the connections and what they are owed go to the service manager's fd store,
    /// where the next process finds them. The unit needs FileDescriptorStoreMax=. Without a store,
    /// SIGTERM drains the connections.
    #[arg(long, hide_short_help = true)]
    pub keep_connections: bool,
    /// Answer on the sockets of this fd name with what the server sees
    ///
    /// Such a socket does not echo. It answers each client with one JSON object: the socket, the
    /// peer, the process and the activation; as an HTTP response, if the client is curl or a
    /// browser. A datagram has to be a third as long as its answer. May be repeated. Ask with
    /// `probe --info`; docs/info.md has the fields.
    #[arg(long, value_name = "NAME", hide_short_help = true)]
    pub info: Vec<String>,
    /// Serve with N threads
    ///
    /// The threads share the listening sockets. `auto` is one thread for each processor.
    #[arg(long, value_name = "N|auto", default_value = "1", value_parser = workers)]
    pub workers: Workers,
    /// Give up every right that an echo does not need
    ///
    /// Before the first receive, the server forbids itself files, new sockets, new programs and all
    /// but a few system calls (Landlock, seccomp, no_new_privs). `auto` leaves out what the kernel
    /// or the container does not support, as `inspect` shows. `require` makes that an error. With
    /// `off`, nothing is given up.
    #[arg(long, value_name = "auto|off|require", default_value = "auto", hide_short_help = true)]
    pub sandbox: Mode,
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
    /// Bind this address; may be repeated
    ///
    /// A unix socket file is replaced if no process uses it any more; other files never are.
    /// [default: the demo set, see below]
    #[arg(short, long = "listen", value_name = "ADDR")]
    pub listen: Vec<Address>,
    /// Name of the sockets in LISTEN_FDNAMES
    ///
    /// One name for all sockets, or one for each -l in the same order: repeat the flag, or join
    /// the names with colons. [default: the scheme of ADDR; with --accept: connection]
    #[arg(long = "fdname", value_name = "NAME")]
    pub fdnames: Vec<String>,
    /// Run one COMMAND for each connection
    ///
    /// `activate` accepts the connections, as systemd does with Accept=yes.
    #[arg(short, long, conflicts_with = "now")]
    pub accept: bool,
    /// With --accept: at most N connections at the same time
    ///
    /// More wait in the kernel's backlog.
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..), hide_short_help = true)]
    pub connections_max: u32,
    /// Pass the socket as standard input and output
    ///
    /// inetd starts its services in this way.
    #[arg(long)]
    pub inetd: bool,
    /// Run COMMAND at once, not on the first traffic
    #[arg(long)]
    pub now: bool,
    /// Hold the sockets, and run COMMAND again for new traffic
    ///
    /// After each end of COMMAND, the next connection or datagram starts it again, as a socket
    /// unit does. SIGTERM and SIGINT are forwarded to COMMAND and are the end of `activate`, with
    /// the exit status of COMMAND. With --now, COMMAND runs again without traffic.
    #[arg(long, conflicts_with = "accept")]
    pub restart: bool,
    /// Set a variable in COMMAND's environment
    ///
    /// May be repeated. COMMAND inherits all variables of `activate`. NAME without a value is an
    /// error if that variable is not set.
    #[arg(short = 'E', long = "setenv", value_name = "NAME[=VALUE]")]
    pub setenv: Vec<OsString>,
    /// Length of the queue of connections to accept, for listen(2)
    #[arg(long, value_name = "N", default_value_t = 4096, value_parser = clap::value_parser!(i32).range(1..), hide_short_help = true)]
    pub backlog: i32,
    /// What to run with the sockets [default: this program's `serve`]
    #[arg(trailing_var_arg = true, value_name = "COMMAND", value_hint = ValueHint::CommandWithArguments)]
    pub command: Vec<OsString>,
}

/// The flags of `inspect`.
#[derive(Debug, Clone, Default, Args)]
pub struct InspectArgs {
    /// Print one JSON document instead of a table
    #[arg(long)]
    pub json: bool,
    /// Send one message of each kind of sd_notify(3) to NOTIFY_SOCKET
    ///
    /// They show which messages a container engine relays. STOPPING=1 is among them: a service
    /// manager may then wait for the end.
    #[arg(long)]
    pub notify: bool,
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

fn some_seconds(text: &str) -> Result<Duration, String> {
    let seconds = seconds(text)?;
    if seconds.is_zero() { Err("more than 0 seconds are expected".to_owned()) } else { Ok(seconds) }
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
