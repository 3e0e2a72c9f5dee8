//! Receiving: what the kernel's answer means depends on the protocol.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::io::{Errno, retry_on_intr};
use rustix::net::RecvFlags;

use super::{Connection, Protocol};
use crate::server::workspace::Workspace;
use crate::sys::message::receive_packet;

/// What one receive gave.
pub(super) enum Received {
    Nothing,
    End,
    /// So many bytes, and whether there may be more.
    Bytes(usize, bool),
    /// One message, which may be empty.
    Message(usize),
}

impl Connection {
    pub(super) fn receive(&mut self, space: &mut Workspace<'_>) -> io::Result<Received> {
        let stream_size = space.limits.stream_buffer_bytes;
        match self.protocol {
            Protocol::Tcp | Protocol::OtherStream => {
                let buffer = &mut space.buffer[..stream_size];
                let received = retry_on_intr(|| {
                    rustix::net::recv(&self.fd, &mut *buffer, RecvFlags::DONTWAIT)
                });
                let may_be_more = |len| self.protocol != Protocol::Tcp || len == stream_size;
                stream(received.map(|(len, _)| (len, may_be_more(len))))
            }
            Protocol::UnixStream => {
                let buffer = &mut space.buffer[..stream_size];
                stream(retry_on_intr(|| receive_unix(self.fd.as_fd(), buffer)))
            }
            Protocol::UnixSeqpacket | Protocol::VsockSeqpacket => self.receive_message(space),
        }
    }

    fn receive_message(&mut self, space: &mut Workspace<'_>) -> io::Result<Received> {
        let buffer = space.message_buffer();
        let size = buffer.len();
        match receive_packet(self.fd.as_fd(), buffer) {
            Ok(packet) if packet.len > size => Err(io::Error::other(format!(
                "a message of {} bytes is longer than the limit of {size}",
                packet.len
            ))),
            Ok(packet) if packet.len > 0 || packet.has_control => Ok(Received::Message(packet.len)),
            Ok(_) => Ok(Received::End),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(Received::Nothing),
            Err(error) => Err(error),
        }
    }
}

fn stream(received: Result<(usize, bool), Errno>) -> io::Result<Received> {
    match received {
        Ok((0, _)) => Ok(Received::End),
        Ok((len, may_be_more)) => Ok(Received::Bytes(len, may_be_more)),
        Err(Errno::AGAIN) => Ok(Received::Nothing),
        Err(error) => Err(error.into()),
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
