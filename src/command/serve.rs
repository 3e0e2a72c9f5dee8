//! `serve`: echo on the sockets that were handed over.

use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};

use super::manager::Manager;
use super::{Outcome, logging};
use crate::activation::Inherited;
use crate::address::UnixName;
use crate::cli::{ServeArgs, Workers};
use crate::error::{Context, Result};
use crate::notify::NotifySocket;
use crate::server::{self, Config, Limits, Shutdown};
use crate::sys;

pub(super) fn run(args: &ServeArgs) -> Outcome {
    logging::init(args.debug);
    let sockets = Inherited::take()?.into_sockets()?;
    let shutdown = Shutdown::on_signals()?;
    let mut manager = Manager::find(args.sdnotify, &sockets)?;
    if sleep(args.start_sleep, &shutdown)? == Wake::Shutdown {
        return Ok(0);
    }
    let mut limits = Limits::default();
    if let Some(connections_max) = args.connections_max {
        limits.connections_max = connections_max;
    }
    sys::limit::raise_descriptor_limit();
    let config = Config {
        limits,
        busy_poll: args.busy_poll,
        workers: match args.workers {
            Workers::Auto => server::workers_for_all_processors(),
            Workers::Number(number) => usize::from(number),
        },
        never_answered: never_answered(),
    };
    server::run(sockets, &config, &shutdown, &mut manager)?;
    Ok(0)
}

/// The service manager takes what comes from this process for its own word, so it must never hear
/// an echo, whether it is told anything or not.
fn never_answered() -> Vec<UnixName> {
    let value = std::env::var_os("NOTIFY_SOCKET").unwrap_or_default();
    match NotifySocket::parse(&value) {
        Ok(NotifySocket::Unix(name)) => vec![name],
        _ => Vec::new(),
    }
}

/// What ended a sleep.
#[derive(Debug, PartialEq, Eq)]
enum Wake {
    TimeIsOver,
    Shutdown,
}

/// Leaves everything that clients send in the kernel's queues, for as long as was asked for.
fn sleep(time: Duration, shutdown: &Shutdown) -> Result<Wake> {
    let end = Instant::now().checked_add(time);
    if !time.is_zero() {
        log::debug!("sleeping {time:?} before anything is received");
    }
    loop {
        let left = match end {
            Some(end) => end.saturating_duration_since(Instant::now()),
            None => time,
        };
        if left.is_zero() {
            return Ok(Wake::TimeIsOver);
        }
        // More seconds than the kernel counts are for ever.
        let timeout = Timespec::try_from(left).ok();
        let mut fds = [PollFd::new(shutdown, PollFlags::IN)];
        match rustix::event::poll(&mut fds, timeout.as_ref()) {
            Ok(0) | Err(rustix::io::Errno::INTR) => {}
            Ok(_) => return Ok(Wake::Shutdown),
            Err(error) => return Err(error).context("wait for the end of --start-sleep"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sleep_ends_with_its_time_or_with_a_shutdown() {
        let (trigger, shutdown) = Shutdown::on_trigger().expect("eventfd");
        for millis in [0, 3] {
            let (start, time) = (Instant::now(), Duration::from_millis(millis));
            assert_eq!(sleep(time, &shutdown).expect("sleeps"), Wake::TimeIsOver);
            assert!(start.elapsed() >= time);
        }
        trigger.pull();
        for time in [Duration::from_secs(3600), Duration::MAX] {
            assert_eq!(sleep(time, &shutdown).expect("sleeps"), Wake::Shutdown);
        }
    }
}
