//! The end of a connection: its last replies must not be lost with it.

use std::io;
use std::os::fd::AsFd;

use rustix::net::Shutdown;
use socket2::SockRef;

use super::receive::Received;
use super::{Bulk, Connection, Phase, Protocol, Turn};
use crate::server::workspace::Workspace;
use crate::sys::queue;

impl Connection {
    /// The server shuts down: from now on only what the kernel has received by now is echoed.
    pub(in crate::server) fn finish(&mut self, space: &Workspace<'_>) {
        // A family that does not say how much it has received is given one turn.
        let turn = space.limits.turn_bytes as u64;
        self.phase = Phase::Finishing(rustix::io::ioctl_fionread(&self.fd).unwrap_or(turn));
        self.bulk = Bulk::Never;
    }

    /// Everything was sent back, and there will be no more: tells the peer so.
    pub(super) fn say_goodbye(&mut self, space: &mut Workspace<'_>) -> io::Result<Turn> {
        rustix::net::shutdown(&self.fd, Shutdown::Write)?;
        self.phase = Phase::Lingering;
        self.linger(space)
    }

    /// Drops what still comes, until the peer has acknowledged everything.
    pub(super) fn linger(&mut self, space: &mut Workspace<'_>) -> io::Result<Turn> {
        let mut dropped = 0;
        while dropped < space.limits.turn_bytes {
            match self.receive(self.receive_most(space), space)? {
                Received::End => return Ok(Turn::Ended),
                Received::Nothing if self.unsent() == 0 => return Ok(Turn::Ended),
                Received::Nothing | Received::Starved => return Ok(Turn::Waits),
                Received::Bytes(len, _) | Received::Message(len) => {
                    space.dropped_bytes += len as u64;
                    dropped += len.max(1);
                }
            }
        }
        Ok(Turn::More)
    }

    /// How many bytes would be lost if the connection were reset now: those that are not sent, or
    /// that the peer has not acknowledged.
    pub(in crate::server) fn unsent(&self) -> usize {
        let kept = self.backlog.as_ref().map_or(0, |backlog| backlog.len());
        // What a unix peer has in its queue it keeps.
        let is_unix = matches!(self.protocol, Protocol::UnixStream | Protocol::UnixSeqpacket);
        let sent = if is_unix { 0 } else { queue::unsent(self.fd.as_fd()).unwrap_or(0) };
        kept + sent
    }

    /// Says goodbye: whoever else holds the socket, as a service manager or an inetd may, the peer
    /// sees the end.
    pub(in crate::server) fn close(self) {
        // A connection that is already broken has nobody to say it to.
        let _ = rustix::net::shutdown(&self.fd, Shutdown::Write);
    }
}

/// With `SO_LINGER` a close(2) waits for the peer, also on a socket that is non-blocking, or resets
/// the connection (socket(7)). An accepted socket inherits it from its listener.
pub(in crate::server) fn do_not_linger_in_close(fd: impl AsFd) {
    if lingers_in_close(&fd) {
        // It was set, so it can be unset.
        let _ = SockRef::from(&fd).set_linger(None);
    }
}

/// Whether `SO_LINGER` is set.
pub(in crate::server) fn lingers_in_close(fd: impl AsFd) -> bool {
    SockRef::from(&fd).linger().is_ok_and(|time| time.is_some())
}
