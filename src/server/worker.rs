//! The event loop. It gives a turn to each socket that has work.

#[cfg(test)]
mod tests;

use std::os::fd::AsFd;
use std::time::Instant;

use rustix::event::epoll::EventFlags;

use super::connection::{Connection, Protocol};
use super::connections::Connections;
use super::datagrams::Datagrams;
use super::exit_idle::Idle;
use super::kept::{Ended, Kept};
use super::listeners::{Accept, Listeners};
use super::observer::Observer;
use super::per_source::Source;
use super::permits::Permit;
use super::poller::Wait;
use super::reporter::Reporter;
use super::shared::{ServedSocket, Shared, Work};
use super::token::Token;
use super::workspace::Workspace;
use crate::error::{Context, Result};

pub(super) struct Worker<'a> {
    shared: &'a Shared<'a>,
    reporter: Reporter<'a>,
    space: Workspace<'a>,
    listeners: Listeners<'a>,
    connections: Connections,
    datagrams: Datagrams,
    /// When an idle server ends.
    idle: Option<Idle<'a>>,
    /// When a shutdown stops waiting for peers; `None` before a shutdown.
    drains_until: Option<Instant>,
    /// Whether a shutdown keeps everything as it is.
    is_frozen: bool,
}

impl<'a> Worker<'a> {
    /// The worker `number` for the shared listeners and for its own sockets. The first one is 0.
    ///
    /// # Errors
    ///
    /// A socket cannot be prepared or registered.
    pub(super) fn new(
        shared: &'a Shared<'a>,
        number: usize,
        (sockets, kept): Work,
    ) -> Result<Self> {
        let space = Workspace::new(shared)?;
        for shutdown in shared.shutdowns() {
            let added = space.poller.add(shutdown, Token::Shutdown, EventFlags::IN);
            added.context("wait for the shutdown")?;
        }
        let reporter = Reporter::new(shared, number);
        if let Some(bell) = reporter.bell() {
            let added = space.poller.add(bell, Token::Bell, EventFlags::IN | EventFlags::ET);
            added.context("wait for the other workers")?;
        }
        let mut worker = Self {
            shared,
            reporter,
            listeners: Listeners::new(shared, &space)?,
            space,
            connections: Connections::default(),
            datagrams: Datagrams::default(),
            idle: shared.exit_idle_time.map(|time| Idle::new(shared.connections, time)),
            drains_until: None,
            is_frozen: false,
        };
        for socket in sockets {
            worker.add(socket)?;
        }
        worker.take_over(kept);
        // The first worker measures the time of a server to which nobody comes.
        if number == 0 {
            worker.touch();
        }
        Ok(worker)
    }

    fn add(&mut self, socket: ServedSocket) -> Result<()> {
        if !socket.service.is_one_connection() {
            return self.datagrams.add(socket, self.shared.never_answered, &self.space);
        }
        self.touch();
        let permit = self.permit_beyond(&socket.fd);
        let protocol = Protocol::of(&socket.kind);
        let connection = Connection::inherited(socket.fd, socket.source, protocol, permit);
        let connection = if socket.is_asked { connection.asked() } else { connection };
        self.connections.add(connection, &mut self.space);
        Ok(())
    }

    /// A permit for a connection that exists already. It counts for its source too.
    fn permit_beyond(&self, connection: impl AsFd) -> Permit {
        let source = self.shared.per_source.as_ref().and_then(|all| {
            Source::of(&connection).ok().and_then(|source| all.take_beyond(source))
        });
        self.shared.connections.take_beyond().with(source)
    }

    /// Adds what an earlier run has kept.
    fn take_over(&mut self, kept: Kept) {
        self.touch();
        for connection in kept.connections {
            let permit = self.permit_beyond(&connection.fd);
            let source = self.shared.kept_source;
            let unread = &self.space.unread;
            if let Some(connection) = Connection::kept(connection, source, permit, unread) {
                self.connections.take_over(connection, &self.space);
            }
        }
        self.datagrams.take_over(kept.replies, &mut self.space);
    }

    /// Serves until nothing is left to serve, or a shutdown is complete.
    ///
    /// # Errors
    ///
    /// Those of epoll_wait(2).
    pub(super) fn run(mut self, observer: &mut dyn Observer) -> Result<Finished> {
        observer.ready();
        loop {
            let connections = self.connections.len();
            self.reporter.end_turn(&self.space.statistics, connections, observer);
            if self.is_done() {
                break;
            }
            if let Some(idle) = &mut self.idle {
                idle.plan();
            }
            let until = self.next_due(observer);
            let count = self.space.poller.wait(until).context("wait for events")?;
            self.reporter.begin_turn();
            self.space.turn_bytes = self.shared.limits.share(count.max(self.connections.ready()));
            for index in 0..count {
                let (token, flags) = self.space.poller.event(index);
                self.event(token, flags, observer);
                if self.is_frozen {
                    return Ok(self.keep());
                }
            }
            self.after_events(observer);
        }
        self.tell_what_is_lost();
        let ended = Ended { statistics: self.space.statistics, ..Ended::default() };
        Ok(Finished { ended, by_itself: self.drains_until.is_none() })
    }

    /// Somebody is there, or may be.
    fn touch(&mut self) {
        if let Some(idle) = &mut self.idle {
            idle.touch();
        }
    }

    fn event(&mut self, token: Token, flags: EventFlags, observer: &mut dyn Observer) {
        if matches!(token, Token::Listener(_) | Token::Datagram(_)) {
            self.touch();
        }
        let space = &mut self.space;
        match token {
            Token::Listener(number) => {
                for _ in 0..space.limits.turn_accepts {
                    match self.listeners.accept(number, flags, space) {
                        Accept::Connection(connection) => {
                            if !self.connections.add(connection, space) {
                                self.listeners.pause(number, space);
                            }
                        }
                        Accept::Refused => space.statistics.refused += 1,
                        Accept::Gone => {}
                        Accept::Nobody => break,
                    }
                }
            }
            Token::Connection(number) => self.connections.event(number, flags, space),
            Token::Datagram(number) => self.datagrams.event(number, flags, space),
            Token::Shutdown => self.begin_to_drain(observer),
            Token::Bell => self.reporter.has_changed(observer),
        }
    }

    fn after_events(&mut self, observer: &mut dyn Observer) {
        self.connections.continue_ready(&mut self.space);
        self.on_time(observer);
        if self.connections.has_closed() {
            self.listeners.has_room(&self.space);
        }
        self.connections.recycle();
    }

    fn is_done(&self) -> bool {
        match self.drains_until {
            Some(until) => {
                let has_everything = self.connections.len() == 0 && !self.datagrams.are_behind();
                has_everything || until <= Instant::now()
            }
            None => {
                self.listeners.have_ended()
                    && self.datagrams.are_none()
                    && self.connections.len() == 0
            }
        }
    }

    /// How long to wait for an event: until the earliest deadline.
    fn next_due(&self, observer: &dyn Observer) -> Wait {
        [
            self.connections.next_due(),
            self.listeners.next_due().into(),
            self.datagrams.next_due().into(),
            observer.next_due().into(),
            self.idle.as_ref().and_then(Idle::next_due).into(),
            self.drains_until.into(),
        ]
        .into_iter()
        .min()
        .unwrap_or(Wait::Forever)
    }

    fn on_time(&mut self, observer: &mut dyn Observer) {
        // The clock is read only if there is a deadline.
        if self.next_due(observer) == Wait::Forever {
            return;
        }
        let now = Instant::now();
        self.connections.on_time(now, &mut self.space);
        self.listeners.on_time(now, &self.space);
        self.datagrams.on_time(now, &mut self.space);
        self.reporter.on_time(now, observer);
        if self.idle.as_mut().is_some_and(|idle| idle.ends(now)) {
            self.shared.stop();
            self.begin_to_drain(observer);
        }
    }

    /// What is unfinished, after a shutdown that keeps it.
    fn keep(mut self) -> Finished {
        let connections = self.connections.keep(&mut self.space);
        let (replies, datagram_sockets) = self.datagrams.keep(&self.space).into_iter().unzip();
        let kept = Kept { connections, replies };
        let ended = Ended { statistics: self.space.statistics, kept, datagram_sockets };
        Finished { ended, by_itself: false }
    }

    /// Stops accepting and receiving. What was received before is still echoed.
    fn begin_to_drain(&mut self, observer: &mut dyn Observer) {
        if self.drains_until.is_some() {
            return;
        }
        self.idle = None;
        observer.stopping();
        if self.shared.keeps_unfinished() {
            self.is_frozen = true;
            return;
        }
        self.drains_until = Some(Instant::now() + self.shared.limits.drain_time_max);
        for shutdown in self.shared.shutdowns() {
            // The event stays set, so the worker would never sleep.
            let _ = self.space.poller.remove(shutdown);
        }
        self.listeners.begin_to_drain(&self.space);
        self.datagrams.begin_to_drain(&self.space);
        self.connections.begin_to_drain(&mut self.space);
    }

    fn tell_what_is_lost(&mut self) {
        let (peers, bytes) = self.connections.unsent();
        if peers > 0 {
            let time = self.shared.limits.drain_time_max;
            log::warn!("{bytes} bytes are lost: {peers} peer(s) did not read them within {time:?}");
        }
        if self.space.dropped_bytes > 0 {
            let bytes = self.space.dropped_bytes;
            log::info!("dropped {bytes} bytes that came after the shutdown began");
        }
    }
}

/// How a worker ended.
pub(super) struct Finished {
    pub(super) ended: Ended,
    /// Whether it had nothing left to serve, without a shutdown.
    pub(super) by_itself: bool,
}
