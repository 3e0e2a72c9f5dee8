//! One datagram to a unix socket.

use std::io::IoSlice;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix,
    SocketFlags, SocketType, sendmsg_addr, socket_with,
};
use socket2::SockRef;

use super::notifier::errno;
use crate::address::UnixName;
use crate::deadline::Deadline;

/// The most descriptors that one message carries: `SCM_MAX_FD`, see unix(7).
const FDS_MAX: usize = 253;

/// The way to the manager's socket. Open from the start, so that a keep-alive needs no free
/// descriptor, and never connected, so that it reaches a manager that was started anew.
#[derive(Debug)]
pub(super) struct Channel {
    socket: OwnedFd,
    address: SocketAddrUnix,
}

impl Channel {
    pub(super) fn open(name: &UnixName) -> Result<Self, Errno> {
        let address = match name {
            UnixName::Path(path) => SocketAddrUnix::new(path.as_path())?,
            UnixName::Abstract(name) => SocketAddrUnix::new_abstract_name(name)?,
        };
        Ok(Self { socket: socket()?, address })
    }

    /// Sends a message, or fails with `EAGAIN` if the manager's queue is full.
    pub(super) fn try_send(&self, text: &str, fds: &[BorrowedFd<'_>]) -> Result<(), Errno> {
        loop {
            match self.send_by(self.socket.as_fd(), text, fds, SendFlags::DONTWAIT) {
                Err(Errno::INTR) => {}
                result => return result,
            }
        }
    }

    /// Sends a message, after waiting for room until the deadline.
    pub(super) fn send(
        &self,
        text: &str,
        fds: &[BorrowedFd<'_>],
        deadline: Deadline,
    ) -> Result<(), Errno> {
        match self.try_send(text, fds) {
            Err(Errno::AGAIN) => {}
            result => return result,
        }
        // poll(2) tells of room at the other end only to a connected socket: the wait is the
        // call's own, and the send timeout bounds it. A socket for this message alone has it, so
        // that no other thread sets another.
        let socket = socket()?;
        while !deadline.is_over() {
            // Less than the kernel counts would be for ever.
            let left = deadline.remaining().map(|left| left.max(Duration::from_millis(1)));
            SockRef::from(&socket).set_write_timeout(left).map_err(errno)?;
            match self.send_by(socket.as_fd(), text, fds, SendFlags::empty()) {
                Err(Errno::INTR | Errno::AGAIN) => {}
                result => return result,
            }
        }
        Err(Errno::AGAIN)
    }

    fn send_by(
        &self,
        socket: BorrowedFd<'_>,
        text: &str,
        fds: &[BorrowedFd<'_>],
        flags: SendFlags,
    ) -> Result<(), Errno> {
        if fds.len() > FDS_MAX {
            return Err(Errno::TOOBIG);
        }
        let mut space =
            vec![std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(fds.len()))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !fds.is_empty() {
            control.push(SendAncillaryMessage::ScmRights(fds));
        }
        let text = [IoSlice::new(text.as_bytes())];
        let flags = flags | SendFlags::NOSIGNAL;
        sendmsg_addr(socket, &self.address, &text, &mut control, flags).map(drop)
    }
}

fn socket() -> Result<OwnedFd, Errno> {
    socket_with(AddressFamily::UNIX, SocketType::DGRAM, SocketFlags::CLOEXEC, None)
}
