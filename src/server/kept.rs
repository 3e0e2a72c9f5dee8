//! What a server has not finished when it stops, for a process that goes on with it.

use std::io;
use std::ops::AddAssign;
use std::os::fd::{AsFd, OwnedFd};

use super::observer::Statistics;
use crate::activation::InheritedSocket;

/// What a server has not finished, for a process that goes on with it:
/// [`Config::keeps_connections`](super::Config::keeps_connections).
///
/// Whoever goes on passes it to [`run`](super::run). If nobody can, a second `run` drains it, as a
/// server without that option does at a shutdown: with [`Ended::datagram_sockets`] as its sockets,
/// without the option, with the same [`Shutdown`](super::Shutdown), which has begun. Dropping it
/// closes the connections, and their peers lose what they are owed.
#[derive(Debug, Default)]
pub struct Kept {
    /// The connections.
    pub connections: Vec<KeptConnection>,
    /// The replies that wait in datagram sockets.
    pub replies: Vec<KeptReplies>,
}

/// A connection in the middle of its life.
#[derive(Debug)]
pub struct KeptConnection {
    /// The socket.
    pub fd: OwnedFd,
    /// What was received and not yet sent back. `None` is nothing; an empty vector is one empty
    /// message of a seqpacket connection. Of such a connection, it is always one whole message.
    pub owed: Option<Vec<u8>>,
}

/// The replies of one datagram socket that wait for receivers that are not ready.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptReplies {
    /// The inode number of the socket (`st_ino` of fstat(2)). It tells which of the inherited
    /// sockets they belong to.
    pub inode: u64,
    /// The replies, encoded. Only a server of the same version reads them: another one refuses them
    /// as a whole, and logs that.
    pub bytes: Vec<u8>,
}

/// How a server ended.
#[derive(Debug, Default)]
pub struct Ended {
    /// What it did.
    pub statistics: Statistics,
    /// What it has not finished; empty unless
    /// [`Config::keeps_connections`](super::Config::keeps_connections).
    pub kept: Kept,
    /// The datagram sockets whose replies are in `kept`. With both, another [`run`](super::run)
    /// sends what this one has left.
    pub datagram_sockets: Vec<InheritedSocket>,
}

impl Kept {
    /// A part for each of the workers. Replies go to the worker that has their socket: number
    /// `index % workers` has `sockets[index]`.
    pub(super) fn deal(self, sockets: &[InheritedSocket], workers: usize) -> Vec<Self> {
        let mut parts: Vec<_> = (0..workers).map(|_| Self::default()).collect();
        for (index, connection) in self.connections.into_iter().enumerate() {
            parts[index % workers].connections.push(connection);
        }
        for replies in self.replies {
            let is_theirs = |socket: &InheritedSocket| {
                inode(&socket.fd).is_ok_and(|inode| inode == replies.inode)
            };
            // The first worker counts those that have lost their socket.
            let index = sockets.iter().position(is_theirs).unwrap_or(0);
            parts[index % workers].replies.push(replies);
        }
        parts
    }
}

impl AddAssign for Ended {
    fn add_assign(&mut self, other: Self) {
        self.statistics += other.statistics;
        self.kept.connections.extend(other.kept.connections);
        self.kept.replies.extend(other.kept.replies);
        self.datagram_sockets.extend(other.datagram_sockets);
    }
}

/// The inode number of an open file.
///
/// # Errors
///
/// Those of fstat(2).
pub(super) fn inode(file: impl AsFd) -> io::Result<u64> {
    Ok(rustix::fs::fstat(file)?.st_ino)
}
