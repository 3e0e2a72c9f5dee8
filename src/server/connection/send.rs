//! Sending: what the kernel does not take now is kept, and nothing more is received until it does.

use std::io;

use rustix::io::Errno;
use rustix::net::SendFlags;

use super::{Connection, Turn};
use crate::server::pipe::Pipe;
use crate::server::send_buffer;
use crate::server::workspace::Workspace;

const SEND: SendFlags = SendFlags::DONTWAIT.union(SendFlags::NOSIGNAL);

/// What was received and not yet sent back.
#[derive(Debug)]
pub(super) enum Backlog {
    Bytes { bytes: Vec<u8>, sent: usize },
    Pipe(Pipe),
}

/// What became of what was to be sent.
pub(super) enum Sent {
    /// The kernel has all of it.
    All,
    /// It has a part, and the rest is kept: so the turn ends.
    Part(Turn),
}

impl Connection {
    /// Sends the first `len` bytes of the buffer back and keeps what the kernel does not take.
    pub(super) fn echo(&mut self, len: usize, space: &mut Workspace<'_>) -> io::Result<Sent> {
        let mut sent = 0;
        while sent < len || len == 0 {
            match rustix::net::send(&self.fd, &space.buffer[sent..len], SEND) {
                Ok(count) => {
                    space.trace_send(self.source(), &self.fd, count);
                    sent += count;
                    if len == 0 {
                        break;
                    }
                }
                Err(Errno::INTR) => {}
                Err(Errno::MSGSIZE) if send_buffer::make_room(&self.fd, len) => {}
                Err(error) => {
                    let turn = not_now(error)?;
                    self.backlog = Some(Box::new(Backlog::copy_of(&space.buffer[sent..len])?));
                    return Ok(Sent::Part(turn));
                }
            }
        }
        Ok(Sent::All)
    }

    /// Sends what an earlier turn kept.
    pub(super) fn flush(&mut self, space: &mut Workspace<'_>) -> io::Result<Sent> {
        let Some(mut backlog) = self.backlog.take() else { return Ok(Sent::All) };
        loop {
            let sent = match &mut *backlog {
                Backlog::Bytes { bytes, sent } => {
                    rustix::net::send(&self.fd, &bytes[*sent..], SEND)
                }
                Backlog::Pipe(pipe) => pipe.drain(&self.fd),
            };
            match sent {
                Ok(count) => {
                    space.trace_send(self.source(), &self.fd, count);
                    backlog.sent(count);
                    if backlog.len() == 0 {
                        if let Backlog::Pipe(pipe) = *backlog {
                            space.pipes.give_back(pipe);
                        }
                        return Ok(Sent::All);
                    }
                }
                Err(Errno::INTR) => {}
                Err(error) => {
                    let turn = not_now(error)?;
                    self.backlog = Some(backlog);
                    return Ok(Sent::Part(turn));
                }
            }
        }
    }
}

impl Backlog {
    /// Keeps the bytes.
    ///
    /// # Errors
    ///
    /// If there is no memory for them: then the connection cannot go on, but the others can.
    fn copy_of(bytes: &[u8]) -> io::Result<Self> {
        let mut copy = Vec::new();
        if copy.try_reserve_exact(bytes.len()).is_err() {
            let len = bytes.len();
            return Err(io::Error::new(
                io::ErrorKind::OutOfMemory,
                format!("no memory for {len} bytes that the peer does not read"),
            ));
        }
        copy.extend_from_slice(bytes);
        Ok(Self::Bytes { bytes: copy, sent: 0 })
    }

    /// Takes note that `count` bytes were sent; a pipe has already taken them off.
    fn sent(&mut self, count: usize) {
        if let Self::Bytes { sent, .. } = self {
            *sent += count;
        }
    }

    /// What is left. An empty message that is kept is sent with the first call.
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Bytes { bytes, sent } => bytes.len() - sent,
            Self::Pipe(pipe) => pipe.len(),
        }
    }
}

/// How the turn ends if a send failed only for now; otherwise the error again.
pub(super) fn not_now(error: Errno) -> io::Result<Turn> {
    match error {
        Errno::AGAIN => Ok(Turn::Blocked),
        Errno::NOBUFS | Errno::NOMEM => Ok(Turn::Waits),
        error => Err(error.into()),
    }
}
