//! Idle connections: the memory that each costs the server, and whether each still answers.

use std::time::{Duration, Instant};

use socket2::SockRef;

use super::messages::Messages;
use super::meter::Memory;
use super::round::Round;
use super::server::Server;
use super::wait::{TICK, Trigger, Wait};
use crate::error::{Error, ErrorKind, Result};

/// After the connections are half-closed: if none ends for this long, the rest is not waited for.
const END_PATIENCE: Duration = Duration::from_secs(1);

/// Measures one round: connects, keeps the connections idle for the duration, then uses each once.
pub(super) fn run(round: &mut Round<'_>) -> Result<()> {
    let mut messages = Messages::new(round);
    use_once(round, &mut messages, 0)?;
    // Some servers start a process only for their first client.
    let server = Server::find(round.target, round.settings);
    let memory = || server.as_ref().and_then(Server::memory).map(|(_, anonymous)| anonymous);
    let before = memory();
    let added = round.settings.connections;
    round.connect_more(added)?;
    round.run(|round, _| round.wait.wait(TICK).map(drop))?;
    let idle = memory();
    for index in 1..=added {
        use_once(round, &mut messages, index)?;
    }
    let used = memory();
    end_all(round)?;
    if let (Some(before), Some(idle), Some(used)) = (before, idle, used) {
        round.meter.sample.memory = Some(Memory { before, idle, used, added });
    }
    Ok(())
}

/// Sends a message on a connection and waits for its echo.
fn use_once(round: &mut Round<'_>, messages: &mut Messages, index: usize) -> Result<()> {
    let started = round.meter.now();
    let timeout = round.settings.args.timeout.as_nanos() as u64;
    let mut result = messages.begin(round, index, started).map(|()| None);
    loop {
        match result {
            Ok(Some(is_right)) => {
                round.back(started, is_right);
                return Ok(());
            }
            Ok(None) if round.meter.now() - started < timeout => {
                round.wait.wait(TICK)?;
                result = messages.receive(round, index);
            }
            Ok(None) => result = Err(Error::new(ErrorKind::NoReply, "no reply in time")),
            Err(error) => {
                round.failed(index, error);
                return Ok(());
            }
        }
    }
}

/// Half-closes the connections. Data that arrives before the end of stream was not sent, and no
/// later message would reveal it.
fn end_all(round: &mut Round<'_>) -> Result<()> {
    for fd in &round.fds {
        // A connection that has ended is not connected any more.
        let _ = SockRef::from(fd).shutdown(std::net::Shutdown::Write);
    }
    // Registered again, because an edge that was reported is not reported again.
    round.wait = Wait::on_all(&round.fds, false, Trigger::Edge)?;
    let mut deadline = Instant::now() + END_PATIENCE;
    while round.any_open() && Instant::now() < deadline {
        for at in 0..round.wait.wait(TICK)? {
            let (index, _) = round.wait.event(at);
            let surplus = match round.receive(index, &mut [0]) {
                Ok(None) => continue,
                Ok(Some(count)) => count > 0,
                Err(_) => false,
            };
            round.meter.sample.wrong += u64::from(surplus);
            round.ended(index);
            deadline = Instant::now() + END_PATIENCE;
        }
    }
    Ok(())
}
