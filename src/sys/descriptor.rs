//! From the number of a file descriptor to its owner.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use rustix::io::{Errno, FdFlags};

/// Takes ownership of descriptor `number` and marks it close-on-exec; `None` if it is not open.
///
/// The caller must take each number only once, and before the process can open another file at it.
///
/// # Errors
///
/// Those of fcntl(2) other than `EBADF`.
pub(crate) fn adopt(number: RawFd) -> io::Result<Option<OwnedFd>> {
    let found = if_open(number, |fd| rustix::io::fcntl_setfd(fd, FdFlags::CLOEXEC))?;
    // SAFETY: fcntl(2) just said that it is open, and the activation protocol hands it to this
    // process for good.
    Ok(found.map(|()| unsafe { OwnedFd::from_raw_fd(number) }))
}

/// A duplicate of descriptor `number`, close-on-exec; `None` if it is not open.
///
/// # Errors
///
/// Those of fcntl(2) other than `EBADF`.
#[cfg(feature = "cli")]
pub(crate) fn duplicate(number: RawFd) -> io::Result<Option<OwnedFd>> {
    if_open(number, |fd| rustix::io::fcntl_dupfd_cloexec(fd, 3))
}

/// What `fcntl`, a call of fcntl(2), answers for descriptor `number`; `None` if it is not open.
fn if_open<T>(
    number: RawFd,
    fcntl: impl FnOnce(BorrowedFd<'_>) -> Result<T, Errno>,
) -> io::Result<Option<T>> {
    if number < 0 {
        return Ok(None);
    }
    // SAFETY: the number is not negative, and nothing reads or writes through it: fcntl(2) says
    // whether it is open.
    let borrowed = unsafe { BorrowedFd::borrow_raw(number) };
    match fcntl(borrowed) {
        Ok(answer) => Ok(Some(answer)),
        Err(Errno::BADF) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// The number of the descriptor, to show it.
#[cfg(feature = "cli")]
pub(crate) fn number(file: impl AsFd) -> RawFd {
    file.as_fd().as_raw_fd()
}

/// A path that leads to the open file: proc(5), /proc/self/fd.
pub(crate) fn path_in_proc(file: impl AsFd) -> String {
    format!("/proc/self/fd/{}", file.as_fd().as_raw_fd())
}
