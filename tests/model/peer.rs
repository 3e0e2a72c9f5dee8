//! One peer of the server: its non-blocking socket, and its books.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
};
use socket2::{SockAddr, Socket};

use crate::books::{Books, CHUNK_MAX};
use crate::schedule::Kind;

pub(crate) struct Peer {
    pub(crate) kind: Kind,
    /// Which one of its kind it is in the schedule, unless it is one of a crowd.
    pub(crate) slot: Option<u8>,
    pub(crate) name: String,
    pub(crate) socket: Socket,
    pub(crate) books: Books,
    /// Where a socket that is not connected sends to.
    pub(crate) to: Option<SockAddr>,
    /// The name of a unix datagram socket.
    pub(crate) path: Option<PathBuf>,
    /// Whether it has sent its end.
    pub(crate) is_half_closed: bool,
    /// Whether the server's end has come, and how.
    pub(crate) end: Option<End>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Clean,
    Reset,
}

/// What came of a call that does not wait.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Did {
    Something(usize),
    NotNow,
    /// The connection has ended.
    Ended,
}

impl Peer {
    /// Sends up to `len` bytes, or one message, with a descriptor if there is one.
    pub(crate) fn send(
        &mut self,
        len: usize,
        descriptor: Option<BorrowedFd<'_>>,
    ) -> Result<Did, String> {
        if self.is_half_closed || (self.kind.is_stream() && len == 0) {
            return Ok(Did::NotNow);
        }
        let data = self.books.next(len);
        let sent = match (descriptor, &self.to) {
            (Some(descriptor), _) => self.pass(data, descriptor),
            (None, Some(to)) => self.socket.send_to(data, to),
            (None, None) => self.socket.send(data),
        };
        self.has_sent(sent)
    }

    /// Sends the next byte of a TCP stream as an urgent one.
    pub(crate) fn send_urgent(&mut self) -> Result<Did, String> {
        // Before it is accepted the kernel drops one that another one follows: tcp(7).
        if !self.kind.is_tcp() || self.is_half_closed || self.books.received == 0 {
            return Ok(Did::NotNow);
        }
        let sent = self.socket.send_out_of_band(self.books.next(1));
        self.has_sent(sent)
    }

    fn pass(&self, data: &[u8], descriptor: BorrowedFd<'_>) -> io::Result<usize> {
        let descriptors = [descriptor];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        control.push(SendAncillaryMessage::ScmRights(&descriptors));
        let (data, flags) = ([IoSlice::new(data)], SendFlags::NOSIGNAL);
        let sent = match self.to.as_ref().and_then(SockAddr::as_pathname) {
            Some(path) => {
                let to = rustix::net::SocketAddrUnix::new(path)?;
                rustix::net::sendmsg_addr(&self.socket, &to, &data, &mut control, flags)
            }
            None => rustix::net::sendmsg(&self.socket, &data, &mut control, flags),
        };
        Ok(sent?)
    }

    fn has_sent(&mut self, sent: io::Result<usize>) -> Result<Did, String> {
        match sent {
            Ok(count) => {
                self.books.has_sent(count);
                Ok(Did::Something(count))
            }
            Err(error) => match error.raw_os_error() {
                Some(libc::EAGAIN | libc::ENOBUFS) => Ok(Did::NotNow),
                Some(libc::EPIPE | libc::ECONNRESET) => Ok(Did::Ended),
                _ => Err(format!("{}: send: {error}", self.name)),
            },
        }
    }

    /// Receives up to `most` bytes, or one message, and checks them.
    pub(crate) fn receive(&mut self, most: usize) -> Result<Did, String> {
        let mut buffer = [0; CHUNK_MAX];
        let most = if self.kind.is_stream() { most.clamp(1, CHUNK_MAX) } else { CHUNK_MAX };
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmCredentials(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut data = [IoSliceMut::new(&mut buffer[..most])];
        let flags = RecvFlags::DONTWAIT;
        let count = match rustix::net::recvmsg(&self.socket, &mut data, &mut control, flags) {
            Ok(message) => message.bytes,
            Err(Errno::AGAIN) => return Ok(Did::NotNow),
            Err(Errno::CONNRESET | Errno::PIPE) => {
                // Of messages the kernel reports it before those that are still there.
                let is_news = self.end.replace(End::Reset).is_none();
                let more = is_news && self.kind.is_seqpacket();
                return if more { self.receive(most) } else { Ok(Did::Ended) };
            }
            Err(error) => return Err(format!("{}: receive: {error}", self.name)),
        };
        let has_credentials = control.drain().next().is_some();
        let is_message = !self.kind.is_stream()
            && (self.kind.is_datagram() || self.is_empty_message(has_credentials));
        if count == 0 && !is_message {
            self.end.get_or_insert(End::Clean);
            return Ok(Did::Ended);
        }
        let checked = self.books.has_received(&buffer[..count]);
        checked.map_err(|problem| format!("{}: {problem}", self.name))?;
        Ok(Did::Something(count))
    }

    /// Whether nothing is an empty message, and not the end: it comes with its sender's credentials
    /// if they were asked for. If not, it is taken for the message that is owed.
    fn is_empty_message(&self, has_credentials: bool) -> bool {
        has_credentials || (!self.asks_for_credentials() && self.books.owes_empty_message())
    }

    /// Whether this seqpacket peer sets `SO_PASSCRED`: then its own messages have them too, whether
    /// or not the server has asked for them yet.
    pub(crate) fn asks_for_credentials(&self) -> bool {
        self.kind.is_seqpacket() && self.slot == Some(0)
    }

    /// Receives all that has come.
    pub(crate) fn receive_all(&mut self) -> Result<(), String> {
        while let Did::Something(_) = self.receive(CHUNK_MAX)? {}
        Ok(())
    }

    pub(crate) fn half_close(&mut self) {
        if !self.kind.is_datagram() && !self.is_half_closed {
            self.is_half_closed = true;
            // One that has been reset has no end any more.
            let _ = self.socket.shutdown(std::net::Shutdown::Write);
        }
    }

    /// Closes it such that the server sees a reset.
    pub(crate) fn reset(self) {
        if self.kind.is_tcp() {
            self.socket.set_linger(Some(Duration::ZERO)).expect("SO_LINGER");
        }
    }

    /// Whether a server that goes on owes it nothing.
    pub(crate) fn is_satisfied(&self) -> bool {
        self.books.is_owed_nothing() && (!self.is_half_closed || self.end.is_some())
    }

    pub(crate) fn describe(&self) -> String {
        let end = match self.end {
            Some(end) => format!(", and its end ({end:?})"),
            None if self.is_half_closed => ", and its end has not come".to_owned(),
            None => String::new(),
        };
        format!("{}: {}{end}", self.name, self.books.describe())
    }
}

impl AsFd for Peer {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        if let Some(path) = &self.path {
            let _ = std::fs::remove_file(path);
        }
    }
}
