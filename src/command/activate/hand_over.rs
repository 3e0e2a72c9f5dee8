//! Putting the sockets where the command expects them, and becoming the command.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, IntoRawFd, OwnedFd};
use std::os::unix::process::CommandExt;

use rustix::io::FdFlags;

use super::Bound;
use super::target::Target;
use crate::activation::{LISTEN_FDS_START, own_pidfd_id};
use crate::error::{Context, Error, ErrorKind, Result};
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

/// Puts the sockets to descriptors 3, 4, and so on, open across exec. It takes one descriptor more
/// than there are: see [`check_room`].
fn from_three(fds: Vec<OwnedFd>) -> Result<()> {
    let mut fds = VecDeque::from(fds);
    let mut number = LISTEN_FDS_START;
    while let Some(fd) = fds.pop_front() {
        // Whichever of the others has this number moves behind it, so that none is overwritten.
        if let Some(other) = fds.iter_mut().find(|other| other.as_raw_fd() == number) {
            *other = rustix::io::fcntl_dupfd_cloexec(&*other, number + 1)
                .context(format!("move a socket away from fd {number}"))?;
        }
        if fd.as_raw_fd() == number {
            rustix::io::fcntl_setfd(&fd, FdFlags::empty())
                .context(format!("keep fd {number} open across exec"))?;
            // It is the command's from now on.
            let _ = fd.into_raw_fd();
        } else {
            sys::handover::duplicate_to(fd.as_fd(), number)
                .context(format!("duplicate a socket to fd {number}"))?;
        }
        number += 1;
    }
    Ok(())
}

/// Checks that there are descriptors left for what follows the announcement, so that it is the
/// start that fails and not the first client.
pub(super) fn check_room(sockets: &[Bound]) -> Result<()> {
    let Some(socket) = sockets.first() else { return Ok(()) };
    // One for the signals; one for a socket that is on its way to its number, for the connection
    // that is accepted, or for the pidfd.
    let room: io::Result<Vec<_>> = (0..2)
        .map(|_| Ok(rustix::io::fcntl_dupfd_cloexec(&socket.fd, LISTEN_FDS_START)?))
        .collect();
    room.map(drop).map_err(|error| {
        Error::new(ErrorKind::Bind, format!("keep room to hand over {} sockets", sockets.len()))
            .because(error)
            .remedy("raise the descriptor limit: `ulimit -n`, LimitNOFILE=")
    })
}
