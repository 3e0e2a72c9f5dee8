//! Pipes for bulk data, which splice(2) moves without copying.

use std::os::fd::{AsFd, OwnedFd};

use rustix::buffer::spare_capacity;
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice};

use super::permits::{Permit, Permits};

/// The requested size: by default the most that Linux gives without a privilege
/// (/proc/sys/fs/pipe-max-size). A smaller pipe works too.
const PIPE_BYTES: usize = 1024 * 1024;

/// An empty pipe, or one with bytes of one connection.
#[derive(Debug)]
pub(super) struct Pipe {
    reader: OwnedFd,
    writer: OwnedFd,
    len: usize,
    /// Dropping it makes room for another pipe.
    _permit: Permit,
}

/// The empty pipes of a worker. If a connection ends with data in its pipe, that pipe is closed and
/// another one may be made.
#[derive(Debug)]
pub(super) struct Pipes {
    empty: Vec<Pipe>,
    permits: Permits,
}

impl Pipes {
    pub(super) fn new(most: usize) -> Self {
        Self { empty: Vec::new(), permits: Permits::new(most) }
    }

    /// An empty pipe; `None` at the limit, or if the kernel has no room for one.
    pub(super) fn take(&mut self) -> Option<Pipe> {
        if let Some(pipe) = self.empty.pop() {
            return Some(pipe);
        }
        let permit = self.permits.take()?;
        let (reader, writer) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).ok()?;
        // The kernel may refuse it to a user who has many pipes. The pipe then keeps the default
        // size.
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

    /// Moves data from the pipe to the connection, as much as it accepts. Returns how much that
    /// was; [`Pipe::len`] is the rest.
    pub(super) fn drain(&mut self, connection: impl AsFd) -> Result<usize, Errno> {
        let flags = SpliceFlags::MOVE | SpliceFlags::NONBLOCK;
        let len = splice(&self.reader, None, connection, None, self.len, flags)?;
        self.len -= len;
        Ok(len)
    }

    /// Moves all bytes of the pipe to `bytes`, which has room for them.
    ///
    /// # Errors
    ///
    /// Those of read(2). Some bytes may have been moved.
    pub(super) fn read_out(&mut self, bytes: &mut Vec<u8>) -> Result<(), Errno> {
        while self.len > 0 {
            match rustix::io::read(&self.reader, spare_capacity(bytes)) {
                Ok(len) => self.len -= len,
                Err(Errno::INTR) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Takes out a byte that is not missed.
    #[cfg(test)]
    pub(super) fn lose_a_byte(&mut self) {
        rustix::io::read(&self.reader, &mut [0_u8; 1][..]).expect("read");
    }

    /// How many bytes are in the pipe.
    pub(super) fn len(&self) -> usize {
        self.len
    }
}
