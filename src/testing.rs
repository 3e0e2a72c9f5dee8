//! For unit tests, which share a process.

use std::io;
use std::process::{Command, Output};
use std::sync::{PoisonError, RwLock, RwLockReadGuard};

/// A process that a test starts has copies of the descriptors of all tests. Execve(2) closes them,
/// but not before vfork(2) returns here: until the process has ended, a socket that another test
/// has closed may be open there.
static PROCESSES: RwLock<()> = RwLock::new(());

/// While this is held, no other test has a process: what is closed is gone.
pub(crate) fn without_other_processes() -> RwLockReadGuard<'static, ()> {
    PROCESSES.read().unwrap_or_else(PoisonError::into_inner)
}

/// Runs a command to its end.
pub(crate) fn output(command: &mut Command) -> io::Result<Output> {
    let _guard = PROCESSES.write().unwrap_or_else(PoisonError::into_inner);
    command.output()
}
