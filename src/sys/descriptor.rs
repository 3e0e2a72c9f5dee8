//! From the number of an inherited file descriptor to its owner.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

/// Takes the ownership of descriptor `number` and marks it close-on-exec; `None` if it is not open.
///
/// The caller takes each number once, before anything else of the process could have opened it.
///
/// # Errors
///
/// Those of fcntl(2) other than `EBADF`.
pub(crate) fn adopt(number: RawFd) -> io::Result<Option<OwnedFd>> {
    if number < 0 {
        return Ok(None);
    }
    // SAFETY: the number is not negative, and the borrow ends before anything can close it.
    let borrowed = unsafe { BorrowedFd::borrow_raw(number) };
    match rustix::io::fcntl_setfd(borrowed, rustix::io::FdFlags::CLOEXEC) {
        Ok(()) => {}
        Err(rustix::io::Errno::BADF) => return Ok(None),
        Err(error) => return Err(error.into()),
    }
    // SAFETY: fcntl(2) just said that it is open, and the activation protocol hands it to this
    // process for good.
    Ok(Some(unsafe { OwnedFd::from_raw_fd(number) }))
}

/// A path that leads to the open file: proc(5), /proc/self/fd.
pub(crate) fn path_in_proc(file: &OwnedFd) -> String {
    format!("/proc/self/fd/{}", file.as_raw_fd())
}
