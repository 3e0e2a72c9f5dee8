//! Termination signals: as a descriptor, for the same poll as the sockets (signalfd(2)), or waited
//! for by a thread (sigwait(3)).

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{FromRawFd, OwnedFd};
use std::ptr;

use super::checked;

/// Blocks `signals` in this thread, and so in those that it starts, and returns a descriptor that
/// is readable once one of them is pending.
pub(crate) fn signalfd(signals: &[libc::c_int]) -> io::Result<OwnedFd> {
    let set = set_of(signals);
    change_mask(libc::SIG_BLOCK, &set)?;
    // SAFETY: the set is initialised; -1 asks for a new descriptor.
    let fd = unsafe { libc::signalfd(-1, &set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) };
    let fd = checked(fd)?;
    // SAFETY: the descriptor is new and nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Blocks `signals` in this thread, and so in those that it starts.
#[cfg(feature = "cli")]
pub(crate) fn block(signals: &[libc::c_int]) -> io::Result<()> {
    change_mask(libc::SIG_BLOCK, &set_of(signals))
}

/// Waits for one of `signals`, which every thread has blocked.
#[cfg(feature = "cli")]
pub(crate) fn wait_for(signals: &[libc::c_int]) -> io::Result<libc::c_int> {
    let mut signal = 0;
    // SAFETY: the set is initialised, and `signal` lives until the call returns.
    match unsafe { libc::sigwait(&set_of(signals), &mut signal) } {
        0 => Ok(signal),
        error => Err(io::Error::from_raw_os_error(error)),
    }
}

/// Blocks no signal any more in this thread. execve(2) keeps the mask, and a program that is
/// started with SIGTERM blocked does not end.
pub(crate) fn unblock_all() -> io::Result<()> {
    change_mask(libc::SIG_SETMASK, &set_of(&[]))
}

fn set_of(signals: &[libc::c_int]) -> libc::sigset_t {
    let mut set = MaybeUninit::uninit();
    // SAFETY: sigemptyset(3) initialises the set that it is given.
    unsafe { libc::sigemptyset(set.as_mut_ptr()) };
    for &signal in signals {
        // SAFETY: the set was initialised above.
        unsafe { libc::sigaddset(set.as_mut_ptr(), signal) };
    }
    // SAFETY: the set was initialised above.
    unsafe { set.assume_init() }
}

fn change_mask(how: libc::c_int, set: &libc::sigset_t) -> io::Result<()> {
    // SAFETY: the set is initialised; no old set is asked for.
    match unsafe { libc::pthread_sigmask(how, set, ptr::null_mut()) } {
        0 => Ok(()),
        error => Err(io::Error::from_raw_os_error(error)),
    }
}
