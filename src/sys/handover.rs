//! What an activator does that no library wraps safely: descriptors of given numbers, and fork(2).

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};

use rustix::process::Pid;

use super::checked;

/// Duplicates `fd` to descriptor `number`, which stays open across exec. What was open there is
/// closed, so the caller is about to exec and no longer uses that number.
pub(crate) fn duplicate_to(fd: BorrowedFd<'_>, number: RawFd) -> io::Result<()> {
    // SAFETY: dup2(2) takes no pointers, and the caller gave the number up.
    checked(unsafe { libc::dup2(fd.as_raw_fd(), number) }).map(drop)
}

/// Starts a copy of this process, which has to have only one thread: `None` in the copy.
pub(crate) fn fork() -> io::Result<Option<Pid>> {
    debug_assert!(std::fs::read_dir("/proc/self/task").is_ok_and(|tasks| tasks.count() == 1));
    // SAFETY: with one thread, no lock can be held by a thread that the copy lacks, so that it may
    // go on like any other process. `activate` and `bench --mode cold` start no threads before.
    checked(unsafe { libc::fork() }).map(Pid::from_raw)
}

/// Restores the default action of `signal`, which an ancestor may have changed: ignored signals are
/// inherited across exec.
pub(crate) fn default_action(signal: libc::c_int) -> io::Result<()> {
    // SAFETY: no handler of this process is replaced by one that could be unsound.
    if unsafe { libc::signal(signal, libc::SIG_DFL) } == libc::SIG_ERR {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
