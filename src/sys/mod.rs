//! The only unsafe code: thin, typed wrappers of the system calls that no library wraps safely.
//!
//! Each block has one call, and the fact that makes it sound. Nothing here makes decisions. Errors
//! are those of the system call, unless a comment says otherwise.

#![allow(unsafe_code, reason = "it is here and nowhere else")]
#![expect(clippy::disallowed_types, reason = "system calls take numbers")]

pub(crate) mod control;
pub(crate) mod descriptor;
pub(crate) mod handover;
#[cfg(feature = "cli")]
pub(crate) mod limit;
pub(crate) mod message;
pub(crate) mod option;
pub(crate) mod signal;
pub(crate) mod sockaddr;
#[cfg(test)]
pub(crate) mod tests;
pub(crate) mod trap;
pub(crate) mod usage;

use std::io;

/// The result of a system call: if it is negative, the error in `errno`.
fn checked<T: PartialOrd + Default>(returned: T) -> io::Result<T> {
    if returned < T::default() { Err(io::Error::last_os_error()) } else { Ok(returned) }
}

/// The `N` bytes from `start` on; `None` if there are fewer. It reads a `sockaddr` and ancillary
/// data, whose lengths the kernel chooses.
pub(crate) fn array_at<const N: usize>(bytes: &[u8], start: usize) -> Option<[u8; N]> {
    bytes.get(start..)?.first_chunk().copied()
}
