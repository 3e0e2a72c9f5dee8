//! Pipes that bulk data goes through without being copied: splice(2).

use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice};

use super::connection::Connection;

/// The size that is asked for, the most that Linux gives without a privilege by default
/// (/proc/sys/fs/pipe-max-size); a smaller one serves as well.
const PIPE_BYTES: usize = 1024 * 1024;

/// An empty pipe, or one with bytes of one connection.
#[derive(Debug)]
pub(super) struct Pipe {
    reader: OwnedFd,
    writer: OwnedFd,
    len: usize,
}

/// The empty pipes of a worker, lent to whoever has its turn.
#[derive(Debug)]
pub(super) struct Pipes {
    empty: Vec<Pipe>,
    /// How many may still be made.
    left: usize,
}

impl Pipes {
    pub(super) fn new(most: usize) -> Self {
        Self { empty: Vec::new(), left: most }
    }

    /// An empty pipe; `None` if there are enough of them, or no room for one.
    pub(super) fn take(&mut self) -> Option<Pipe> {
        if let Some(pipe) = self.empty.pop() {
            return Some(pipe);
        }
        self.left = self.left.checked_sub(1)?;
        let Ok((reader, writer)) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK) else {
            self.left += 1;
            return None;
        };
        // The kernel may refuse to a user who has many pipes: then it is the default size.
        let _ = fcntl_setpipe_size(&writer, PIPE_BYTES);
        Some(Pipe { reader, writer, len: 0 })
    }

    /// Gives a pipe back. One that is not empty is closed, and another may be made in its place.
    pub(super) fn give_back(&mut self, pipe: Pipe) {
        if pipe.len == 0 {
            self.empty.push(pipe);
        } else {
            self.left += 1;
        }
    }
}

impl Pipe {
    /// Moves what the connection has received into the pipe.
    pub(super) fn fill(&mut self, connection: &Connection) -> Result<usize, Errno> {
        let flags = SpliceFlags::MOVE | SpliceFlags::NONBLOCK;
        let len = splice(connection, None, &self.writer, None, PIPE_BYTES, flags)?;
        self.len += len;
        Ok(len)
    }

    /// Moves what is in the pipe to the connection, as far as it takes it. Gives how much that
    /// was: with [`Pipe::is_empty`] it tells whether it was all.
    pub(super) fn drain(&mut self, connection: &Connection) -> Result<usize, Errno> {
        let flags = SpliceFlags::MOVE | SpliceFlags::NONBLOCK;
        let len = splice(&self.reader, None, connection, None, self.len, flags)?;
        self.len -= len;
        Ok(len)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }
}
