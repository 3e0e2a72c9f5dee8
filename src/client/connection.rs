//! A socket with a peer, whose every wait ends at a deadline.

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
/// The same over IPv6, whose length field does not count the IP header.
const UDP6_MAX: usize = 65_527;
/// What the kernel keeps of a unix socket's send buffer for itself, see `unix_dgram_sendmsg` in
/// Linux's net/unix/af_unix.c.
const UNIX_BUFFER_RESERVE: usize = 32;

/// A connected socket, in non-blocking mode.
#[derive(Debug)]
pub struct Connection {
    /// The socket, for options and for those who drive it themselves.
    pub socket: Socket,
    /// The address that was asked for.
    pub address: Address,
    /// How long connect(2) took, for `vsock-mux` the handshake included; the resolver is not.
    pub connect_time: Duration,
    /// The one of its addresses that it leads to.
    pub(super) target: SockAddr,
    /// Those that come after it, if that one turns out to refuse.
    pub(super) untried: Vec<SockAddr>,
}

impl Connection {
    /// Bytes, datagrams or messages.
    pub fn style(&self) -> Style {
        self.address.style()
    }

    /// The address in words: where a host name was asked for, with the address that it led to.
    pub fn peer(&self) -> String {
        self.address.with_ip(&self.target)
    }

    /// The largest message that one packet carries; `None` for a stream, and where only the peer
    /// knows it. For a unix socket it depends on the send buffer.
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

    /// Makes room for messages of `size` bytes, as far as the kernel allows.
    ///
    /// # Errors
    ///
    /// [`Symptom::TooLarge`] with the limit, if one message cannot carry as much.
    pub fn reserve(&self, size: usize) -> Result<(), Failure> {
        if matches!(self.address, Address::Unix(Style::Datagram | Style::Seqpacket, _))
            && self.message_max().is_some_and(|max| max < size)
        {
            // The kernel doubles the value. What it refuses is seen in message_max() below; the
            // second call goes beyond net.core.wmem_max and needs CAP_NET_ADMIN.
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

    /// Sends what the kernel takes at once of a stream, or one whole message.
    ///
    /// # Errors
    ///
    /// `WouldBlock` if it takes nothing, and those of send(2).
    pub fn try_send(&self, bytes: &[u8]) -> io::Result<usize> {
        Ok(retry_on_intr(|| rustix::net::send(self, bytes, SendFlags::NOSIGNAL))?)
    }

    /// Receives what is there, or one message. Returns its whole length, even if that is more
    /// than `buffer` takes.
    ///
    /// # Errors
    ///
    /// `WouldBlock` if nothing is there, and those of recv(2).
    pub fn try_receive(&self, buffer: &mut [u8]) -> io::Result<usize> {
        // On a stream MSG_TRUNC would discard the bytes instead, see tcp(7).
        let flags = match self.style() {
            Style::Stream => RecvFlags::empty(),
            Style::Datagram | Style::Seqpacket => RecvFlags::TRUNC,
        };
        Ok(retry_on_intr(|| rustix::net::recv(self, &mut *buffer, flags))?.1)
    }

    /// Receives something of a stream (0: its end), or one message with its whole length.
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

    /// Sends what the kernel takes of `bytes`, if there are any to send, and receives what is
    /// there, after waiting until one of both is possible. Returns how much was sent and how much
    /// was received, as [`Connection::try_receive`] does; `None` is neither an empty message nor
    /// the end of a stream.
    ///
    /// This is how more is sent than the buffers on the way hold: a server that echoes stops
    /// reading when nobody takes its replies, and a client that sent all before it received would
    /// wait for it for ever.
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

    /// Says that nothing more will be sent.
    ///
    /// # Errors
    ///
    /// Those of shutdown(2).
    pub fn half_close(&self) -> io::Result<()> {
        self.socket.shutdown(Shutdown::Write)
    }
}

/// `None` instead of `WouldBlock`.
fn possible(result: io::Result<usize>) -> Option<io::Result<usize>> {
    let would_block = |error: &io::Error| error.kind() == io::ErrorKind::WouldBlock;
    Some(result).filter(|result| !result.as_ref().is_err_and(would_block))
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
