//! Sends over vsock. Each message has its own connection, because the manager outside of the VM
//! reads a message until the end of its connection.

use std::io;
use std::time::Duration;

use rustix::event::PollFlags;
use rustix::io::{Errno, retry_on_intr};
use rustix::net::SendFlags;
use socket2::{Domain, SockAddr, Socket};

use super::socket::VsockTarget;
use crate::address::{Cid, Style};
use crate::deadline::Deadline;

/// The connection of one message, and how much of the message is sent.
#[derive(Debug)]
pub(super) struct Connection {
    target: VsockTarget,
    style: Style,
    /// `None` until `style` was tried.
    socket: Option<Socket>,
    is_established: bool,
    /// How much of the message the kernel has taken.
    sent: usize,
}

impl Connection {
    pub(super) fn new(target: VsockTarget) -> Self {
        let style = target.style.unwrap_or(Style::Datagram);
        Self { target, style, socket: None, is_established: false, sent: 0 }
    }

    /// Connects and sends as much as is possible without waiting.
    fn advance(&mut self, text: &str) -> io::Result<()> {
        while !self.is_established {
            match self.connect() {
                Ok(()) => self.is_established = true,
                Err(error) => {
                    self.style = self.fall_back(&error).ok_or(error)?;
                    self.socket = None;
                }
            }
        }
        let socket = self.socket.as_ref().ok_or(Errno::NOTCONN)?;
        while self.sent < text.len() {
            let rest = &text.as_bytes()[self.sent..];
            self.sent += retry_on_intr(|| rustix::net::send(socket, rest, SendFlags::NOSIGNAL))?;
        }
        Ok(())
    }

    /// Connects and sends until the deadline. Without a deadline it does not wait, and fails with
    /// `EAGAIN` if a part remains.
    pub(super) fn send(&mut self, text: &str, deadline: Option<Deadline>) -> io::Result<()> {
        loop {
            match (self.advance(text), &self.socket, deadline) {
                (Err(error), Some(socket), Some(deadline))
                    if error.kind() == io::ErrorKind::WouldBlock =>
                {
                    deadline.wait(socket, PollFlags::OUT)?;
                }
                (result, ..) => return result,
            }
        }
    }

    /// Starts to connect, or checks the attempt: `EAGAIN` while it is in progress.
    fn connect(&mut self) -> io::Result<()> {
        if let Some(socket) = &self.socket {
            return match Deadline::after(Duration::ZERO).wait(socket, PollFlags::OUT) {
                Ok(_) => socket.take_error()?.map_or(Ok(()), Err),
                Err(error) if error.kind() == io::ErrorKind::TimedOut => Err(Errno::AGAIN.into()),
                Err(error) => Err(error),
            };
        }
        let r#type = self.style.socket_type().cloexec().nonblocking();
        let socket = Socket::new_raw(Domain::VSOCK, r#type, None)?;
        bind_privileged(&socket);
        let result = socket.connect(&SockAddr::vsock(self.target.cid.0, self.target.port));
        self.socket = Some(socket);
        match result {
            Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => {
                Err(Errno::AGAIN.into())
            }
            result => result,
        }
    }

    /// The next socket type to try: QEMU's device has no datagrams, some others have no seqpacket
    /// either, and some transports report that only at connect(2).
    fn fall_back(&self, error: &io::Error) -> Option<Style> {
        let is_lacking = matches!(
            error.raw_os_error(),
            Some(libc::ENODEV | libc::ESOCKTNOSUPPORT | libc::EOPNOTSUPP | libc::EPROTONOSUPPORT)
        );
        match (self.target.style, self.style) {
            (None, Style::Datagram) if is_lacking => Some(Style::Seqpacket),
            (None, Style::Seqpacket) if is_lacking => Some(Style::Stream),
            _ => None,
        }
    }
}

/// A port below 1024 proves to the receiver that a privileged process sends, see systemd(1) on
/// `vmm.notify_socket`. Without the privilege the kernel chooses the port.
fn bind_privileged(socket: &Socket) {
    for port in (1..1024).rev() {
        match socket.bind(&SockAddr::vsock(Cid::ANY.0, port)) {
            Err(error) if error.raw_os_error() == Some(libc::EADDRINUSE) => {}
            _ => return,
        }
    }
}
