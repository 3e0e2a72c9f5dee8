//! What a connection echoes while nothing more may be kept for peers that do not read.

use std::io;
use std::os::fd::AsFd;

use super::backlog::{self, Backlog, Sent};
use super::protocol::Received;
use super::{Connection, Phase};
use crate::server::workspace::Workspace;

impl Connection {
    /// Receives into the buffer. Returns what, and how much of it may be kept if the peer does not
    /// read: all of it, or nothing. If nothing may be kept, it is still in the kernel's queue, and
    /// [`Connection::pass_on`] follows. A message is received whole, even if it exceeds the share.
    pub(super) fn receive(&self, space: &mut Workspace<'_>) -> io::Result<(Received, bool)> {
        let bytes = space.limits.stream_buffer_bytes.min(space.turn_bytes);
        let most = match self.phase {
            _ if !self.protocol.is_stream() => space.limits.message_bytes_max,
            Phase::Finishing(owed) => bytes.min(usize::try_from(owed).unwrap_or(usize::MAX)),
            _ => bytes,
        };
        let room = space.unread.room(most, size_of::<Backlog>());
        let may_keep = room == most || (room > 0 && self.protocol.is_stream());
        // What is dropped need not be kept.
        if may_keep || matches!(self.phase, Phase::Lingering(_)) {
            let most = if may_keep { room } else { most };
            let received = self.protocol.receive(self.as_fd(), &mut space.buffer[..most]);
            return received.map(|received| (received, true));
        }
        match self.protocol.peek(self.as_fd(), &mut space.buffer[..most]) {
            // Some transports of vsock cannot peek. Such a connection may keep one short receive,
            // or one message, beyond the limit.
            Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => {
                let most = if self.protocol.is_stream() { most.min(SHORT) } else { most };
                let received = self.protocol.receive(self.as_fd(), &mut space.buffer[..most]);
                received.map(|received| (received, true))
            }
            received => received.map(|received| (received, false)),
        }
    }

    /// Sends back as much of the `len` bytes that were peeked into the buffer as the kernel accepts,
    /// and receives as much. The rest stays in the kernel's queue until the peer reads.
    pub(super) fn pass_on(&mut self, len: usize, space: &mut Workspace<'_>) -> io::Result<Sent> {
        let mut sent = 0;
        let outcome = backlog::send(self.as_fd(), &space.buffer[..len], &mut sent)?;
        self.is_unread = outcome != Sent::All;
        // A message is sent whole or not at all.
        if outcome == Sent::All || sent > 0 {
            self.take(sent, space)?;
            self.count(sent, space);
            space.trace_send(self.source(), &self.fd, sent);
        }
        Ok(outcome)
    }

    /// Receives what was peeked, and echoed or answered already.
    pub(super) fn take(&self, len: usize, space: &mut Workspace<'_>) -> io::Result<()> {
        let mut left = len;
        loop {
            match self.protocol.receive(self.as_fd(), &mut space.buffer[..left])? {
                // A receive ends where descriptors came along.
                Received::Data { len, .. } => left -= len,
                // It must not be answered again.
                _ => return Err(io::Error::other("what was answered cannot be received")),
            }
            if left == 0 {
                return Ok(());
            }
        }
    }
}

/// The length of a short receive.
const SHORT: usize = 4096;
