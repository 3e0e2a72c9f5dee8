//! Cold starts: the time from the start of the process to its first echo.
//!
//! The servers take turns. Each start binds a new socket and connects to it, as the first client of
//! a service manager does. Then it forks, hands the socket over as sd_listen_fds(3) defines, and
//! executes the command.

use std::ffi::OsString;
use std::time::Instant;

use serde_json::{Value, json};

use super::compare::Spread;
use super::progress;
use super::report::{aligned, ratio, write, write_json};
use super::settings::empty;
use super::words::{plural, wrapped};
use super::{PERIOD, SEED};
use crate::activator::{Bound, Target};
use crate::address::{Address, Style};
use crate::cli::BenchArgs;
use crate::client::{self, Exchange, Pattern};
use crate::command::Outcome;
use crate::error::{Context, Error, ErrorKind, Result};
use crate::text::Escaped;

/// Starts of each server without `--rounds`.
const STARTS: u32 = 100;
/// The run has this many parts. The spread of their ratios shows how reliable the ratio is.
const PARTS: usize = 10;

/// A command, and how long each start took.
struct Server {
    name: String,
    program: Target,
    nanoseconds: Vec<u64>,
}

/// Runs `--mode cold`.
pub(super) fn run(args: &BenchArgs) -> Outcome {
    let address = address(args)?;
    if args.size == Some(0) && address.style() != Style::Datagram {
        return Err(empty(&address));
    }
    let mut servers = servers(&args.run)?;
    let starts = args.rounds.unwrap_or(STARTS);
    let progress = progress::bar(f64::from(starts) / 1000.0, args.json);
    for start in 0..starts {
        progress.set_message(format!("start {}", start + 1));
        progress.set_position(start.into());
        for server in &mut servers {
            let nanoseconds = start_once(server, &address, args)?;
            server.nanoseconds.push(nanoseconds);
        }
    }
    progress.finish_and_clear();
    if args.json {
        write_json(&document(&servers))?
    } else {
        write(&table(&servers, starts))?
    }
    Ok(0)
}

/// The address for each start. A new port each time, because the last one may still be in use.
fn address(args: &BenchArgs) -> Result<Address> {
    let usage = |message: String| Error::new(ErrorKind::Usage, message);
    let text = match args.targets.as_slice() {
        [] => "tcp:127.0.0.1:0",
        [one] => one,
        _ => {
            let message = "--mode cold takes one ADDR for all servers; name the servers with --run";
            return Err(usage(message.to_owned()));
        }
    };
    let address: Address = text.parse().map_err(|error| usage(format!("ADDR to bind: {error}")))?;
    if address.needs_resolver() {
        // Only one address of a name is measured, and it must be the same each time.
        let message = format!("--mode cold needs a numeric address, not the name in {address}");
        return Err(usage(message));
    }
    Ok(address)
}

/// Parses `[NAME=]COMMAND ARGUMENT…` into words, without a shell, which would be part of the
/// measurement. Without a command, it is this program's `serve`.
fn servers(commands: &[String]) -> Result<Vec<Server>> {
    let this = std::env::current_exe().context("find this program")?;
    let server = |text: &str| {
        let (name, command) = match text.split_once('=') {
            Some((name, command)) if !name.contains(['/', ' ']) => (name, command),
            _ => (text, text),
        };
        let mut words: Vec<_> = command.split_whitespace().map(OsString::from).collect();
        if words.is_empty() {
            words = vec![this.clone().into(), "serve".into()];
        }
        let program = Target::find(&words, Vec::new())?;
        Ok(Server { name: Escaped::new(name).to_string(), program, nanoseconds: Vec::new() })
    };
    if commands.is_empty() {
        return Ok(vec![server("serve=")?]);
    }
    commands.iter().map(|text| server(text)).collect()
}

fn start_once(server: &Server, address: &Address, args: &BenchArgs) -> Result<u64> {
    let socket = Bound::new(address, 16, "cold")?;
    let bound = socket.address().unwrap_or(address).clone();
    let connection = client::connect(&bound.to_client(), args.timeout)?;
    let size = args.size.unwrap_or(64);
    let pattern = Pattern::new(SEED, PERIOD, size);
    let message = pattern.at(0, size);
    // Nobody reads yet, so of a stream only as much is sent as fits.
    let sent = connection.try_send(message).context(format!("send to {bound}"))?;
    let mut exchange = Exchange { connection, timeout: args.timeout };
    let started = Instant::now();
    let mut child = server.program.spawn(&[socket], |_| {})?;
    let result = exchange.echo(message, Some(sent));
    let time = started.elapsed();
    let _ = child.kill().and_then(|()| child.wait());
    let (echo, _) = result.map_err(|failure| {
        let seen = failure.symptom;
        Error::new(ErrorKind::NoReply, format!("server {} sent no reply ({seen})", server.name))
            .remedy("run the server with `socket-activate-echo activate` to see its messages")
    })?;
    if echo != message {
        let message = format!("{}: the reply differs from what was sent", server.name);
        return Err(Error::new(ErrorKind::WrongReply, message));
    }
    Ok(time.as_nanos() as u64)
}

fn quantile(values: &[u64], quantile: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    let at = (quantile * (sorted.len().saturating_sub(1)) as f64).round() as usize;
    sorted.get(at).map_or(0.0, |value| *value as f64 / 1e6)
}

/// The ratio of the medians to the first server, in each part of the run.
fn against(server: &Server, base: &Server) -> Option<Spread> {
    let size = server.nanoseconds.len().div_ceil(PARTS).max(1);
    let parts = server.nanoseconds.chunks(size).zip(base.nanoseconds.chunks(size));
    Spread::of(parts.map(|(ours, base)| quantile(ours, 0.5) / quantile(base, 0.5)).collect())
}

fn table(servers: &[Server], starts: u32) -> String {
    let row = |server: &Server| {
        let columns = [("p10 ms", 0.1), ("p50 ms", 0.5), ("p90 ms", 0.9), ("max ms", 1.0)];
        let mut row = vec![("server".to_owned(), server.name.clone())];
        row.extend(columns.map(|(name, share)| {
            (name.to_owned(), format!("{:.3}", quantile(&server.nanoseconds, share)))
        }));
        row.extend(ratio("ratio", against(server, &servers[0])));
        row
    };
    let rows: Vec<_> = servers.iter().map(row).collect();
    let first = format!(
        "cold start: {} of each server in turns, from fork(2) to the first echo",
        plural(starts.into(), "start")
    );
    let second = format!(
        "Ratios compare median times with `{}`; the range is over at most {PARTS} parts of the run.",
        servers[0].name
    );
    let [first, second] = [first, second].map(|line| wrapped(&line, 0));
    format!("{first}\n{second}\n\n{}", aligned(&rows))
}

fn document(servers: &[Server]) -> Value {
    let object = |server: &Server| {
        json!({
            "name": server.name,
            "starts": server.nanoseconds.len(),
            "milliseconds": {
                "p10": quantile(&server.nanoseconds, 0.1),
                "median": quantile(&server.nanoseconds, 0.5),
                "p90": quantile(&server.nanoseconds, 0.9),
                "max": quantile(&server.nanoseconds, 1.0),
            },
            "ratio": against(server, &servers[0]),
        })
    };
    json!({ "mode": "cold", "servers": servers.iter().map(object).collect::<Vec<_>>() })
}
