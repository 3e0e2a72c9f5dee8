//! A listening socket: accepting, and what to do when that fails.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::SocketFlags;

use super::connection::Protocol;

/// A listening socket, shared with the service manager and the other workers.
#[derive(Debug)]
pub(super) struct Listener<'a> {
    pub(super) fd: BorrowedFd<'a>,
    pub(super) source: u16,
    pub(super) protocol: Protocol,
    /// Whether the event loop waits for it. It does not while a connection could not be held.
    pub(super) is_watched: bool,
    /// Whether it accepts no more, for good.
    pub(super) has_failed: bool,
}

/// What came of one attempt to accept.
pub(super) enum Accepted {
    /// A connection.
    Connection(OwnedFd),
    /// Nobody is waiting.
    Nobody,
    /// The one who was waiting is gone, or never really came; there may be others.
    Gone,
    /// There is no room for a connection now: `EMFILE`, `ENFILE`, `ENOBUFS`, `ENOMEM`.
    NoRoom(io::Error),
    /// The socket accepts no more.
    Failed(io::Error),
}

impl Listener<'_> {
    pub(super) fn accept(&self) -> Accepted {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        match rustix::net::accept_with(self.fd, flags) {
            Ok(fd) => Accepted::Connection(fd),
            Err(Errno::AGAIN) => Accepted::Nobody,
            Err(error @ (Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM)) => {
                Accepted::NoRoom(error.into())
            }
            // accept(2): a connection that is gone again, and the errors of the network that
            // Linux reports for the new connection, are to be treated like EAGAIN.
            Err(
                Errno::INTR
                | Errno::CONNABORTED
                | Errno::PERM
                | Errno::NETDOWN
                | Errno::PROTO
                | Errno::NOPROTOOPT
                | Errno::HOSTDOWN
                | Errno::NONET
                | Errno::HOSTUNREACH
                | Errno::NETUNREACH
                | Errno::TIMEDOUT
                | Errno::CONNRESET,
            ) => Accepted::Gone,
            Err(error) => Accepted::Failed(error.into()),
        }
    }
}

impl AsFd for Listener<'_> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd
    }
}
