//! Puts the sockets where the program expects them, and executes it.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, AsRawFd, IntoRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};

use rustix::io::FdFlags;

use super::bind::Bound;
use super::target::{HandOver, Target};
use crate::activation::{LISTEN_FDS_START, own_pidfd_id};
use crate::error::{Context, Error, Result};
use crate::sys;

impl Target {
    /// Replaces this process by the program, with execve(2). Returns only with an error; by then
    /// the files of the sockets are removed.
    pub fn exec(&self, sockets: Vec<Bound>) -> Error {
        let mut command = self.command(&sockets);
        let (fds, _files): (_, Vec<_>) =
            sockets.into_iter().map(|socket| (socket.fd, socket.file)).unzip();
        self.failed(become_it(&mut command, fds, self.hand_over))
    }

    /// Starts the program in a new process. The sockets stay open in this process too, as in a
    /// service manager. `prepare` may set the standard streams and the working directory; its
    /// changes of the arguments and the environment are ignored.
    ///
    /// # Errors
    ///
    /// The process cannot be started, or the program cannot be executed.
    pub fn spawn(&self, sockets: &[Bound], prepare: impl FnOnce(&mut Command)) -> Result<Child> {
        let mut process = Command::new(&self.program);
        prepare(&mut process);
        let mut command = self.command(sockets);
        let hand_over = self.hand_over;
        // The duplicates take the lowest free numbers. So the pipe through which the standard
        // library reports an error of exec does not have a number that a socket will get.
        let fds: io::Result<VecDeque<_>> = sockets.iter().map(|one| one.fd.try_clone()).collect();
        let mut fds = fds.context(format!("duplicate {} sockets", sockets.len()))?;
        sys::handover::before_exec(&mut process, move || {
            Err(become_it(&mut command, std::mem::take(&mut fds), hand_over))
        });
        process.spawn().map_err(|error| self.failed(error))
    }
}

fn become_it(command: &mut Command, fds: VecDeque<OwnedFd>, hand_over: HandOver) -> io::Error {
    let placed = match hand_over {
        HandOver::ListenFds | HandOver::ListenFdsWithoutNames => {
            command.env("LISTEN_PID", std::process::id().to_string());
            // The number identifies a process only if the kernel has pidfs.
            if let Some(id) = own_pidfd_id() {
                command.env("LISTEN_PIDFDID", id.to_string());
            }
            from_three(fds)
        }
        HandOver::StandardInput => to_standard_input(&fds),
    };
    // As from a service manager, no signal is blocked: execve(2) keeps the mask, which an activator
    // may have changed to wait for signals. The standard library restores SIGPIPE, and only that.
    match placed.and_then(|()| sys::signal::unblock_all()) {
        Ok(()) => command.exec(),
        Err(error) => error,
    }
}

fn to_standard_input(fds: &VecDeque<OwnedFd>) -> io::Result<()> {
    for fd in fds {
        rustix::stdio::dup2_stdin(fd)?;
        rustix::stdio::dup2_stdout(fd)?;
    }
    Ok(())
}

/// Moves the sockets to descriptors 3, 4, and so on, which stay open across exec. It needs one free
/// descriptor.
fn from_three(mut fds: VecDeque<OwnedFd>) -> io::Result<()> {
    let mut number = LISTEN_FDS_START;
    while let Some(fd) = fds.pop_front() {
        // Another socket with this number moves to a higher one first, so that it is not
        // overwritten.
        if let Some(other) = fds.iter_mut().find(|other| other.as_raw_fd() == number) {
            *other = rustix::io::fcntl_dupfd_cloexec(&*other, number + 1)?;
        }
        if fd.as_raw_fd() == number {
            rustix::io::fcntl_setfd(&fd, FdFlags::empty())?;
            // The program owns it from now on.
            let _ = fd.into_raw_fd();
        } else {
            sys::handover::duplicate_to(fd.as_fd(), number)?;
        }
        number += 1;
    }
    Ok(())
}
