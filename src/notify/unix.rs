//! One datagram to a unix socket.

use std::io::{self, IoSlice};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rustix::io::{Errno, retry_on_intr};
use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix,
    SocketFlags, SocketType, sendmsg_addr, sendto, socket_with,
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
    /// Held by the thread whose timeout the socket has.
    waits: Mutex<()>,
}

impl Channel {
    pub(super) fn open(name: &UnixName) -> io::Result<Self> {
        let address = match name {
            UnixName::Path(path) => SocketAddrUnix::new(path.as_path())?,
            UnixName::Abstract(name) => SocketAddrUnix::new_abstract_name(name)?,
        };
        Ok(Self { socket: socket()?, address, waits: Mutex::new(()) })
    }

    /// Sends a message. Waits for room until the deadline; without one it fails with `EAGAIN` if
    /// the manager's queue is full.
    pub(super) fn send(
        &self,
        text: &str,
        fds: &[BorrowedFd<'_>],
        deadline: Option<Deadline>,
    ) -> io::Result<()> {
        let now = || self.send_by(text, fds, SendFlags::DONTWAIT);
        let deadline = match (retry_on_intr(now), deadline) {
            (Err(Errno::AGAIN), Some(deadline)) => deadline,
            (result, _) => return Ok(result?),
        };
        // poll(2) reports room in the receiver's queue only to a connected socket. So the send
        // itself waits, until its `SO_SNDTIMEO`, which is nothing to those that do not wait. It
        // opens no socket for that, because a confined process may not.
        let _turn = self.waits.lock().unwrap_or_else(PoisonError::into_inner);
        while !deadline.is_over() {
            // A timeout that rounds down to 0 means no limit: socket(7), `SO_SNDTIMEO`.
            let left = deadline.remaining().map(|left| left.max(Duration::from_millis(1)));
            SockRef::from(&self.socket).set_write_timeout(left)?;
            match self.send_by(text, fds, SendFlags::empty()) {
                Err(Errno::INTR | Errno::AGAIN) => {}
                result => return Ok(result?),
            }
        }
        Err(Errno::AGAIN.into())
    }

    fn send_by(&self, text: &str, fds: &[BorrowedFd<'_>], flags: SendFlags) -> Result<(), Errno> {
        let flags = flags | SendFlags::NOSIGNAL;
        if fds.is_empty() {
            return sendto(&self.socket, text.as_bytes(), flags, &self.address).map(drop);
        }
        if fds.len() > FDS_MAX {
            return Err(Errno::TOOBIG);
        }
        let mut space =
            vec![std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(fds.len()))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        control.push(SendAncillaryMessage::ScmRights(fds));
        let text = [IoSlice::new(text.as_bytes())];
        sendmsg_addr(&self.socket, &self.address, &text, &mut control, flags).map(drop)
    }
}

fn socket() -> Result<OwnedFd, Errno> {
    socket_with(AddressFamily::UNIX, SocketType::DGRAM, SocketFlags::CLOEXEC, None)
}
