//! What a connection has received and cannot send back yet.

use std::io;
use std::os::fd::BorrowedFd;

use rustix::io::Errno;
use rustix::net::SendFlags;

use crate::server::pipe::Pipe;
use crate::server::socket_options;
use crate::server::unread::{Kept, Unread};

const SEND: SendFlags = SendFlags::DONTWAIT.union(SendFlags::NOSIGNAL);

/// What was received and not yet sent back.
#[derive(Debug)]
pub(super) enum Backlog {
    Bytes { bytes: Vec<u8>, sent: usize, _kept: Kept },
    Pipe { pipe: Pipe, _kept: Kept },
}

/// The result of a send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sent {
    /// The kernel has accepted everything.
    All,
    /// The peer does not read. An event tells when it does.
    Blocked,
    /// The kernel lacks memory. No event tells when it has some again.
    Starved,
}

impl Backlog {
    /// Keeps a copy of the bytes.
    ///
    /// # Errors
    ///
    /// There is no memory for them. Only this connection ends.
    pub(super) fn copy_of(bytes: &[u8], unread: &Unread) -> io::Result<Self> {
        let mut copy = room_for(bytes.len())?;
        copy.extend_from_slice(bytes);
        Ok(Self::of_bytes(copy, unread))
    }

    /// Keeps the bytes.
    pub(super) fn of_bytes(bytes: Vec<u8>, unread: &Unread) -> Self {
        let _kept = unread.keep(bytes.len() + size_of::<Self>());
        Self::Bytes { bytes, sent: 0, _kept }
    }

    /// Keeps what is in the pipe.
    pub(super) fn of_pipe(pipe: Pipe, unread: &Unread) -> Self {
        let _kept = unread.keep(pipe.len() + size_of::<Self>());
        Self::Pipe { pipe, _kept }
    }

    /// Sends the rest.
    pub(super) fn send(&mut self, fd: BorrowedFd<'_>) -> io::Result<Sent> {
        match self {
            Self::Bytes { bytes, sent, .. } => send(fd, bytes, sent),
            Self::Pipe { pipe, .. } => drain(fd, pipe),
        }
    }

    /// The rest. It is empty for an empty message.
    ///
    /// # Errors
    ///
    /// There is no memory for the bytes of a pipe; and those of read(2). Then bytes are missing.
    pub(super) fn into_bytes(self) -> io::Result<Vec<u8>> {
        match self {
            Self::Bytes { mut bytes, sent, .. } => {
                bytes.drain(..sent);
                Ok(bytes)
            }
            Self::Pipe { mut pipe, .. } => {
                let mut bytes = room_for(pipe.len())?;
                pipe.read_out(&mut bytes)?;
                Ok(bytes)
            }
        }
    }

    /// The length of the rest in bytes. It is 0 for an empty message.
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Bytes { bytes, sent, .. } => bytes.len() - sent,
            Self::Pipe { pipe, .. } => pipe.len(),
        }
    }
}

fn room_for(len: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if bytes.try_reserve_exact(len).is_err() {
        return Err(io::Error::new(
            io::ErrorKind::OutOfMemory,
            format!("no memory for {len} bytes that the peer does not read"),
        ));
    }
    Ok(bytes)
}

/// Sends `bytes` after the first `sent`, and adds what was sent to `sent`. It sends an empty
/// message too.
pub(super) fn send(fd: BorrowedFd<'_>, bytes: &[u8], sent: &mut usize) -> io::Result<Sent> {
    loop {
        match rustix::net::send(fd, &bytes[*sent..], SEND) {
            Ok(count) => {
                *sent += count;
                if *sent == bytes.len() {
                    return Ok(Sent::All);
                }
            }
            Err(Errno::INTR) => {}
            Err(Errno::MSGSIZE) if socket_options::make_room(fd, bytes.len()) => {}
            Err(error) => return not_now(error),
        }
    }
}

/// Sends the content of the pipe.
pub(super) fn drain(fd: BorrowedFd<'_>, pipe: &mut Pipe) -> io::Result<Sent> {
    while pipe.len() > 0 {
        match pipe.drain(fd) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return not_now(error),
        }
    }
    Ok(Sent::All)
}

/// The meaning of an error that is only temporary; any other error is returned.
fn not_now(error: Errno) -> io::Result<Sent> {
    match error {
        Errno::AGAIN => Ok(Sent::Blocked),
        Errno::NOBUFS | Errno::NOMEM => Ok(Sent::Starved),
        error => Err(error.into()),
    }
}
