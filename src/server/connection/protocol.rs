//! What a connection's protocol changes: how it is prepared, and what a receive means.

use std::io;
use std::os::fd::BorrowedFd;

use rustix::io::{Errno, retry_on_intr};
use rustix::net::{RecvFlags, ReturnFlags, sockopt};

use crate::activation::{Family, SocketKind};
use crate::sys::message::receive_packet;

/// How the kernel hands over what a peer sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::server) enum Protocol {
    /// A receive that does not fill the buffer has emptied the socket.
    Tcp,
    /// The same, unless the receive stopped at passed descriptors or credentials.
    UnixStream,
    /// A receive may stop short: the socket is empty when it says so.
    OtherStream,
    /// Message for message. An empty one looks like the end, but for the credentials with it.
    UnixSeqpacket,
    /// Message for message; there are no empty ones.
    VsockSeqpacket,
}

/// What one receive returned.
pub(super) enum Received {
    /// There is nothing now.
    Nothing,
    /// The kernel had no memory to say.
    Starved,
    /// The peer has sent its last byte.
    End,
    /// Bytes, or one message, which may be empty.
    Data { len: usize, may_be_more: bool },
}

impl Protocol {
    /// How the kernel hands over what the peers of such a socket send.
    pub(in crate::server) fn of(kind: &SocketKind) -> Self {
        let is_tcp = kind.protocol == Some(socket2::Protocol::TCP);
        match (kind.family, kind.r#type) {
            (Family::Unix, socket2::Type::SEQPACKET) => Self::UnixSeqpacket,
            (_, socket2::Type::SEQPACKET) => Self::VsockSeqpacket,
            (Family::Unix, _) => Self::UnixStream,
            (Family::Inet | Family::Inet6, _) if is_tcp => Self::Tcp,
            _ => Self::OtherStream,
        }
    }

    pub(super) fn is_stream(self) -> bool {
        !matches!(self, Self::UnixSeqpacket | Self::VsockSeqpacket)
    }

    pub(super) fn is_unix(self) -> bool {
        matches!(self, Self::UnixStream | Self::UnixSeqpacket)
    }

    /// Asks the kernel for what an echo needs.
    ///
    /// # Errors
    ///
    /// Those of setsockopt(2).
    pub(super) fn prepare(self, fd: BorrowedFd<'_>) -> io::Result<()> {
        match self {
            Self::Tcp => {
                // An echo of several small messages must not wait for the acknowledgement of the
                // first, which the peer may delay: RFC 1122, section 4.2.3.4.
                sockopt::set_tcp_nodelay(fd, true)?;
                // The urgent byte is a byte of the stream like any other, in its place: without
                // this the kernel takes it out as soon as a receive reaches it (tcp(7), unix(7)).
                sockopt::set_socket_oobinline(fd, true)?;
            }
            Self::UnixStream => sockopt::set_socket_oobinline(fd, true)?,
            Self::UnixSeqpacket => sockopt::set_socket_passcred(fd, true)?,
            // Multipath TCP delays small messages too; what else there is has no such option.
            Self::OtherStream => {
                let _ = sockopt::set_tcp_nodelay(fd, true);
            }
            Self::VsockSeqpacket => {}
        }
        Ok(())
    }

    /// Receives into the buffer, without waiting.
    pub(super) fn receive(self, fd: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<Received> {
        let size = buffer.len();
        match self {
            Self::Tcp | Self::OtherStream => stream(
                retry_on_intr(|| rustix::net::recv(fd, &mut *buffer, RecvFlags::DONTWAIT))
                    .map(|(len, _)| (len, self != Self::Tcp || len == size)),
            ),
            Self::UnixStream => stream(retry_on_intr(|| receive_unix(fd, buffer))),
            Self::UnixSeqpacket | Self::VsockSeqpacket => message(fd, buffer),
        }
    }
}

fn stream(received: Result<(usize, bool), Errno>) -> io::Result<Received> {
    match received {
        Ok((0, _)) => Ok(Received::End),
        Ok((len, may_be_more)) => Ok(Received::Data { len, may_be_more }),
        Err(error) => not_now(error.into()),
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
    let stopped_short = message.flags.contains(ReturnFlags::CTRUNC);
    Ok((message.bytes, message.bytes == size || stopped_short))
}

fn message(fd: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<Received> {
    let size = buffer.len();
    let packet = loop {
        match receive_packet(fd, buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            packet => break packet,
        }
    };
    match packet {
        Ok(packet) if packet.len > size => Err(io::Error::other(format!(
            "a message of {} bytes is longer than the limit of {size}",
            packet.len
        ))),
        Ok(packet) if packet.len > 0 || packet.has_control => {
            Ok(Received::Data { len: packet.len, may_be_more: true })
        }
        Ok(_) => Ok(Received::End),
        Err(error) => not_now(error),
    }
}

/// What a receive that failed only for now means; otherwise the error again.
fn not_now(error: io::Error) -> io::Result<Received> {
    match error.raw_os_error() {
        Some(libc::EAGAIN) => Ok(Received::Nothing),
        Some(libc::ENOBUFS | libc::ENOMEM) => Ok(Received::Starved),
        _ => Err(error),
    }
}
