//! What depends on the protocol of a connection: its options, and what a receive means.

use std::io;
use std::os::fd::BorrowedFd;

use rustix::io::{Errno, retry_on_intr};
use rustix::net::{RecvFlags, ReturnFlags, sockopt};

use crate::activation::{Family, SocketKind};
use crate::sys::message::receive_packet;

/// How the kernel delivers what a peer sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::server) enum Protocol {
    /// A receive that does not fill the buffer has emptied the socket.
    Tcp,
    /// The same, except that a receive also stops at passed descriptors or credentials.
    UnixStream,
    /// A receive may stop early. The socket is empty only when it reports that.
    OtherStream,
    /// Each receive returns one message. Only its credentials distinguish an empty one from the
    /// end.
    UnixSeqpacket,
    /// Each receive returns one message. There are no empty ones.
    VsockSeqpacket,
}

/// What one receive returned.
pub(super) enum Received {
    /// Nothing is available now.
    Nothing,
    /// The kernel had no memory for the receive.
    Starved,
    /// The peer has ended its stream.
    End,
    /// Bytes, or one message, which may be empty.
    Data { len: usize, may_be_more: bool },
}

impl Protocol {
    /// How the kernel delivers what the peers of such a socket send.
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

    /// Sets the socket options that an echo needs.
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
                // The urgent byte stays in its place in the stream. Without this, the kernel
                // removes it when a receive reaches it (tcp(7), unix(7)).
                sockopt::set_socket_oobinline(fd, true)?;
            }
            Self::UnixStream => sockopt::set_socket_oobinline(fd, true)?,
            Self::UnixSeqpacket => sockopt::set_socket_passcred(fd, true)?,
            // Multipath TCP delays small messages too. The other protocols do not have the option.
            Self::OtherStream => {
                let _ = sockopt::set_tcp_nodelay(fd, true);
            }
            Self::VsockSeqpacket => {}
        }
        Ok(())
    }

    /// Receives into the buffer, without waiting.
    pub(super) fn receive(self, fd: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<Received> {
        self.receive_with(fd, buffer, RecvFlags::DONTWAIT)
    }

    /// The same, and leaves what it receives in the kernel's queue.
    ///
    /// # Errors
    ///
    /// Those of recvmsg(2): `EOPNOTSUPP` where the family cannot do that.
    pub(super) fn peek(self, fd: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<Received> {
        self.receive_with(fd, buffer, RecvFlags::DONTWAIT | RecvFlags::PEEK)
    }

    fn receive_with(
        self,
        fd: BorrowedFd<'_>,
        buffer: &mut [u8],
        flags: RecvFlags,
    ) -> io::Result<Received> {
        let size = buffer.len();
        match self {
            Self::Tcp | Self::OtherStream => stream(
                retry_on_intr(|| rustix::net::recv(fd, &mut *buffer, flags))
                    .map(|(len, _)| (len, self != Self::Tcp || len == size)),
            ),
            Self::UnixStream => stream(retry_on_intr(|| receive_unix(fd, buffer, flags))),
            Self::UnixSeqpacket | Self::VsockSeqpacket => message(fd, buffer, flags),
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

// Descriptors and credentials end a receive before the socket is empty. There is no room for them
// here, so the kernel drops them and sets MSG_CTRUNC.
fn receive_unix(
    fd: BorrowedFd<'_>,
    buffer: &mut [u8],
    flags: RecvFlags,
) -> Result<(usize, bool), Errno> {
    let size = buffer.len();
    let message = rustix::net::recvmsg(
        fd,
        &mut [io::IoSliceMut::new(buffer)],
        &mut rustix::net::RecvAncillaryBuffer::default(),
        flags,
    )?;
    let stopped_short = message.flags.contains(ReturnFlags::CTRUNC);
    Ok((message.bytes, message.bytes == size || stopped_short))
}

fn message(fd: BorrowedFd<'_>, buffer: &mut [u8], flags: RecvFlags) -> io::Result<Received> {
    let size = buffer.len();
    let packet = loop {
        match receive_packet(fd, buffer, flags.bits() as i32) {
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

/// The meaning of an error that is only temporary; any other error is returned.
fn not_now(error: io::Error) -> io::Result<Received> {
    match error.raw_os_error() {
        Some(libc::EAGAIN) => Ok(Received::Nothing),
        Some(libc::ENOBUFS | libc::ENOMEM) => Ok(Received::Starved),
        _ => Err(error),
    }
}
