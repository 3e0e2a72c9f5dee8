//! Cold starts: how long the first client waits, from the start of the process to its first echo.
//!
//! The servers take turns. Each start binds a new socket and connects to it, as a client does that
//! wakes a service manager; then it forks, hands the socket over as sd_listen_fds(3) has it, and
//! executes the command.

use std::ffi::OsString;
use std::io;
use std::time::{Duration, Instant};

use serde_json::json;

use super::compare::Spread;
use super::pattern::Pattern;
use super::progress::Progress;
use super::report::{aligned, ratio, write};
use super::settings::empty;
use crate::activator::{Bound, Target};
use crate::address::{Address, Style};
use crate::cli::BenchArgs;
use crate::client::{self, Connection, Deadline};
use crate::command::Outcome;
use crate::error::{Context, Error, ErrorKind, Result};

/// Starts of each server, if `--rounds` does not say.
const STARTS: u32 = 100;
/// The ratios are taken in so many parts, to show how far they lie apart.
const PARTS: usize = 10;

/// A command, and how long each of its starts took.
struct Server {
    name: String,
    program: Target,
    nanoseconds: Vec<u64>,
}

/// Runs the whole of `--mode cold`.
pub(super) fn run(args: &BenchArgs) -> Outcome {
    let address = address(args)?;
    if args.size == Some(0) && address.style() != Style::Datagram {
        return Err(empty(&address));
    }
    let mut servers = servers(&args.run)?;
    let starts = args.rounds.unwrap_or(STARTS);
    let progress = Progress::new(f64::from(starts) / 1000.0, args.json);
    for start in 0..starts {
        progress.round(|| format!("start {}", start + 1));
        progress.at(u64::from(start) * 1_000_000);
        for server in &mut servers {
            let nanoseconds = start_once(server, &address, args)?;
            server.nanoseconds.push(nanoseconds);
        }
    }
    progress.finish();
    let text = if args.json { document(&servers) } else { table(&servers, starts) };
    write(&text)?;
    Ok(0)
}

/// What is bound for each start. A port of its own, because the last one may still be in use.
fn address(args: &BenchArgs) -> Result<Address> {
    let usage = |message: &str| Err(Error::new(ErrorKind::Usage, message));
    match args.targets.as_slice() {
        [] => "tcp:127.0.0.1:0".parse().or_else(|_| usage("no address to bind")),
        [one] => match one.parse::<Address>() {
            // One of its addresses is measured, and it has to be the same one each time.
            Ok(address) if address.needs_resolver() => usage("--mode cold: give a numeric address"),
            Ok(address) => Ok(address),
            Err(error) => usage(&format!("address to bind: {error}")),
        },
        _ => usage("--mode cold binds one address for all; the servers are --run"),
    }
}

/// `[NAME=]COMMAND ARGUMENT…`, in words: a shell would be part of what is measured.
fn servers(commands: &[String]) -> Result<Vec<Server>> {
    let this = std::env::current_exe().context("find this program")?;
    let own = || vec![this.clone().into_os_string(), OsString::from("serve")];
    if commands.is_empty() {
        let program = Target::find(&own(), Vec::new())?;
        return Ok(vec![Server { name: "serve".to_owned(), program, nanoseconds: Vec::new() }]);
    }
    let server = |text: &String| {
        let (name, command) = match text.split_once('=') {
            Some((name, command)) if !name.contains(['/', ' ']) => (name, command),
            _ => (text.as_str(), text.as_str()),
        };
        let words: Vec<_> = command.split_whitespace().map(OsString::from).collect();
        let program = Target::find(&if words.is_empty() { own() } else { words }, Vec::new())?;
        Ok(Server { name: name.to_owned(), program, nanoseconds: Vec::new() })
    };
    commands.iter().map(server).collect()
}

fn start_once(server: &Server, address: &Address, args: &BenchArgs) -> Result<u64> {
    let socket = Bound::new(address, 16, "cold")?;
    let bound = socket.address().unwrap_or(address).clone();
    let connection = client::connect(&bound.to_client(), args.timeout)?;
    let size = args.size.unwrap_or(64);
    let pattern = Pattern::new(size);
    let mut buffer = vec![0; size + 1];
    let message = pattern.at(0, size);
    let sent =
        first_part(&connection, message, args.timeout).context(format!("send to {bound}"))?;
    let started = Instant::now();
    let mut child = server.program.spawn(&[socket], |_| {})?;
    let result = rest(&connection, &message[sent..], &mut buffer, args.timeout, server)
        .map(|received| (received, started.elapsed()));
    let _ = child.kill().and_then(|()| child.wait());
    let (received, time) = result?;
    if buffer[..received] != *message {
        let message = format!("{}: the reply differs from what was sent", server.name);
        return Err(Error::new(ErrorKind::WrongReply, message));
    }
    Ok(time.as_nanos() as u64)
}

/// Sends a whole message, or as much of a stream as fits while nobody reads it. Returns how much.
fn first_part(connection: &Connection, message: &[u8], timeout: Duration) -> io::Result<usize> {
    if connection.style() == Style::Stream {
        return connection.try_send(message);
    }
    connection.send(message, Deadline::after(timeout)).map(|()| message.len())
}

/// Sends the rest while the reply comes: one message, or as many bytes as were sent. `buffer` is
/// longer than that. Returns how much of it the reply takes.
fn rest(
    connection: &Connection,
    mut unsent: &[u8],
    buffer: &mut [u8],
    timeout: Duration,
    server: &Server,
) -> Result<usize> {
    let size = buffer.len() - 1;
    let mut received = 0;
    loop {
        let (sent, count) = connection
            .send_and_receive(unsent, &mut buffer[received..], Deadline::after(timeout))
            .map_err(|error| failed(server, "sent no reply").because(error))?;
        unsent = &unsent[sent..];
        match count {
            None => continue,
            Some(0) if size > 0 => return Err(failed(server, "closed the connection")),
            // A message's length is its own, whatever the buffer takes of it.
            Some(count) => received = (received + count).min(buffer.len()),
        }
        if received >= size || connection.style() != Style::Stream {
            return Ok(received);
        }
    }
}

fn failed(server: &Server, what: &str) -> Error {
    Error::new(ErrorKind::NoReply, format!("{} {what}", server.name))
        .remedy("start it by `socket-activate-echo activate` to see what it says")
}

fn quantile(values: &[u64], quantile: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    let at = (quantile * (sorted.len().saturating_sub(1)) as f64).round() as usize;
    sorted.get(at).map_or(0.0, |value| *value as f64 / 1e6)
}

/// The ratio of medians to the first server, in each part of the run.
fn against(server: &Server, base: &Server) -> Option<Spread> {
    let size = server.nanoseconds.len().div_ceil(PARTS).max(1);
    let parts = server.nanoseconds.chunks(size).zip(base.nanoseconds.chunks(size));
    Spread::of(parts.map(|(ours, base)| quantile(ours, 0.5) / quantile(base, 0.5)).collect())
}

fn table(servers: &[Server], starts: u32) -> String {
    let heading = ["server", "p10 ms", "p50", "p90", "max", "ratio"].map(str::to_owned).to_vec();
    let mut rows = vec![heading];
    for server in servers {
        let mut row = vec![server.name.clone()];
        for share in [0.1, 0.5, 0.9, 1.0] {
            row.push(format!("{:.3}", quantile(&server.nanoseconds, share)));
        }
        row.push(ratio(servers.first().and_then(|base| against(server, base))));
        rows.push(row);
    }
    format!(
        "cold start, {starts} × from fork to the first echo, in turns; time, ratio to the first\n{}",
        aligned(&rows)
    )
}

fn document(servers: &[Server]) -> String {
    let servers: Vec<_> = servers
        .iter()
        .map(|server| {
            json!({
                "name": server.name,
                "starts": server.nanoseconds.len(),
                "milliseconds": {
                    "p10": quantile(&server.nanoseconds, 0.1),
                    "median": quantile(&server.nanoseconds, 0.5),
                    "p90": quantile(&server.nanoseconds, 0.9),
                    "max": quantile(&server.nanoseconds, 1.0),
                },
                "ratio": servers.first().and_then(|base| against(server, base)),
            })
        })
        .collect();
    format!("{:#}\n", json!({ "mode": "cold", "servers": servers }))
}
