//! Messages and their echoes, one at a time on each connection.

use super::round::Round;
use super::{PERIOD, SEED};
use crate::address::Style;
use crate::client::Pattern;
use crate::error::{Error, ErrorKind, Result};

/// Replies to this many datagrams before the last one are recognised as late, and as many are
/// skipped.
const LATE_MAX: u32 = 64;
/// How much of a long message one receive call returns.
const RECEIVE: usize = 256 * 1024;

/// The message of one connection.
#[derive(Debug, Clone, Default)]
pub(super) struct Peer {
    sequence: u32,
    sent: usize,
    received: usize,
    /// When the message was sent, or was due.
    pub(super) started: u64,
    /// Whether a reply is expected.
    pub(super) in_flight: bool,
    /// Whether epoll reports when the connection is writable.
    writing: bool,
    /// Whether a part of the reply differs from what was sent.
    wrong: bool,
}

/// The messages of all connections of a round.
pub(super) struct Messages {
    pub(super) peers: Vec<Peer>,
    pattern: Pattern,
    buffer: Vec<u8>,
    size: usize,
    /// Whether one receive call returns a whole message.
    whole: bool,
}

impl Messages {
    pub(super) fn new(round: &Round<'_>) -> Self {
        let size = round.settings.size;
        let whole = round.target.address.style() != Style::Stream;
        // One more byte of room shows a reply that is too long.
        let buffer = vec![0; if whole { size + 1 } else { size.min(RECEIVE) }];
        let peers = vec![Peer::default(); round.settings.connections + 1];
        Self { peers, pattern: Pattern::new(SEED, PERIOD, size), buffer, size, whole }
    }

    /// Sends the next message of a connection. Its latency counts from `started`.
    #[inline]
    pub(super) fn begin(&mut self, round: &Round<'_>, index: usize, started: u64) -> Result<()> {
        let peer = &mut self.peers[index];
        peer.sequence = peer.sequence.wrapping_add(1);
        (peer.sent, peer.received, peer.wrong) = (0, 0, false);
        (peer.started, peer.in_flight) = (started, true);
        self.send(round, index)
    }

    /// Sends as much of the message as the socket accepts.
    #[inline]
    fn send(&mut self, round: &Round<'_>, index: usize) -> Result<()> {
        let peer = &mut self.peers[index];
        let message = self.pattern.at(peer.sequence.into(), self.size);
        while let Some(count) = round.send(index, &message[peer.sent..])? {
            peer.sent += count;
            if peer.sent >= self.size {
                break;
            }
        }
        let writing = peer.sent < self.size;
        if writing != peer.writing {
            peer.writing = writing;
            round.wait.set_writing(&round.fds[index], index, writing)?;
        }
        Ok(())
    }

    /// Receives the reply. Returns whether it is right, once it is complete. Without an expected
    /// reply, received data is left for the next message, which then is wrong.
    #[inline]
    pub(super) fn receive(&mut self, round: &Round<'_>, index: usize) -> Result<Option<bool>> {
        if !self.peers[index].in_flight {
            return Ok(None);
        }
        let is_right =
            if self.whole { self.receive_whole(round, index)? } else { self.go_on(round, index)? };
        self.peers[index].in_flight = is_right.is_none();
        Ok(is_right)
    }

    /// Sends and receives as much of a message on a stream as is possible.
    #[inline]
    fn go_on(&mut self, round: &Round<'_>, index: usize) -> Result<Option<bool>> {
        loop {
            if self.peers[index].sent < self.size {
                self.send(round, index)?;
            }
            let peer = &mut self.peers[index];
            // No more than the message: surplus bytes make the next message wrong.
            let wanted = self.buffer.len().min(self.size - peer.received);
            let Some(count) = round.receive(index, &mut self.buffer[..wanted])? else {
                return Ok(None);
            };
            if count == 0 {
                return Err(closed());
            }
            let expected = &self.pattern.at(peer.sequence.into(), self.size)[peer.received..];
            peer.wrong |= self.buffer[..count] != expected[..count];
            peer.received += count;
            if peer.received == self.size {
                return Ok(Some(!peer.wrong));
            }
            if count < wanted && peer.sent == self.size {
                return Ok(None);
            }
        }
    }

    /// Receives a whole message, and skips late replies.
    #[inline]
    fn receive_whole(&mut self, round: &Round<'_>, index: usize) -> Result<Option<bool>> {
        let sequence = self.peers[index].sequence;
        let sent = |age| self.pattern.at(sequence.wrapping_sub(age).into(), self.size);
        for _ in 0..=LATE_MAX {
            let Some(count) = round.receive(index, &mut self.buffer)? else {
                return Ok(None);
            };
            if count == 0 && self.size > 0 {
                return Err(closed());
            }
            let message = &self.buffer[..count];
            if message == sent(0) {
                return Ok(Some(true));
            }
            if !(1..=LATE_MAX).any(|age| message == sent(age)) {
                return Ok(Some(false));
            }
        }
        // A server that sends late replies without end is not waited for.
        Ok(None)
    }
}

fn closed() -> Error {
    Error::new(ErrorKind::NoReply, "the server closed the connection")
}
