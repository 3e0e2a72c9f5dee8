//! How a connection ends so that its peer has everything.

use std::io;
use std::os::fd::AsFd;
use std::time::Instant;

use rustix::net::Shutdown;

use super::protocol::Received;
use super::{Bulk, Connection, Phase, Turn, cost};
use crate::server::workspace::Workspace;
use crate::sys::option;

impl Connection {
    /// The server shuts down: from now on, only what the kernel has already received is echoed.
    pub(in crate::server) fn finish(&mut self, space: &Workspace<'_>) {
        // A family that does not report how much it has received gets one turn.
        let turn = space.limits.round_bytes as u64;
        self.phase = match self.phase {
            Phase::Asked { .. } => Phase::Asked { is_last: true },
            Phase::Answered { .. } => Phase::Answered { is_last: true },
            Phase::Lingering(_) => Phase::Lingering(None),
            _ => Phase::Finishing(rustix::io::ioctl_fionread(&self.fd).unwrap_or(turn)),
        };
        self.bulk = Bulk::Never;
    }

    /// Everything was echoed: sends the end of stream.
    pub(super) fn end(&mut self, space: &mut Workspace<'_>) -> io::Result<Turn> {
        rustix::net::shutdown(&self.fd, Shutdown::Write)?;
        self.phase = Phase::Lingering(match self.phase {
            // The rest of the question may still be on its way.
            Phase::Answered { is_last: false } => {
                Some(Instant::now() + space.limits.drain_time_max)
            }
            _ => None,
        });
        self.linger(space)
    }

    /// Drops what is received until the peer has acknowledged everything.
    pub(super) fn linger(&mut self, space: &mut Workspace<'_>) -> io::Result<Turn> {
        let until = if let Phase::Lingering(until) = self.phase { until } else { None };
        if until.is_some_and(|until| until <= Instant::now()) {
            return Ok(Turn::Ended);
        }
        let mut dropped = 0;
        while dropped < space.turn_bytes {
            match self.receive(space)?.0 {
                Received::End => return Ok(Turn::Ended),
                Received::Nothing if until.is_none() && self.unsent() == 0 => {
                    return Ok(Turn::Ended);
                }
                Received::Nothing | Received::Starved => return Ok(Turn::Waits),
                Received::Data { len, .. } => {
                    if until.is_none() {
                        space.dropped_bytes += len as u64;
                    }
                    dropped += cost(len);
                }
            }
        }
        Ok(Turn::More)
    }

    /// How many bytes a reset would lose now: those not sent, and those that the peer has not
    /// acknowledged.
    pub(in crate::server) fn unsent(&self) -> usize {
        let kept = self.backlog.as_ref().map_or(0, |backlog| backlog.len());
        // A unix peer keeps what is in its queue.
        let is_kept_by_peer = self.protocol.is_unix();
        let sent = if is_kept_by_peer { Ok(0) } else { option::unsent(self.fd.as_fd()) };
        // What was received before a shutdown and is not echoed is lost too.
        let owed = if let Phase::Finishing(owed) = self.phase { owed as usize } else { 0 };
        kept + sent.unwrap_or(0) + owed
    }

    /// Sends the end of stream. The peer sees it even if a service manager or inetd still holds the
    /// socket.
    pub(in crate::server) fn close(self) {
        // This fails if the connection is already broken, and then no peer waits for it.
        let _ = rustix::net::shutdown(&self.fd, Shutdown::Write);
    }
}
