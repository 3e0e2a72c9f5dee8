//! Pipes that bulk data goes through without being copied: splice(2).

use std::os::fd::{AsFd, OwnedFd};

use rustix::io::Errno;
use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice};

use super::permits::{Permit, Permits};

/// The size that is asked for, the most that Linux gives without a privilege by default
/// (/proc/sys/fs/pipe-max-size); a smaller one serves as well.
const PIPE_BYTES: usize = 1024 * 1024;

/// An empty pipe, or one with bytes of one connection.
#[derive(Debug)]
pub(super) struct Pipe {
    reader: OwnedFd,
    writer: OwnedFd,
    len: usize,
    /// Dropped with it: the room for another one.
    _permit: Permit,
}

/// The empty pipes of a worker. One that is not given back, because its connection ended with
/// something in it, is closed, and another may be made.
#[derive(Debug)]
pub(super) struct Pipes {
    empty: Vec<Pipe>,
    permits: Permits,
}

impl Pipes {
    pub(super) fn new(most: usize) -> Self {
        Self { empty: Vec::new(), permits: Permits::new(most) }
    }

    /// An empty pipe; `None` if there are enough of them, or no room for one.
    pub(super) fn take(&mut self) -> Option<Pipe> {
        if let Some(pipe) = self.empty.pop() {
            return Some(pipe);
        }
        let permit = self.permits.take()?;
        let (reader, writer) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).ok()?;
        // The kernel may refuse to a user who has many pipes: then it is the default size.
        let _ = fcntl_setpipe_size(&writer, PIPE_BYTES);
        Some(Pipe { reader, writer, len: 0, _permit: permit })
    }

    /// Takes an empty pipe back.
    pub(super) fn give_back(&mut self, pipe: Pipe) {
        debug_assert_eq!(pipe.len, 0, "the next connection would get bytes of this one");
        self.empty.push(pipe);
    }
}

impl Pipe {
    /// Moves what the connection has received into the pipe, at most `most` bytes.
    pub(super) fn fill(&mut self, connection: impl AsFd, most: usize) -> Result<usize, Errno> {
        let flags = SpliceFlags::MOVE | SpliceFlags::NONBLOCK;
        let len = splice(connection, None, &self.writer, None, most, flags)?;
        self.len += len;
        Ok(len)
    }

    /// Moves what is in the pipe to the connection, as far as it takes it. Returns how much that
    /// was: with [`Pipe::len`] it tells whether it was all.
    pub(super) fn drain(&mut self, connection: impl AsFd) -> Result<usize, Errno> {
        let flags = SpliceFlags::MOVE | SpliceFlags::NONBLOCK;
        let len = splice(&self.reader, None, connection, None, self.len, flags)?;
        self.len -= len;
        Ok(len)
    }

    /// How much is in it.
    pub(super) fn len(&self) -> usize {
        self.len
    }
}
