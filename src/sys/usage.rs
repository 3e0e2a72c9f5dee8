//! What this thread has used: getrusage(2).

use std::io;
use std::mem::MaybeUninit;

use super::checked;

/// The involuntary context switches of the calling thread: how often another thread got the
/// processor while this one could run, by preemption or in sched_yield(2). Waiting does not count.
///
/// # Errors
///
/// Those of getrusage(2), if a system call filter refuses it.
pub(crate) fn involuntary_switches() -> io::Result<u64> {
    let mut usage = MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: the pointer is to a value of this function, of the type that the call writes.
    let result = unsafe { libc::getrusage(libc::RUSAGE_THREAD, usage.as_mut_ptr()) };
    checked(result)?;
    // SAFETY: all fields are integers, which were zero before the call.
    let usage = unsafe { usage.assume_init() };
    Ok(usage.ru_nivcsw as u64)
}
