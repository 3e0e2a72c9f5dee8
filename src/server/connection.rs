//! One connection: bytes or messages are echoed in order, and the server reads no more than it can
//! send.

mod asked;
mod backlog;
mod ending;
mod idle;
mod kept;
mod protocol;
mod unkept;

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Instant;

use rustix::io::Errno;

use self::backlog::{Backlog, Sent};
use self::idle::Activity;
pub(super) use self::protocol::Protocol;
use self::protocol::Received;
use super::permits::Permit;
use super::pipe::Pipe;
use super::socket_options;
use super::workspace::Workspace;

/// A connection. An idle one needs no memory except this.
#[derive(Debug)]
pub(super) struct Connection {
    fd: OwnedFd,
    /// The number of the inherited socket that it came through.
    source: u16,
    protocol: Protocol,
    bulk: Bulk,
    phase: Phase,
    /// The list that it is in, of connections that no event continues. It is in one list at most,
    /// once.
    pub(super) listed: Listed,
    /// Whether its events are registered with the poller.
    pub(super) is_registered: bool,
    /// What was received and not yet echoed; only while the peer does not read.
    backlog: Option<Box<Backlog>>,
    /// Whether the peer does not read, and what would have to be kept is in the kernel's queue.
    is_unread: bool,
    activity: Activity,
    /// Dropping it makes room for another connection.
    _permit: Permit,
}

/// How close a connection is to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Everything that is received is echoed.
    Open,
    /// The server shuts down. This many bytes were received before, and must still be echoed.
    Finishing(u64),
    /// Everything was sent, with the end of stream; what is received now is dropped. Closing a
    /// socket with unread data, or before the peer has acknowledged everything, would reset the
    /// connection, and the peer would lose the last replies (RFC 2525, section 2.17). Until this
    /// time, it also waits for the end of the peer's stream.
    Lingering(Option<Instant>),
    /// It does not echo: what comes first is a question. The server may shut down.
    Asked { is_last: bool },
    /// The question was answered. What the kernel has not accepted of the answer is kept.
    Answered { is_last: bool },
}

/// The lists of connections that have work of which no event tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Listed {
    /// In no list.
    Nowhere,
    /// Their turn ended before their work did.
    Ready,
    /// They wait for time to pass.
    Waiting,
}

/// Whether bytes are copied through the worker's buffer or spliced through a pipe.
///
/// For a unix stream, splice(2) moves whole pages from one socket to the other, so it pays from one
/// page on. For TCP it saves no significant copy (docs/benchmarks.md).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bulk {
    Copied,
    Spliced,
    /// Always copied: splicing does not pay, or does not work.
    Never,
}

/// How a turn ended.
#[derive(Debug)]
pub(super) enum Turn {
    /// An event tells when there is more work.
    Idle,
    /// The share of this turn is used up, and there is more work.
    More,
    /// The kernel lacks memory, or waits for the peer. No event tells when to continue.
    Waits,
    /// The peer has ended its stream and has every reply.
    Ended,
}

impl Connection {
    /// An accepted, non-blocking connection from the inherited socket `source`.
    pub(super) fn new(fd: OwnedFd, source: u16, protocol: Protocol, permit: Permit) -> Self {
        Self {
            fd,
            source,
            protocol,
            bulk: if protocol == Protocol::UnixStream { Bulk::Copied } else { Bulk::Never },
            phase: Phase::Open,
            listed: Listed::Nowhere,
            is_registered: false,
            backlog: None,
            is_unread: false,
            activity: Activity::now(0),
            _permit: permit,
        }
    }

    /// A connection that is the inherited socket `source` itself.
    pub(super) fn inherited(fd: OwnedFd, source: u16, protocol: Protocol, permit: Permit) -> Self {
        socket_options::do_not_linger_in_close(&fd);
        // splice(2) waits on a blocking socket, and this one may be blocking. Other processes share
        // that flag, so the server does not change it.
        let waits = socket_options::is_blocking(&fd);
        let mut connection = Self::new(fd, source, protocol, permit);
        if waits {
            connection.bulk = Bulk::Never;
        }
        connection
    }

    /// Sets the socket options that an echo needs.
    ///
    /// # Errors
    ///
    /// Those of setsockopt(2).
    pub(super) fn prepare(&self) -> io::Result<()> {
        self.protocol.prepare(self.fd.as_fd())
    }

    pub(super) fn source(&self) -> usize {
        usize::from(self.source)
    }

    pub(super) fn is_blocked(&self) -> bool {
        self.backlog.is_some() || self.is_unread
    }

    /// Echoes until nothing is left, the peer does not read, or the turn is over. `may_be_more`:
    /// there may be more to receive even after a receive that does not fill the buffer.
    ///
    /// # Errors
    ///
    /// The connection is broken.
    pub(super) fn turn(
        &mut self,
        may_be_more: bool,
        space: &mut Workspace<'_>,
    ) -> io::Result<Turn> {
        if let Some(turn) = unfinished(self.flush(space)?) {
            return Ok(turn);
        }
        self.is_unread = false;
        let room = space.unread.room(space.turn_bytes, size_of::<Backlog>());
        match (self.phase, self.bulk) {
            (Phase::Lingering(_), _) => self.linger(space),
            (Phase::Asked { is_last }, _) => self.answer(is_last, may_be_more, space),
            (Phase::Answered { .. }, _) => self.end(space),
            (_, Bulk::Spliced) if room == space.turn_bytes => match space.pipes.take() {
                Some(pipe) => self.splice_turn(pipe, space),
                None => self.copy_turn(may_be_more, space),
            },
            _ => self.copy_turn(may_be_more, space),
        }
    }

    fn copy_turn(&mut self, is_unclear: bool, space: &mut Workspace<'_>) -> io::Result<Turn> {
        let mut echoed = 0;
        while echoed < space.turn_bytes {
            if self.phase == Phase::Finishing(0) {
                return self.end(space);
            }
            let (received, may_keep) = self.receive(space)?;
            let (len, may_be_more) = match received {
                Received::Nothing if self.phase != Phase::Open => return self.end(space),
                Received::Nothing => return Ok(Turn::Idle),
                Received::Starved => return Ok(Turn::Waits),
                Received::End => return Ok(Turn::Ended),
                Received::Data { len, may_be_more } => (len, may_be_more || is_unclear),
            };
            let sent = if may_keep { self.echo(len, space) } else { self.pass_on(len, space) };
            if let Some(turn) = unfinished(sent?) {
                return Ok(turn);
            }
            if !may_be_more && self.phase == Phase::Open {
                return Ok(Turn::Idle);
            }
            echoed += cost(len);
        }
        Ok(Turn::More)
    }

    /// Counts `len` bytes that were received.
    fn count(&mut self, len: usize, space: &mut Workspace<'_>) {
        space.trace_receive(self.source(), &self.fd, len);
        self.has_moved(space.period);
        if self.bulk == Bulk::Copied && len >= rustix::param::page_size() {
            self.bulk = Bulk::Spliced;
        }
        if let Phase::Finishing(owed) = &mut self.phase {
            *owed = owed.saturating_sub(len as u64);
        }
    }

    /// Sends back the first `len` bytes of the buffer, and keeps what the kernel does not accept.
    fn echo(&mut self, len: usize, space: &mut Workspace<'_>) -> io::Result<Sent> {
        self.count(len, space);
        let (bytes, mut sent) = (&space.buffer[..len], 0);
        let outcome = backlog::send(self.fd.as_fd(), bytes, &mut sent)?;
        space.trace_send(self.source(), &self.fd, sent);
        if outcome != Sent::All {
            self.backlog = Some(Box::new(Backlog::copy_of(&bytes[sent..], &space.unread)?));
        }
        Ok(outcome)
    }

    /// Sends what an earlier turn has kept.
    fn flush(&mut self, space: &mut Workspace<'_>) -> io::Result<Sent> {
        let Some(backlog) = &mut self.backlog else { return Ok(Sent::All) };
        let before = backlog.len();
        let outcome = backlog.send(self.fd.as_fd())?;
        let sent = before - backlog.len();
        space.trace_send(self.source(), &self.fd, sent);
        if sent > 0 {
            self.has_moved(space.period);
        }
        if outcome == Sent::All {
            if let Some(Backlog::Pipe { pipe, .. }) = self.backlog.take().map(|backlog| *backlog) {
                space.pipes.give_back(pipe);
            }
        }
        Ok(outcome)
    }

    fn splice_turn(&mut self, mut pipe: Pipe, space: &mut Workspace<'_>) -> io::Result<Turn> {
        let turn = self.splice(&mut pipe, space);
        if pipe.len() == 0 {
            space.pipes.give_back(pipe);
        } else {
            self.backlog = Some(Box::new(Backlog::of_pipe(pipe, &space.unread)));
        }
        turn
    }

    fn splice(&mut self, pipe: &mut Pipe, space: &mut Workspace<'_>) -> io::Result<Turn> {
        let (mut moved, mut spent) = (0, 0);
        while spent < space.turn_bytes {
            let len = match pipe.fill(&self.fd, space.turn_bytes) {
                // This is the end, or an urgent byte. A receive tells which.
                Ok(0) => {
                    self.bulk = Bulk::Copied;
                    return Ok(Turn::More);
                }
                Ok(len) => len,
                Err(Errno::INTR) => continue,
                Err(Errno::AGAIN) => {
                    // An event that finds nothing says nothing about the next bytes.
                    if (1..rustix::param::page_size()).contains(&moved) {
                        self.bulk = Bulk::Copied;
                    }
                    return Ok(Turn::Idle);
                }
                Err(Errno::NOBUFS | Errno::NOMEM) => return Ok(Turn::Waits),
                Err(Errno::INVAL) => {
                    self.bulk = Bulk::Never;
                    return Ok(Turn::More);
                }
                Err(error) => return Err(error.into()),
            };
            space.trace_receive(self.source(), &self.fd, len);
            self.has_moved(space.period);
            let outcome = backlog::drain(self.fd.as_fd(), pipe)?;
            space.trace_send(self.source(), &self.fd, len - pipe.len());
            if let Some(turn) = unfinished(outcome) {
                return Ok(turn);
            }
            moved += len;
            spent += cost(len);
        }
        Ok(Turn::More)
    }

    #[cfg(test)]
    pub(super) fn splice_from_now_on(&mut self) {
        self.bulk = Bulk::Spliced;
    }
}

/// How much of a turn a receive of `len` bytes uses: at least 4 KiB. Otherwise a peer that sends
/// single bytes or empty messages fast would get a turn of a million receives.
fn cost(len: usize) -> usize {
    len.max(4096)
}

/// How a turn ends after a send that is not complete.
fn unfinished(sent: Sent) -> Option<Turn> {
    match sent {
        Sent::All => None,
        Sent::Blocked => Some(Turn::Idle),
        Sent::Starved => Some(Turn::Waits),
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
