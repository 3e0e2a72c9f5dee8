//! A connection that another process goes on with, and one that an earlier process has left.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use super::backlog::Backlog;
use super::{Connection, Protocol};
use crate::activation::{Kind, SocketKind};
use crate::server::kept::KeptConnection;
use crate::server::permits::Permit;
use crate::server::workspace::Workspace;

impl Connection {
    /// The connection as it is, for another process; `None` if it cannot go on, because what it
    /// owes its peer could not be read.
    pub(in crate::server) fn keep(mut self, space: &Workspace<'_>) -> Option<KeptConnection> {
        match self.backlog.take().map(|backlog| backlog.into_bytes()).transpose() {
            Ok(owed) => Some(KeptConnection { fd: self.fd, owed }),
            Err(error) => {
                let name = space.name(self.source());
                log::warn!("keep a connection on {name}: {error}; the connection is closed");
                self.close();
                None
            }
        }
    }

    /// A connection that an earlier process has kept, with the number `source` for its name. `None`
    /// if it is none: it is then closed.
    pub(in crate::server) fn kept(
        kept: KeptConnection,
        source: u16,
        permit: Permit,
    ) -> Option<Self> {
        let KeptConnection { fd, owed } = kept;
        match prepare(&fd) {
            Ok(protocol) => {
                let backlog = owed.map(|bytes| Box::new(Backlog::Bytes { bytes, sent: 0 }));
                Some(Self { backlog, ..Self::new(fd, source, protocol, permit) })
            }
            Err(error) => {
                log::warn!("go on with a kept connection: {error}; it is closed");
                None
            }
        }
    }
}

/// Makes a connected socket non-blocking: splice(2) has no flag for that.
fn prepare(fd: &OwnedFd) -> io::Result<Protocol> {
    let kind = SocketKind::of(fd.as_fd())?;
    if !kind.service().is_some_and(|service| service.is_one_connection()) {
        return Err(io::Error::other(format!("it is a {}", Kind::Socket(kind))));
    }
    rustix::io::ioctl_fionbio(fd, true)?;
    Ok(Protocol::of(&kind))
}
