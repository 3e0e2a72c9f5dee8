//! What the kernel reports about a socket, and about a descriptor known only by its number.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd, RawFd};

use super::option;

/// A duplicate of descriptor `number`, close-on-exec; `None` if it is not open.
///
/// # Errors
///
/// Those of fcntl(2) other than `EBADF`.
pub(crate) fn duplicate(number: RawFd) -> io::Result<Option<OwnedFd>> {
    if number < 0 {
        return Ok(None);
    }
    // SAFETY: the number is not negative, and nothing reads or writes through it: fcntl(2) says
    // whether it is open.
    let borrowed = unsafe { BorrowedFd::borrow_raw(number) };
    match rustix::io::fcntl_dupfd_cloexec(borrowed, 3) {
        Ok(fd) => Ok(Some(fd)),
        Err(rustix::io::Errno::BADF) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// The accept queue of a listening TCP socket.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AcceptQueue {
    /// Connections that wait to be accepted.
    pub(crate) waiting: u32,
    /// How many may wait: the backlog of listen(2), as far as `net.core.somaxconn` lets it.
    pub(crate) backlog: u32,
}

/// `TCP_INFO` of a listening socket, which has the accept queue in the fields that count segments
/// otherwise (Linux's `tcp_get_info`).
pub(crate) fn accept_queue(fd: BorrowedFd<'_>) -> io::Result<AcceptQueue> {
    // The first eight words of `struct tcp_info`, up to `tcpi_unacked` and `tcpi_sacked`.
    let [.., waiting, backlog] = option::get_words::<8>(fd, libc::IPPROTO_TCP, libc::TCP_INFO)?;
    Ok(AcceptQueue { waiting: waiting as u32, backlog: backlog as u32 })
}
