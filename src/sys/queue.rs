//! How much of what was sent is still on its way.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use super::checked;

/// `SIOCOUTQ` of tcp(7) and unix(7): bytes that a TCP peer has not acknowledged; for a unix socket
/// the memory of what its peers have not read, which counts against the send buffer.
///
/// # Errors
///
/// Those of ioctl(2): `EINVAL` or `ENOTTY` where the family does not count that.
pub(crate) fn unsent(fd: BorrowedFd<'_>) -> io::Result<usize> {
    let mut bytes: libc::c_int = 0;
    // SAFETY: the number is an int that lives through the call, which writes it.
    checked(unsafe { libc::ioctl(fd.as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes) })?;
    Ok(bytes.max(0) as usize)
}
