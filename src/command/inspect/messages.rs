//! `--notify`: one message of each kind, to see which of them an engine relays.

use std::time::Duration;

use rustix::pipe::{PipeFlags, pipe_with};

use super::report::Sent;
use crate::error::{Context, Result};
use crate::notify::{FdName, Notifier, State};

/// How long to wait for the answer to a barrier. An engine that relays only text never answers.
const BARRIER_PATIENCE: Duration = Duration::from_secs(1);

/// Sends the messages. `READY=1` is the first, because an engine may relay nothing before it.
///
/// # Errors
///
/// `NOTIFY_SOCKET` is wrong. That a message cannot be sent is part of what is returned.
pub(super) fn send() -> Result<Vec<Sent>> {
    let Some(notifier) = Notifier::from_env()? else { return Ok(Vec::new()) };
    let sent = |message: &'static str, result: Result<()>| Sent {
        message,
        error: result.err().map(|error| error.to_string()),
    };
    let send = |message, state| sent(message, notifier.send(&[state]));
    Ok(vec![
        send("READY=1", State::Ready),
        send("STATUS=", State::Status("inspect --notify sends one message of each kind")),
        send("RELOADING=1", State::reloading_now()),
        // The end of the reload.
        send("READY=1", State::Ready),
        send("EXTEND_TIMEOUT_USEC=", State::ExtendTimeout(Duration::from_secs(1))),
        send("WATCHDOG=1", State::Watchdog),
        sent("FDSTORE=1", store(&notifier)),
        sent("BARRIER=1", notifier.barrier(BARRIER_PATIENCE)),
        send("STOPPING=1", State::Stopping),
    ])
}

/// Stores an end of a pipe. The other end is closed, so the manager soon removes it again.
fn store(notifier: &Notifier) -> Result<()> {
    let name = FdName::new("inspect").expect("a valid name");
    let (read, _) = pipe_with(PipeFlags::CLOEXEC).context("make a pipe to store")?;
    notifier.store_fds(&name, &[std::os::fd::AsFd::as_fd(&read)], true)
}
