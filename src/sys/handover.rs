//! Parts of an activator that no library wraps safely: descriptors with given numbers, and code
//! that runs between fork(2) and execve(2).

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

use super::checked;

/// Duplicates `fd` to descriptor `number`, which stays open across exec. It closes what was open
/// there, so the caller must not use that number any more.
pub(crate) fn duplicate_to(fd: BorrowedFd<'_>, number: RawFd) -> io::Result<()> {
    // SAFETY: dup2(2) takes no pointers, and the caller gave the number up.
    checked(unsafe { libc::dup2(fd.as_raw_fd(), number) }).map(drop)
}

/// Marks every descriptor from 3 on close-on-exec, so that what this process inherited does not
/// reach the programs that it starts: close_range(2), from Linux 5.11 on.
#[cfg(feature = "cli")]
pub(crate) fn keep_descriptors_to_ourselves() -> io::Result<()> {
    let (first, last) = (3, libc::c_uint::MAX);
    // SAFETY: close_range(2) takes no pointers, and with this flag it closes nothing.
    let result =
        unsafe { libc::syscall(libc::SYS_close_range, first, last, libc::CLOSE_RANGE_CLOEXEC) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Makes the process that `command` starts call `last` before execve(2).
///
/// `last` runs in a copy of this process that has only one thread, so it must not take a lock that
/// another thread may have held. It may only make system calls, allocate and exec.
pub(crate) fn before_exec(
    command: &mut Command,
    last: impl FnMut() -> io::Result<()> + Send + Sync + 'static,
) {
    // SAFETY: fork(2) leaves the allocator usable in the copy (glibc; musl since 1.2.2), and the
    // caller obeys the rule above.
    unsafe { command.pre_exec(last) };
}

/// Restores the default action of `signal`, which an ancestor may have changed: ignored signals are
/// inherited across exec.
#[cfg(feature = "cli")]
pub(crate) fn default_action(signal: libc::c_int) -> io::Result<()> {
    // SAFETY: `SIG_DFL` installs no handler.
    if unsafe { libc::signal(signal, libc::SIG_DFL) } == libc::SIG_ERR {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
