//! `serve`: echoes on the inherited sockets.

use std::io::ErrorKind;
use std::time::Duration;

use log::Level;
use rustix::event::PollFlags;

use super::info::Info;
use super::manager::Manager;
use super::words::count;
use super::{Outcome, confine, keep, logging};
use crate::activation::Inherited;
use crate::address::UnixName;
use crate::cli::{ServeArgs, Workers};
use crate::deadline::Deadline;
use crate::error::{Context, Result};
use crate::notify::NotifySocket;
use crate::proc;
use crate::server::{self, Answer, Config, Limits, Observer, Shutdown, Statistics};
use crate::sys;

pub(super) fn run(args: &ServeArgs) -> Outcome {
    logging::init(args.debug);
    let (sockets, stored) = keep::sort(Inherited::take()?, args.keep_connections)?;
    let info = Info::collect(&args.info, &sockets)?;
    let shutdown = Shutdown::on_signals()?;
    let mut manager = Manager::find(args.sdnotify, &sockets)?;
    if is_stopped_within(args.start_sleep, &shutdown)? {
        return Ok(0);
    }
    // With Accept=yes each client has its own process, so nothing is logged for each process.
    let is_for_one_client = sockets.iter().all(|socket| socket.service.is_one_connection());
    let level = if is_for_one_client { Level::Debug } else { Level::Info };
    let limits = limits(args, is_for_one_client);
    sys::limit::raise_descriptor_limit();
    let (kept, store) = stored.begin()?;
    let mut config = Config {
        limits,
        busy_poll: args.busy_poll,
        workers: match args.workers {
            Workers::Auto => server::workers_for_all_processors(),
            Workers::Number(number) => usize::from(number),
        },
        never_answered: never_answered(),
        exit_idle_time: args.exit_idle_time,
        keeps_connections: store.is_some(),
        answer: info.map(|info| Box::new(info) as Box<dyn Answer>),
        ..Config::default()
    };
    config.sandbox = confine::prepare(args, &sockets, !kept.connections.is_empty(), &config)?;
    let observer: &mut dyn Observer = match &mut manager {
        Some(manager) => manager,
        None => &mut (),
    };
    let ended = server::run(sockets, kept, &config, &shutdown, observer)?;
    let statistics = keep::finish(store, ended, config, &shutdown)?;
    let end = match args.exit_idle_time {
        Some(time) if statistics.ended_idle => format!("; idle for {time:?}"),
        _ => String::new(),
    };
    log::log!(level, "{}{end}", in_words(&statistics));
    Ok(0)
}

fn limits(args: &ServeArgs, is_for_one_client: bool) -> Limits {
    let mut limits = Limits { idle_timeout: args.idle_timeout, ..Limits::default() };
    if let Some(connections_max) = args.connections_max {
        limits.connections_max = connections_max;
    }
    if let Some(connections_max) = args.connections_max_per_source {
        limits.connections_max_per_source = connections_max;
    }
    if let Some(bytes) = args.unread_bytes_max {
        limits.unread_bytes_max = bytes;
    } else if !is_for_one_client {
        // What one client does not read is never much.
        let share = proc::memory_max() / UNREAD_SHARE;
        limits.unread_bytes_max = usize::try_from(share).unwrap_or(usize::MAX);
    }
    limits
}

/// Which part of the memory is kept for peers that do not read.
const UNREAD_SHARE: u64 = 8;

/// The service manager trusts messages from this process, so it must never get an echo, with or
/// without `--sdnotify`.
fn never_answered() -> Vec<UnixName> {
    let value = std::env::var_os("NOTIFY_SOCKET").unwrap_or_default();
    match NotifySocket::parse(&value) {
        Ok(NotifySocket::Unix(name)) => vec![name],
        _ => Vec::new(),
    }
}

/// Leaves everything from clients in the kernel's queues for this long. Returns whether a shutdown
/// came meanwhile.
fn is_stopped_within(time: Duration, shutdown: &Shutdown) -> Result<bool> {
    if time.is_zero() {
        return Ok(false);
    }
    log::debug!("sleeping {time:?} before anything is received");
    match Deadline::after(time).wait(shutdown, PollFlags::IN) {
        Err(error) if error.kind() == ErrorKind::TimedOut => Ok(false),
        result => result.map(|_| true).context("wait for the end of --start-sleep"),
    }
}

fn in_words(statistics: &Statistics) -> String {
    let mut words = format!(
        "served {} and {}, {}",
        count(statistics.connections, "connection"),
        count(statistics.messages, "datagram"),
        count(statistics.bytes, "byte"),
    );
    for (number, noun, what) in [
        (statistics.unanswered, "datagram", "not answered"),
        (statistics.refused, "connection", "refused"),
    ] {
        if number > 0 {
            let verb = if number == 1 { "was" } else { "were" };
            words += &format!("; {} {verb} {what}", count(number, noun));
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statistics_in_words() {
        for (counts, words) in [
            ([0; 5], "served 0 connections and 0 datagrams, 0 bytes"),
            ([1; 5], "1 byte; 1 datagram was not answered; 1 connection was refused"),
            ([2, 3, 4, 2, 0], "3 datagrams, 4 bytes; 2 datagrams were not answered"),
            ([2, 3, 4, 0, 2], "3 datagrams, 4 bytes; 2 connections were refused"),
        ] {
            let [connections, messages, bytes, unanswered, refused] = counts;
            let statistics =
                Statistics { connections, messages, bytes, unanswered, refused, ended_idle: false };
            assert!(in_words(&statistics).ends_with(words), "{}", in_words(&statistics));
        }
    }
}
