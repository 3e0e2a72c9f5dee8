//! The processes that this one starts: they end with it, and none remains a zombie.

use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitStatus};

use rustix::io::Errno;
use rustix::process::{
    Pid, Signal, WaitOptions, getpid, getppid, set_parent_process_death_signal, wait,
};

use crate::error::{Context, Result};
use crate::sys;

/// Calls `ended` with each process that ended, so that none remains a zombie. For PID 1 of a
/// container, that includes orphans.
pub(super) fn reap(mut ended: impl FnMut(Pid, ExitStatus)) -> Result<()> {
    loop {
        match wait(WaitOptions::NOHANG) {
            Ok(Some((pid, status))) => ended(pid, ExitStatus::from_raw(status.as_raw())),
            Ok(None) | Err(Errno::CHILD) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error).context("wait for ended processes"),
        }
    }
}

/// Makes the process ask for SIGTERM when this one ends, whatever ends it. Otherwise it would go on
/// with sockets that nobody holds any more, and the next activator could not bind their addresses.
pub(super) fn end_with_this_process(command: &mut Command) {
    let parent = getpid();
    sys::handover::before_exec(command, move || {
        set_parent_process_death_signal(Some(Signal::TERM))?;
        // It may have ended before that.
        match getppid() {
            Some(now) if now == parent => Ok(()),
            _ => Err(Errno::SRCH.into()),
        }
    });
}
