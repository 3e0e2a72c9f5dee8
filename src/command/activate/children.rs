//! Collects the processes that ended.

use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use rustix::io::Errno;
use rustix::process::{Pid, WaitOptions, wait};

use crate::error::{Context, Result};

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
