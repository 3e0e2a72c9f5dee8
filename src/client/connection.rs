//! A connected socket whose every wait ends at a deadline.

use std::io;
use std::net::Shutdown;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use rustix::event::PollFlags;
use rustix::io::retry_on_intr;
use rustix::net::{RecvFlags, SendFlags};
use socket2::{SockAddr, Socket};

use super::{Deadline, Failure, Symptom};
use crate::address::{Address, Inet, Style};

/// The largest payload of a UDP datagram over IPv4: 65535 bytes less the headers of IP and UDP.
const UDP4_MAX: usize = 65_507;
/// The same over IPv6, whose length field excludes the IP header.
const UDP6_MAX: usize = 65_527;
/// The part of a unix socket's send buffer that the kernel reserves: `unix_dgram_sendmsg` in
/// Linux's net/unix/af_unix.c.
const UNIX_BUFFER_RESERVE: usize = 32;

/// A connected socket, in non-blocking mode.
#[derive(Debug)]
pub struct Connection {
    /// The socket, for options and for callers with their own event loop.
    pub socket: Socket,
    /// The address that was asked for.
    pub address: Address,
    /// How long connect(2) took, with the handshake of `vsock-mux` and without the resolver.
    pub connect_time: Duration,
    /// The address that it is connected to.
    pub(super) target: SockAddr,
    /// The addresses of a host name to try next, if `target` refuses.
    pub(super) untried: Vec<SockAddr>,
}

impl Connection {
    /// Whether it carries bytes, datagrams or messages.
    pub fn style(&self) -> Style {
        self.address.style()
    }

    /// The address as text; a host name is followed by the address that it is connected to.
    pub fn peer(&self) -> String {
        self.address.with_ip(&self.target)
    }

    /// The largest message in bytes that one packet can carry. `None` for a stream, and if only the
    /// peer knows it. For a unix socket it depends on the send buffer.
    pub fn message_max(&self) -> Option<usize> {
        match &self.address {
            Address::Inet(Inet::Udp | Inet::Udplite, ..) => {
                Some(if self.target.is_ipv4() { UDP4_MAX } else { UDP6_MAX })
            }
            Address::Unix(Style::Datagram | Style::Seqpacket, _) => {
                let buffer = self.socket.send_buffer_size().unwrap_or(0);
                Some(buffer.saturating_sub(UNIX_BUFFER_RESERVE))
            }
            _ => None,
        }
    }

    /// Makes room for messages of `size` bytes, if the kernel allows it.
    ///
    /// # Errors
    ///
    /// [`Symptom::TooLarge`] with the limit, if one message cannot carry `size` bytes.
    pub fn reserve(&self, size: usize) -> Result<(), Failure> {
        if matches!(self.address, Address::Unix(Style::Datagram | Style::Seqpacket, _))
            && self.message_max().is_some_and(|max| max < size)
        {
            // The kernel doubles the value. message_max() below shows whether it was accepted. The
            // second call can exceed net.core.wmem_max, and needs CAP_NET_ADMIN.
            let half = size / 2 + UNIX_BUFFER_RESERVE;
            let _ = self.socket.set_send_buffer_size(half);
            if self.message_max().is_some_and(|max| max < size) {
                let _ = rustix::net::sockopt::set_socket_send_buffer_size_force(self, half);
            }
        }
        match self.message_max() {
            Some(max) if max < size => Err(Failure::new(
                Symptom::TooLarge,
                &self.address,
                format!(
                    "send {size} bytes to {}: one message has at most {max} bytes",
                    self.address
                ),
            )),
            _ => Ok(()),
        }
    }

    /// Sends as much of a stream as the kernel accepts at once, or one whole message.
    ///
    /// # Errors
    ///
    /// `WouldBlock` if it accepts nothing, and those of send(2).
    pub fn try_send(&self, bytes: &[u8]) -> io::Result<usize> {
        Ok(retry_on_intr(|| rustix::net::send(self, bytes, SendFlags::NOSIGNAL))?)
    }

    /// Receives the available bytes of a stream, or one message. Returns the message's whole
    /// length, even if that is more than the size of `buffer`.
    ///
    /// # Errors
    ///
    /// `WouldBlock` if nothing is available, and those of recv(2).
    pub fn try_receive(&self, buffer: &mut [u8]) -> io::Result<usize> {
        // On a stream MSG_TRUNC would discard the bytes instead, see tcp(7).
        let flags = match self.style() {
            Style::Stream => RecvFlags::empty(),
            Style::Datagram | Style::Seqpacket => RecvFlags::TRUNC,
        };
        Ok(retry_on_intr(|| rustix::net::recv(self, &mut *buffer, flags))?.1)
    }

    /// Receives bytes of a stream (0: its end), or one message with its whole length.
    ///
    /// # Errors
    ///
    /// `TimedOut` once the deadline has passed, and those of recv(2).
    pub fn receive(&self, buffer: &mut [u8], deadline: Deadline) -> io::Result<usize> {
        loop {
            match self.try_receive(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    deadline.wait(self, PollFlags::IN)?;
                }
                result => return result,
            }
        }
    }

    /// Waits until it can send or receive, then sends what the kernel accepts of `bytes`, if there
    /// are any, and receives what is available. Returns how much was sent and how much was
    /// received, as [`Connection::try_receive`] does. `None` means nothing: neither an empty
    /// message nor the end of a stream.
    ///
    /// A client needs this to send more than the buffers on the way hold: an echo server stops
    /// reading while nobody reads its replies, so a client that sends everything first would wait
    /// for ever.
    ///
    /// # Errors
    ///
    /// `TimedOut` once the deadline has passed, and those of send(2) and recv(2).
    pub fn send_and_receive(
        &self,
        bytes: Option<&[u8]>,
        buffer: &mut [u8],
        deadline: Deadline,
    ) -> io::Result<(Option<usize>, Option<usize>)> {
        let mut events = PollFlags::IN;
        events.set(PollFlags::OUT, bytes.is_some());
        loop {
            let sent = bytes.and_then(|bytes| possible(self.try_send(bytes))).transpose()?;
            let received = possible(self.try_receive(buffer)).transpose()?;
            if sent.is_some() || received.is_some() {
                return Ok((sent, received));
            }
            deadline.wait(self, events)?;
        }
    }

    /// Tells the peer that nothing more will be sent: shutdown(2).
    ///
    /// # Errors
    ///
    /// Those of shutdown(2).
    pub fn half_close(&self) -> io::Result<()> {
        self.socket.shutdown(Shutdown::Write)
    }
}

/// Turns `WouldBlock` into `None`.
fn possible(result: io::Result<usize>) -> Option<io::Result<usize>> {
    let would_block = |error: &io::Error| error.kind() == io::ErrorKind::WouldBlock;
    Some(result).filter(|result| !result.as_ref().is_err_and(would_block))
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
