//! Where the replies of a socket go.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::rc::Rc;

use super::routes::{Address, Routes};
use super::run::Reply;
use super::socket::Socket;
use super::unread::Unread;
use super::unsent::{Refusal, Unsent};
use crate::activation::Family;
use crate::address::UnixName;
use crate::server::socket_options;
use crate::sys::control::{self, Received};
use crate::sys::message;

/// Where the replies of one socket go.
#[derive(Debug)]
pub(super) enum Way {
    /// To the peer that the socket is connected to, whatever address the datagram has.
    Peer,
    /// To the source address of the datagram.
    Sender,
    /// To the socket of the user who sent it.
    Unix { routes: Routes, unread: Unread },
}

/// Where a reply goes.
#[derive(Debug)]
pub(super) enum Target {
    Peer,
    Sender,
    /// To a socket that is kept open.
    Socket(Rc<Address>),
}

impl Way {
    pub(super) fn new(socket: &Socket, never_answered: &[UnixName]) -> Self {
        match socket.kind.family {
            _ if socket.is_connected() => Self::Peer,
            Family::Unix => {
                let routes = Routes::new(&socket.kind, never_answered);
                Self::Unix { routes, unread: Unread::default() }
            }
            _ => Self::Sender,
        }
    }

    /// Where to send the reply. For a unix socket, it adds the reply to the user's account;
    /// [`Way::cancel`] removes it again.
    pub(super) fn target(&mut self, socket: &Socket, reply: Reply<'_>) -> Result<Target, Unsent> {
        match self {
            Self::Peer => Ok(Target::Peer),
            Self::Sender => Ok(Target::Sender),
            Self::Unix { routes, unread } => {
                let uid = reply.control.uid;
                let address = routes.find(reply.name, uid)?;
                let admits = unread.admit(socket.as_fd(), uid, reply.data.len());
                if admits { Ok(Target::Socket(address)) } else { Err(Unsent::NotNow) }
            }
        }
    }

    /// Undoes [`Way::target`] for a reply that was not sent.
    pub(super) fn cancel(&mut self, reply: Reply<'_>) {
        if let Self::Unix { unread, .. } = self {
            unread.cancel(reply.control.uid, reply.data.len());
        }
    }

    /// Sends one reply for which no earlier one waits.
    pub(super) fn send(&mut self, socket: &Socket, reply: Reply<'_>) -> Result<(), Unsent> {
        let mut result = self.try_send(socket, reply)?;
        if let (Err(error), Self::Unix { routes, .. }) = (&result, &mut *self) {
            if is_gone(error) {
                // The sender may have bound the name again.
                routes.forget(reply.name);
                result = self.try_send(socket, reply)?;
            }
        }
        result.map_err(|error| {
            if is_not_ready(&error) {
                Unsent::NotNow
            } else {
                Unsent::Refused(Refusal::new(false, error.to_string()))
            }
        })
    }

    fn try_send(&mut self, socket: &Socket, reply: Reply<'_>) -> Result<io::Result<()>, Unsent> {
        let target = self.target(socket, reply)?;
        let name = match &target {
            Target::Peer => &[],
            Target::Sender => reply.name,
            Target::Socket(address) => &address.sockaddr,
        };
        let sent = send_once_or_twice(socket.as_fd(), Reply { name, ..reply });
        if sent.is_err() {
            self.cancel(reply);
        }
        Ok(sent)
    }

    /// Closes descriptors that were not used since the last call. Returns whether any is still
    /// open.
    pub(super) fn release_if_unused(&mut self) -> bool {
        match self {
            Self::Unix { routes, .. } => routes.release_if_unused(),
            Self::Peer | Self::Sender => false,
        }
    }

    /// Whether descriptors are cached that must be closed when they are not used.
    pub(super) fn holds_files(&self) -> bool {
        matches!(self, Self::Unix { routes, .. } if routes.are_open())
    }
}

/// Whether the receiver's socket is gone.
fn is_gone(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ECONNREFUSED | libc::ENOENT))
}

/// Whether the error is only temporary.
fn is_not_ready(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::ENOBUFS | libc::ENOMEM))
}

/// Sends one reply. The error may belong to an earlier reply, because the kernel reports it with
/// the next call (ip(7), `IP_RECVERR`). So the reply is tried twice.
fn send_once_or_twice(fd: BorrowedFd<'_>, reply: Reply<'_>) -> io::Result<()> {
    let mut told = Received { segment_size: None, ..*reply.control };
    let mut tries = 0;
    loop {
        let mut control = [0; control::REPLY_CONTROL_MAX];
        let len = control::write(&mut control, &told);
        let sent = message::send(fd, reply.name, &control[..len], reply.data);
        let Err(error) = sent else { return Ok(()) };
        tries += 1;
        match error.raw_os_error() {
            Some(libc::EINTR) => {}
            _ if is_not_ready(&error) => return Err(error),
            Some(libc::EMSGSIZE) if socket_options::make_room(fd, reply.data.len()) => {}
            _ if tries == 1 => {}
            // An emulated kernel without hop limits in messages.
            Some(libc::EINVAL) if told.hop_limit.is_some() => told.hop_limit = None,
            // The destination was a broadcast or multicast address, and the kernel did not report
            // the local address: it does not on an IPv6 socket for IPv4, or for datagrams from
            // before the option was set. Then the route decides.
            Some(libc::EINVAL | libc::ENETUNREACH) if told.packet_info.is_some() => {
                told.packet_info = None;
            }
            _ => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixDatagram;

    use socket2::SockAddr;

    use super::*;
    use crate::server::shared::ServedSocket;
    use crate::sys::sockaddr;

    /// A reply to a receiver with a full queue is tried again and again.
    #[test]
    fn what_is_not_sent_is_on_nobodys_account() {
        let dir = tempfile::tempdir().expect("a directory");
        let ours = UnixDatagram::bind(dir.path().join("s")).expect("bind");
        let deaf = UnixDatagram::bind(dir.path().join("deaf")).expect("bind");
        let name = SockAddr::unix(dir.path().join("deaf")).expect("a short path");
        let name = sockaddr::to_bytes(&name);
        let socket = Socket::prepare(ServedSocket::first(ours)).expect("it is prepared");
        let mut way = Way::new(&socket, &[]);
        let control =
            Received { uid: Some(rustix::process::geteuid().as_raw()), ..Received::default() };
        let reply = Reply { name: &name, control: &control, data: b"hello" };
        let mut sent = 0;
        while way.send(&socket, reply).is_ok() {
            sent += 1;
        }
        assert!(sent > 0, "the first one has room");
        let booked = |way: &Way| match way {
            Way::Unix { unread, .. } => unread.total(),
            Way::Peer | Way::Sender => 0,
        };
        let before = booked(&way);
        for _ in 0..20 {
            assert!(matches!(way.send(&socket, reply), Err(Unsent::NotNow)));
        }
        assert_eq!(booked(&way), before);
        drop(deaf);
    }
}
