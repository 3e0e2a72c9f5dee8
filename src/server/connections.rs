//! The connections of a worker: which one gets its turn, and which ones wait for a time.

use std::io;
use std::time::{Duration, Instant};

use rustix::event::epoll::EventFlags;

use super::connection::{Connection, Listed, Turn};
use super::idle::IdleSweep;
use super::kept::KeptConnection;
use super::poller::Wait;
use super::table::Table;
use super::token::Token;
use super::workspace::Workspace;
use crate::backoff::Backoff;

/// A connection is registered once, edge-triggered, for every event that it can wait for.
const EVENTS: EventFlags = EventFlags::IN
    .union(EventFlags::OUT)
    .union(EventFlags::RDHUP)
    .union(EventFlags::PRI)
    .union(EventFlags::ET);

#[derive(Debug, Default)]
pub(super) struct Connections {
    table: Table<Connection>,
    /// Connections whose turn ended before their work did.
    ready: Vec<u32>,
    /// Connections that wait for time to pass.
    waiting: Vec<u32>,
    /// The list whose connections get their turn now; kept to reuse its memory.
    round: Vec<u32>,
    /// When the waiting connections get another turn.
    retry: Backoff,
    idle: IdleSweep,
    /// Whether one was closed since the last question: a listener may wait for its room.
    has_closed: bool,
}

impl Connections {
    pub(super) fn len(&self) -> usize {
        self.table.len()
    }

    /// How many have work of which no event tells.
    pub(super) fn ready(&self) -> usize {
        self.ready.len()
    }

    /// How long the event loop may wait.
    pub(super) fn next_due(&self) -> Wait {
        if !self.ready.is_empty() || self.idle.is_under_way() {
            return Wait::Not;
        }
        Wait::from(self.retry.due()).min(self.idle.due().into())
    }

    pub(super) fn has_closed(&mut self) -> bool {
        std::mem::take(&mut self.has_closed)
    }

    /// Adds a connection. Returns whether the kernel has room for it. If it has not, the connection
    /// is served once it has.
    pub(super) fn add(&mut self, connection: Connection, space: &mut Workspace<'_>) -> bool {
        space.statistics.connections += 1;
        self.idle.start(space.limits.idle_timeout);
        let number = self.table.insert(connection);
        self.register(number, space)
    }

    /// Adds a connection that an earlier run has served. It was counted there.
    pub(super) fn take_over(&mut self, connection: Connection, space: &Workspace<'_>) {
        self.idle.start(space.limits.idle_timeout);
        let number = self.table.insert(connection);
        self.register(number, space);
    }

    /// All connections, as they are: whatever they waited for, they are not served any more. One
    /// that does not echo ends: what has come of a question is answered as far as the kernel
    /// accepts it now.
    pub(super) fn keep(&mut self, space: &mut Workspace<'_>) -> Vec<KeptConnection> {
        for number in self.table.numbers() {
            if let Some(connection) = self.table.get(number).filter(|one| one.is_asked()) {
                connection.finish(space);
                self.turn(number, true, space);
                self.close(number, None, space);
            }
        }
        let connections = self.table.numbers().into_iter().filter_map(|n| self.table.remove(n));
        let keep = |connection: Connection| {
            let name = space.name(connection.source());
            let tell = |error| log::warn!("keep a connection on {name}: {error}; it is closed");
            connection.keep().map_err(tell).ok()
        };
        connections.filter_map(keep).collect()
    }

    /// Prepares the connection and registers its events, unless that is already done. Returns
    /// whether it is done: without memory, or without room for the events (`ENOSPC`, epoll_ctl(2)),
    /// it waits.
    fn register(&mut self, number: u32, space: &Workspace<'_>) -> bool {
        let Some(connection) = self.table.get(number) else { return true };
        if connection.is_registered {
            return true;
        }
        let registered = connection
            .prepare()
            .and_then(|()| space.poller.add(&*connection, Token::Connection(number), EVENTS));
        let Err(error) = registered else {
            connection.is_registered = true;
            return true;
        };
        let name = space.name(connection.source());
        if matches!(error.raw_os_error(), Some(libc::ENOMEM | libc::ENOBUFS | libc::ENOSPC)) {
            log::debug!("wait for events of a connection on {name}: {error}; trying again");
            self.list_as_waiting(number);
        } else {
            log::warn!(
                "wait for events of a connection on {name}: {error}; the connection is \
                        closed"
            );
            self.close(number, Some(&error), space);
        }
        false
    }

    /// Handles an event of the poller.
    pub(super) fn event(&mut self, number: u32, flags: EventFlags, space: &mut Workspace<'_>) {
        let Some(connection) = self.table.get(number) else { return };
        // A connection that waits for its peer to read has no work until the peer reads. To all
        // others, it does not matter that the peer has read.
        let can_send = flags.intersects(EventFlags::OUT | EventFlags::ERR | EventFlags::HUP);
        let has_work = if connection.is_blocked() { can_send } else { flags != EventFlags::OUT };
        if has_work {
            // Other flags (an end, an error, urgent data) refer to what follows the received data.
            let may_be_more = !EventFlags::OUT.union(EventFlags::IN).contains(flags);
            self.turn(number, may_be_more, space);
        }
    }

    /// Gives another turn to each connection whose turn ended before its work did.
    pub(super) fn continue_ready(&mut self, space: &mut Workspace<'_>) {
        std::mem::swap(&mut self.ready, &mut self.round);
        self.retry_round(Listed::Ready, space);
    }

    /// Gives another turn to each waiting connection, and looks for idle ones, if it is time.
    pub(super) fn on_time(&mut self, now: Instant, space: &mut Workspace<'_>) {
        self.end_idle(now, space);
        if !self.retry.take(now) {
            return;
        }
        std::mem::swap(&mut self.waiting, &mut self.round);
        self.retry_round(Listed::Waiting, space);
        if self.waiting.is_empty() {
            self.retry.reset();
        }
    }

    fn retry_round(&mut self, listed: Listed, space: &mut Workspace<'_>) {
        for index in 0..self.round.len() {
            let number = self.round[index];
            let Some(connection) = self.table.get(number) else { continue };
            // An event may have given it a turn, and it may be in another list since.
            if connection.listed != listed {
                continue;
            }
            connection.listed = Listed::Nowhere;
            if self.register(number, space) {
                self.turn(number, true, space);
            }
        }
        self.round.clear();
    }

    /// Ends connections on which nothing has moved for as long as `idle_timeout` says.
    fn end_idle(&mut self, now: Instant, space: &mut Workspace<'_>) {
        let Some(timeout) = space.limits.idle_timeout else { return };
        if self.idle.begins(now, Some(timeout), self.table.end()) {
            space.period = space.period.wrapping_add(1);
        } else if !self.idle.is_under_way() {
            return;
        }
        let mut ended = 0;
        for number in self.idle.slice() {
            let Some(connection) = self.table.get(number) else { continue };
            if connection.is_idle(space.period) {
                let lost = connection.unsent();
                let reason = format!("idle for {timeout:?}, {lost} bytes are lost");
                self.close(number, Some(&io::Error::new(io::ErrorKind::TimedOut, reason)), space);
                ended += 1;
            }
        }
        tell_idle(space.idle_lines.line(now, ended), timeout);
        if self.table.len() == 0 && !space.idle_lines.has_rest() {
            self.idle.stop();
        }
    }

    fn turn(&mut self, number: u32, may_be_more: bool, space: &mut Workspace<'_>) {
        let Some(connection) = self.table.get(number) else { return };
        match connection.turn(may_be_more, space) {
            Ok(Turn::Idle) => {}
            Ok(Turn::More) if connection.listed == Listed::Ready => {}
            Ok(Turn::More) => {
                connection.listed = Listed::Ready;
                self.ready.push(number);
            }
            Ok(Turn::Waits) => self.list_as_waiting(number),
            Ok(Turn::Ended) => self.close(number, None, space),
            Err(error) => self.close(number, Some(&error), space),
        }
    }

    fn list_as_waiting(&mut self, number: u32) {
        self.retry.plan(Instant::now());
        let Some(connection) = self.table.get(number) else { return };
        if connection.listed == Listed::Nowhere {
            connection.listed = Listed::Waiting;
            self.waiting.push(number);
        }
    }

    fn close(&mut self, number: u32, error: Option<&io::Error>, space: &Workspace<'_>) {
        let Some(connection) = self.table.remove(number) else { return };
        space.trace_close(connection.source(), &connection, error);
        connection.close();
        self.has_closed = true;
    }

    /// Lets each connection echo what it has received by now, and then send its end of stream.
    pub(super) fn begin_to_drain(&mut self, space: &mut Workspace<'_>) {
        self.idle.stop();
        tell_idle(space.idle_lines.rest(), space.limits.idle_timeout.unwrap_or_default());
        for number in self.table.numbers() {
            if let Some(connection) = self.table.get(number) {
                connection.finish(space);
                self.turn(number, true, space);
            }
        }
    }

    /// Makes the numbers of closed connections free.
    pub(super) fn recycle(&mut self) {
        self.table.recycle();
    }

    /// How many connections there are whose peers have not received everything, and how many bytes
    /// that is.
    pub(super) fn unsent(&mut self) -> (usize, usize) {
        let (mut peers, mut bytes) = (0, 0);
        for number in self.table.numbers() {
            let unsent = self.table.get(number).map_or(0, |connection| connection.unsent());
            peers += usize::from(unsent > 0);
            bytes += unsent;
        }
        (peers, bytes)
    }

    #[cfg(test)]
    pub(super) fn get(&mut self, number: u32) -> Option<&mut Connection> {
        self.table.get(number)
    }
}

/// Logs how many connections have ended because they were idle.
fn tell_idle(count: Option<u64>, timeout: Duration) {
    match count {
        None => {}
        Some(1) => log::info!("ended a connection on which nothing had moved for {timeout:?}"),
        Some(n) => log::info!("ended {n} connections on which nothing had moved for {timeout:?}"),
    }
}
