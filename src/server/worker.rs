//! The event loop: it gives each socket that has something to do its turn.

mod datagrams;
mod listeners;
#[cfg(test)]
mod tests;

use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::Ordering;
use std::time::Instant;

use rustix::event::epoll::EventFlags;

use super::backoff::Backoff;
use super::connection::{Connection, Protocol, Signs, Turn};
use super::datagram::Datagram;
use super::listener::Listener;
use super::poller::{Poller, Wait};
use super::table::Table;
use super::workspace::Workspace;
use super::{Calls, Heartbeat, Shared, Statistics};
use crate::activation::{Family, Service, SocketKind};
use crate::error::{Context, Error, ErrorKind, Result};
use crate::sys::message::Batch;

/// The size of a slot for one IP datagram, or for as many as the kernel joins.
const IP_DATAGRAM_MAX: usize = 65_536;
/// How many messages of a socket without that bound are received with one call.
const LARGE_MESSAGES: usize = 8;

/// An inherited socket that is no listener: one worker has it.
pub(super) struct Part {
    pub(super) fd: OwnedFd,
    pub(super) source: u16,
    pub(super) kind: SocketKind,
    pub(super) service: Service,
}

pub(super) struct Worker<'a> {
    shared: &'a Shared<'a>,
    poller: Poller,
    space: Workspace<'a>,
    listeners: Vec<Listener<'a>>,
    datagrams: Vec<Datagram>,
    connections: Table,
    /// Connections whose turn ended before their work did.
    ready: Vec<u32>,
    /// The same, of the round that is being worked off.
    round: Vec<u32>,
    /// Connections that the kernel had no memory for.
    starved: Vec<u32>,
    ip_batch: Option<Batch>,
    large_batch: Option<Batch>,
    /// When to look for connections again that there was no room for.
    backoff: Backoff,
    /// When to try again what a datagram socket could not receive or send, or a connection had no
    /// memory for.
    retry_backoff: Backoff,
    heartbeat: Option<(Heartbeat, Instant)>,
    on_shutdown: Option<Box<dyn FnOnce() + Send>>,
    /// When a shutdown stops waiting for peers; `None` until there is a shutdown.
    drains_until: Option<Instant>,
}

/// What an event is about: the kind in the upper half of its 64 bits, the number in the lower.
mod token {
    pub(super) const CONNECTION: u64 = 0;
    pub(super) const LISTENER: u64 = 1 << 32;
    pub(super) const DATAGRAM: u64 = 2 << 32;
    pub(super) const SHUTDOWN: u64 = 3 << 32;
    pub(super) const KIND: u64 = !0 << 32;
}

const CONNECTION_EVENTS: EventFlags = EventFlags::IN
    .union(EventFlags::OUT)
    .union(EventFlags::RDHUP)
    .union(EventFlags::PRI)
    .union(EventFlags::ET);

const END_EVENTS: EventFlags = EventFlags::RDHUP.union(EventFlags::HUP).union(EventFlags::ERR);

impl<'a> Worker<'a> {
    pub(super) fn new(shared: &'a Shared<'a>, parts: Vec<Part>, calls: Calls) -> Result<Self> {
        let mut worker = Self {
            shared,
            poller: Poller::new(shared.busy_poll)?,
            space: Workspace::new(shared.limits, shared.names),
            listeners: Vec::new(),
            datagrams: Vec::new(),
            connections: Table::default(),
            ready: Vec::new(),
            round: Vec::new(),
            starved: Vec::new(),
            ip_batch: None,
            large_batch: None,
            backoff: Backoff::default(),
            retry_backoff: Backoff::default(),
            heartbeat: calls.heartbeat.map(|heartbeat| {
                let due = Instant::now() + heartbeat.interval;
                (heartbeat, due)
            }),
            on_shutdown: calls.on_shutdown,
            drains_until: None,
        };
        for shutdown in shared.shutdowns() {
            worker
                .poller
                .add(shutdown, token::SHUTDOWN, EventFlags::IN)
                .context("wait for the shutdown")?;
        }
        for listener in shared.listeners {
            worker.add_listener(listener)?;
        }
        for part in parts {
            worker.add_part(part)?;
        }
        Ok(worker)
    }

    fn add_part(&mut self, part: Part) -> Result<()> {
        let what = format!("serve {}", self.shared.names[usize::from(part.source)]);
        if part.service.is_one_connection() {
            self.shared.connections.fetch_add(1, Ordering::Relaxed);
            let connection = Connection::inherited(part.fd, part.source, protocol_of(&part.kind));
            return self.add_connection(connection).context(what);
        }
        let datagram = Datagram::new(part.fd, part.source, part.kind)?;
        let token = token::DATAGRAM | self.datagrams.len() as u64;
        self.poller.add(&datagram, token, EventFlags::IN).context(what)?;
        if datagram.has_large_messages() {
            let size = self.shared.limits.message_bytes_max;
            self.large_batch.get_or_insert_with(|| Batch::new(LARGE_MESSAGES, size, false));
        } else {
            let slots = self.shared.limits.batch_datagrams;
            self.ip_batch.get_or_insert_with(|| Batch::new(slots, IP_DATAGRAM_MAX, true));
        }
        self.datagrams.push(datagram);
        Ok(())
    }

    /// The caller has counted it.
    fn add_connection(&mut self, connection: io::Result<Connection>) -> io::Result<()> {
        let result = connection.and_then(|connection| self.try_add_connection(connection));
        if result.is_err() {
            self.shared.connections.fetch_sub(1, Ordering::Relaxed);
        }
        result
    }

    fn try_add_connection(&mut self, connection: Connection) -> io::Result<()> {
        let number = self.connections.next();
        self.poller.add(&connection, token::CONNECTION | u64::from(number), CONNECTION_EVENTS)?;
        self.space.statistics.connections += 1;
        self.connections.insert(connection);
        Ok(())
    }

    pub(super) fn run(mut self) -> Result<Statistics> {
        while !self.is_done() {
            let wait = self.wait();
            let count = self.poller.wait(wait).context("wait for events")?;
            for index in 0..count {
                let (token, flags) = self.poller.event(index);
                let number = token as u32;
                match token & token::KIND {
                    token::LISTENER => self.accept(number as usize),
                    token::DATAGRAM => self.echo_datagrams(number as usize, flags),
                    token::SHUTDOWN => self.begin_to_drain(),
                    _ => self.connection_event(number, flags),
                }
            }
            self.work_off_the_ready();
            self.connections.recycle();
            self.timers();
        }
        for datagram in &self.datagrams {
            datagram.release();
        }
        if !self.listeners.is_empty() && self.listeners.iter().all(|listener| listener.has_failed) {
            return Err(Error::new(ErrorKind::Other, "no listening socket accepts connections")
                .remedy("restart the socket unit: something shut its sockets down"));
        }
        Ok(self.space.statistics)
    }

    fn is_done(&self) -> bool {
        match self.drains_until {
            Some(until) => {
                let is_behind = self.datagrams.iter().any(Datagram::is_behind);
                (self.connections.len() == 0 && !is_behind) || until <= Instant::now()
            }
            None => {
                self.listeners.iter().all(|listener| listener.has_failed)
                    && self.datagrams.is_empty()
                    && self.connections.len() == 0
            }
        }
    }

    fn wait(&self) -> Wait {
        if !self.ready.is_empty() {
            return Wait::Not;
        }
        let beat = self.heartbeat.as_ref().map(|(_, due)| *due);
        let retries = [self.backoff.due(), self.retry_backoff.due()];
        match retries.into_iter().chain([beat, self.drains_until]).flatten().min() {
            Some(instant) => Wait::Until(instant),
            None => Wait::Forever,
        }
    }

    fn connection_event(&mut self, number: u32, flags: EventFlags) {
        let Some(connection) = self.connections.get(number) else { return };
        // A connection that waits for its peer to read has nothing to do until the peer does; that
        // a peer has read is nothing to any other.
        let can_send = flags.intersects(EventFlags::OUT | EventFlags::ERR | EventFlags::HUP);
        let has_work = if connection.is_blocked() { can_send } else { flags != EventFlags::OUT };
        if !has_work {
            return;
        }
        let signs = Signs {
            end: flags.intersects(END_EVENTS),
            urgent: flags.contains(EventFlags::PRI),
            unknown: false,
        };
        self.turn(number, signs);
    }

    fn work_off_the_ready(&mut self) {
        std::mem::swap(&mut self.ready, &mut self.round);
        let signs = Signs { end: false, urgent: false, unknown: true };
        for index in 0..self.round.len() {
            let number = self.round[index];
            if let Some(connection) = self.connections.get(number) {
                connection.is_ready = false;
                self.turn(number, signs);
            }
        }
        self.round.clear();
    }

    fn retry_starved(&mut self) {
        let signs = Signs { end: false, urgent: false, unknown: true };
        for number in std::mem::take(&mut self.starved) {
            self.turn(number, signs);
        }
    }

    fn turn(&mut self, number: u32, signs: Signs) {
        let Some(connection) = self.connections.get(number) else { return };
        match connection.turn(signs, &mut self.space) {
            Turn::Idle if self.drains_until.is_some() => self.close(number, None),
            Turn::Blocked if std::mem::take(&mut self.space.is_short_of_memory) => {
                self.starved.push(number);
                self.retry_backoff.plan(Instant::now());
            }
            Turn::Idle | Turn::Blocked => {}
            // An event may have given it a turn while it was waiting for this one.
            Turn::More if connection.is_ready => {}
            Turn::More => {
                connection.is_ready = true;
                self.ready.push(number);
            }
            Turn::Ended => self.close(number, None),
            Turn::Broken(error) => self.close(number, Some(&error)),
        }
    }

    fn close(&mut self, number: u32, error: Option<&io::Error>) {
        let Some(connection) = self.connections.remove(number) else { return };
        self.space.trace_close(connection.source(), &connection, error);
        connection.close(&mut self.space);
        self.shared.connections.fetch_sub(1, Ordering::Relaxed);
        // Somebody may be waiting for the room that there is now.
        if self.backoff.due().is_some() && self.drains_until.is_none() {
            self.backoff.reset();
            self.watch_all_listeners();
        }
    }

    fn timers(&mut self) {
        let retries = [self.backoff.due(), self.retry_backoff.due()];
        if retries == [None, None] && self.heartbeat.is_none() {
            return;
        }
        let now = Instant::now();
        if self.backoff.take(now) && self.drains_until.is_none() {
            self.watch_all_listeners();
        }
        if self.retry_backoff.take(now) {
            self.retry_datagrams();
            self.retry_starved();
            if self.starved.is_empty() && self.datagrams.iter().all(Datagram::is_well) {
                self.retry_backoff.reset();
            }
        }
        if let Some((heartbeat, due)) = &mut self.heartbeat {
            if *due <= now {
                (heartbeat.beat)();
                *due = now + heartbeat.interval;
            }
        }
    }

    /// Stops accepting, and gives each connection one more turn for what it has already sent.
    fn begin_to_drain(&mut self) {
        if self.drains_until.is_some() {
            return;
        }
        if let Some(on_shutdown) = self.on_shutdown.take() {
            on_shutdown();
        }
        self.drains_until = Some(Instant::now() + self.shared.limits.drain_time_max);
        for shutdown in self.shared.shutdowns() {
            // The event stays, and would not let us sleep.
            let _ = self.poller.remove(shutdown);
        }
        for number in 0..self.listeners.len() {
            self.unwatch_listener(number);
        }
        for datagram in &self.datagrams {
            // What waits in the socket is for the next one who is activated.
            let _ = self.poller.remove(datagram);
        }
        let signs = Signs { end: false, urgent: false, unknown: true };
        for number in self.connections.numbers() {
            self.turn(number, signs);
        }
    }
}

/// How the kernel hands over what the peers of such a socket send.
fn protocol_of(kind: &SocketKind) -> Protocol {
    match (kind.family, kind.r#type) {
        (Family::Unix, socket2::Type::SEQPACKET) => Protocol::UnixSeqpacket,
        (_, socket2::Type::SEQPACKET) => Protocol::VsockSeqpacket,
        (Family::Unix, _) => Protocol::UnixStream,
        (Family::Inet | Family::Inet6, _) if kind.protocol == Some(socket2::Protocol::TCP) => {
            Protocol::Tcp
        }
        _ => Protocol::OtherStream,
    }
}
