//! Socket options that are plain integers and that no library names.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use super::checked;

/// setsockopt(2) with an `int`.
pub(crate) fn set(fd: BorrowedFd<'_>, level: i32, name: i32, value: i32) -> io::Result<()> {
    let len = size_of_val(&value) as libc::socklen_t;
    // SAFETY: the value is an int that lives through the call, and its size is given.
    let result =
        unsafe { libc::setsockopt(fd.as_raw_fd(), level, name, (&raw const value).cast(), len) };
    checked(result).map(drop)
}

/// getsockopt(2) of an option that is an `int`.
pub(crate) fn get(fd: BorrowedFd<'_>, level: i32, name: i32) -> io::Result<i32> {
    get_words(fd, level, name).map(|[value]| value)
}

/// getsockopt(2) of an option that is a structure: its first `N` 32-bit words, zero where the
/// kernel's structure has fewer.
pub(super) fn get_words<const N: usize>(
    fd: BorrowedFd<'_>,
    level: i32,
    name: i32,
) -> io::Result<[i32; N]> {
    let mut words = [0; N];
    let mut len = size_of_val(&words) as libc::socklen_t;
    // SAFETY: the array lives through the call, and its size is given.
    let result = unsafe {
        libc::getsockopt(fd.as_raw_fd(), level, name, words.as_mut_ptr().cast(), &raw mut len)
    };
    checked(result).map(|_| words)
}
