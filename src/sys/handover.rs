//! What an activator does that no library wraps safely: descriptors of given numbers, and what is
//! done between fork(2) and execve(2).

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

use super::checked;

/// Duplicates `fd` to descriptor `number`, which stays open across exec. What was open there is
/// closed, so the caller is about to exec and no longer uses that number.
pub(crate) fn duplicate_to(fd: BorrowedFd<'_>, number: RawFd) -> io::Result<()> {
    // SAFETY: dup2(2) takes no pointers, and the caller gave the number up.
    checked(unsafe { libc::dup2(fd.as_raw_fd(), number) }).map(drop)
}

/// Has the process that `command` starts call `last` before its exec.
///
/// `last` runs in a copy of this process that has one thread only, so it takes no lock that another
/// thread may have held: it calls the system, allocates and execs.
pub(crate) fn before_exec(
    command: &mut Command,
    last: impl FnMut() -> io::Result<()> + Send + Sync + 'static,
) {
    // SAFETY: fork(2) leaves the allocator usable in the copy (glibc; musl since 1.2.2), and the
    // caller keeps to what is said above.
    unsafe { command.pre_exec(last) };
}

/// Restores the default action of `signal`, which an ancestor may have changed: ignored signals are
/// inherited across exec.
#[cfg(feature = "cli")]
pub(crate) fn default_action(signal: libc::c_int) -> io::Result<()> {
    // SAFETY: no handler of this process is replaced by one that could be unsound.
    if unsafe { libc::signal(signal, libc::SIG_DFL) } == libc::SIG_ERR {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
