//! Hands a socket of the test to a program, without another activator.

use std::os::fd::OwnedFd;
use std::process::Command;

use crate::kit::{clean, program_path};

/// Runs our program with `socket` as fd 3 under the name `echo.socket`. The shell puts it there and
/// then is replaced by the program, so that LISTEN_PID is right.
pub(crate) fn hand_over(socket: impl Into<OwnedFd>, arguments: &[&str]) -> Command {
    let environment = "LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=echo.socket";
    hand_over_with(socket, environment, "", arguments)
}

/// The same with other assignments (`$$` is the program's process id), and with more redirections
/// for the shell, for example `4</dev/null`.
pub(crate) fn hand_over_with(
    socket: impl Into<OwnedFd>,
    environment: &str,
    redirections: &str,
    arguments: &[&str],
) -> Command {
    let mut command = clean("sh");
    let script = format!("exec 3<&0 0</dev/null {redirections}; export {environment}; exec \"$@\"");
    command.args(["-c", &script, "sh", program_path()]).args(arguments).stdin(socket.into());
    command
}
