//! The service manager's end of `NOTIFY_SOCKET`: sd_notify(3).

use std::ffi::OsStr;
use std::io::{IoSliceMut, Result};
use std::mem::MaybeUninit;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::event::PollFlags;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};

use crate::deadline::Deadline;

/// A message that came: its text, and how many descriptors came with it.
#[derive(Debug)]
pub(super) struct Message {
    pub(super) text: String,
    pub(super) fds: usize,
}

impl Message {
    /// Whether one of its assignments begins like this.
    pub(super) fn has(&self, assignment: &str) -> bool {
        self.text.lines().any(|line| line.starts_with(assignment))
    }
}

/// The socket to which `NOTIFY_SOCKET` points.
pub(super) struct Manager {
    socket: UnixDatagram,
    path: PathBuf,
}

impl Manager {
    pub(super) fn new(path: PathBuf) -> Result<Self> {
        let socket = UnixDatagram::bind(&path)?;
        socket.set_nonblocking(true)?;
        Ok(Self { socket, path })
    }

    /// The variable that tells a program of it.
    pub(super) fn variable(&self) -> (&'static str, &OsStr) {
        ("NOTIFY_SOCKET", Path::as_os_str(&self.path))
    }

    /// The next message; `None` if none comes in time. It closes the descriptors at once, as a
    /// barrier wants it.
    pub(super) fn next(&self, timeout: Duration) -> Option<Message> {
        /// More than systemd takes.
        const MESSAGE_MAX: usize = 8192;
        Deadline::after(timeout).wait(&self.socket, PollFlags::IN).ok()?;
        let mut text = vec![0; MESSAGE_MAX];
        let mut space =
            [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(8), ScmCredentials(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut parts = [IoSliceMut::new(&mut text)];
        let flags = RecvFlags::CMSG_CLOEXEC;
        let got = recvmsg(&self.socket, &mut parts, &mut control, flags).ok()?;
        let fds = control.drain().map(|message| match message {
            RecvAncillaryMessage::ScmRights(fds) => fds.count(),
            _ => 0,
        });
        let fds = fds.sum();
        text.truncate(got.bytes);
        Some(Message { text: String::from_utf8_lossy(&text).into_owned(), fds })
    }
}
