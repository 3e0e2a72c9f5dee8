//! One datagram to a unix socket.

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::io::{Errno, retry_on_intr};
use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix,
    SocketFlags, SocketType, sendmsg_addr, socket_with,
};
use socket2::SockRef;

use crate::address::UnixName;
use crate::deadline::Deadline;

/// The most descriptors that one message carries: `SCM_MAX_FD`, see unix(7).
pub(super) const FDS_MAX: usize = 253;

/// The socket for messages to the manager. It is open from the start, so that a keep-alive needs no
/// free descriptor. It is never connected, so that it reaches a manager that was restarted.
#[derive(Debug)]
pub(super) struct Channel {
    socket: OwnedFd,
    address: SocketAddrUnix,
}

impl Channel {
    pub(super) fn open(name: &UnixName) -> io::Result<Self> {
        let address = match name {
            UnixName::Path(path) => SocketAddrUnix::new(path.as_path())?,
            UnixName::Abstract(name) => SocketAddrUnix::new_abstract_name(name)?,
        };
        Ok(Self { socket: socket()?, address })
    }

    /// Sends a message. Waits for room until the deadline; without one it fails with `EAGAIN` if
    /// the manager's queue is full.
    pub(super) fn send(
        &self,
        text: &str,
        fds: &[BorrowedFd<'_>],
        deadline: Option<Deadline>,
    ) -> io::Result<()> {
        let now = || self.send_by(self.socket.as_fd(), text, fds, SendFlags::DONTWAIT);
        let deadline = match (retry_on_intr(now), deadline) {
            (Err(Errno::AGAIN), Some(deadline)) => deadline,
            (result, _) => return Ok(result?),
        };
        // poll(2) reports room in the receiver's queue only to a connected socket. So the send
        // itself waits, until its `SO_SNDTIMEO`. A socket for this message alone keeps other
        // threads from changing that timeout.
        let socket = socket()?;
        while !deadline.is_over() {
            // A timeout that rounds down to 0 means no limit: socket(7), `SO_SNDTIMEO`.
            let left = deadline.remaining().map(|left| left.max(Duration::from_millis(1)));
            SockRef::from(&socket).set_write_timeout(left)?;
            match self.send_by(socket.as_fd(), text, fds, SendFlags::empty()) {
                Err(Errno::INTR | Errno::AGAIN) => {}
                result => return Ok(result?),
            }
        }
        Err(Errno::AGAIN.into())
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
