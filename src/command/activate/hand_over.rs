//! Putting the sockets where the command expects them, and becoming the command.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;

use super::target::Target;
use crate::activation::{LISTEN_FDS_START, own_pidfd_id};
use crate::error::{Context, Error, Result};
use crate::sys;

/// Replaces this process by the command, with the sockets and their names. Comes back only with
/// the error.
///
/// As one of sd_listen_fds(3), the command finds them from descriptor 3 on, in this order; as one
/// of inetd, it finds the only one on standard input and output.
pub(super) fn exec(
    target: &Target,
    sockets: Vec<(OwnedFd, String)>,
    variables: &[(&str, OsString)],
) -> Error {
    let mut command = target.command();
    for (name, value) in variables {
        command.env(name, value);
    }
    let (fds, names): (Vec<_>, Vec<_>) = sockets.into_iter().unzip();
    let placed = if target.inetd { to_standard_input(&fds) } else { from_three(fds) };
    if let Err(error) = placed {
        return error;
    }
    if !target.inetd {
        command.env("LISTEN_PID", std::process::id().to_string());
        command.env("LISTEN_FDS", names.len().to_string());
        command.env("LISTEN_FDNAMES", names.join(":"));
        // Only where the kernel has a pidfs does the number identify a process.
        if let Some(id) = own_pidfd_id() {
            command.env("LISTEN_PIDFDID", id.to_string());
        }
    }
    // The standard library unblocks the signals and restores SIGPIPE before it execs.
    target.failed(command.exec())
}

fn to_standard_input(fds: &[OwnedFd]) -> Result<()> {
    for fd in fds {
        rustix::stdio::dup2_stdin(fd).context("make the socket standard input")?;
        rustix::stdio::dup2_stdout(fd).context("make the socket standard output")?;
    }
    Ok(())
}

/// Duplicates the sockets to descriptors 3, 4, and so on, open across exec.
fn from_three(fds: Vec<OwnedFd>) -> Result<()> {
    let count = RawFd::try_from(fds.len())
        .map_err(io::Error::other)
        .context(format!("hand over {} sockets", fds.len()))?;
    // First all of them move out of the way, so that none is overwritten by another one.
    let above = fds
        .iter()
        .map(|fd| rustix::io::fcntl_dupfd_cloexec(fd, LISTEN_FDS_START + count))
        .collect::<Result<Vec<_>, _>>()
        .context("duplicate the sockets")?;
    drop(fds);
    for (fd, number) in above.iter().zip(LISTEN_FDS_START..) {
        sys::handover::duplicate_to(fd.as_fd(), number)
            .context(format!("duplicate a socket to fd {number}"))?;
    }
    Ok(())
}
