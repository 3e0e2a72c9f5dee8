//! Receiving: what the kernel's answer means depends on the protocol.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::io::{Errno, retry_on_intr};
use rustix::net::RecvFlags;

use super::{Connection, Protocol};
use crate::server::workspace::Workspace;
use crate::sys::message::receive_packet;

/// What one receive returned.
pub(super) enum Received {
    Nothing,
    /// The kernel had no memory to say.
    Starved,
    End,
    /// So many bytes, and whether there may be more.
    Bytes(usize, bool),
    /// One message, which may be empty.
    Message(usize),
}

impl Connection {
    /// Receives up to `most` bytes into the buffer.
    pub(super) fn receive(
        &mut self,
        most: usize,
        space: &mut Workspace<'_>,
    ) -> io::Result<Received> {
        let buffer = &mut space.buffer[..most];
        match self.protocol {
            Protocol::Tcp | Protocol::OtherStream => {
                let received = retry_on_intr(|| {
                    rustix::net::recv(&self.fd, &mut *buffer, RecvFlags::DONTWAIT)
                });
                let may_be_more = |len| self.protocol != Protocol::Tcp || len == most;
                stream(received.map(|(len, _)| (len, may_be_more(len))))
            }
            Protocol::UnixStream => stream(retry_on_intr(|| receive_unix(self.fd.as_fd(), buffer))),
            Protocol::UnixSeqpacket | Protocol::VsockSeqpacket => self.receive_message(buffer),
        }
    }

    fn receive_message(&self, buffer: &mut [u8]) -> io::Result<Received> {
        let size = buffer.len();
        let packet = loop {
            match receive_packet(self.fd.as_fd(), buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                packet => break packet,
            }
        };
        match packet {
            Ok(packet) if packet.len > size => Err(io::Error::other(format!(
                "a message of {} bytes is longer than the limit of {size}",
                packet.len
            ))),
            Ok(packet) if packet.len > 0 || packet.has_control => Ok(Received::Message(packet.len)),
            Ok(_) => Ok(Received::End),
            Err(error) => nothing(error),
        }
    }
}

fn stream(received: Result<(usize, bool), Errno>) -> io::Result<Received> {
    match received {
        Ok((0, _)) => Ok(Received::End),
        Ok((len, may_be_more)) => Ok(Received::Bytes(len, may_be_more)),
        Err(error) => nothing(error.into()),
    }
}

/// What a receive that failed for now says; otherwise the error again.
fn nothing(error: io::Error) -> io::Result<Received> {
    match error.raw_os_error() {
        Some(libc::EAGAIN) => Ok(Received::Nothing),
        Some(libc::ENOBUFS | libc::ENOMEM) => Ok(Received::Starved),
        _ => Err(error),
    }
}

// Descriptors and credentials that come with the bytes end a receive before the socket is empty.
// There is no room for them here, so the kernel drops them and says so with MSG_CTRUNC.
fn receive_unix(fd: BorrowedFd<'_>, buffer: &mut [u8]) -> Result<(usize, bool), Errno> {
    let size = buffer.len();
    let message = rustix::net::recvmsg(
        fd,
        &mut [io::IoSliceMut::new(buffer)],
        &mut rustix::net::RecvAncillaryBuffer::default(),
        RecvFlags::DONTWAIT,
    )?;
    let stopped_short = message.flags.contains(rustix::net::ReturnFlags::CTRUNC);
    Ok((message.bytes, message.bytes == size || stopped_short))
}
