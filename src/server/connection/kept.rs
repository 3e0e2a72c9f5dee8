//! A connection that another process goes on with, and one that an earlier process has left.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use super::backlog::Backlog;
use super::{Connection, Protocol};
use crate::activation::{Kind, SocketKind};
use crate::server::kept::KeptConnection;
use crate::server::permits::Permit;
use crate::server::unread::Unread;

impl Connection {
    /// The connection as it is, for another process.
    ///
    /// # Errors
    ///
    /// What it owes its peer could not be read. It is then closed, because it would go on with a
    /// gap.
    pub(in crate::server) fn keep(mut self) -> io::Result<KeptConnection> {
        match self.backlog.take().map(|backlog| backlog.into_bytes()).transpose() {
            Ok(owed) => Ok(KeptConnection { fd: self.fd, owed }),
            Err(error) => {
                self.close();
                Err(error)
            }
        }
    }

    /// A connection that an earlier process has kept, with the number `source` for its name. `None`
    /// if it is none: it is then closed.
    pub(in crate::server) fn kept(
        kept: KeptConnection,
        source: u16,
        permit: Permit,
        unread: &Unread,
    ) -> Option<Self> {
        let KeptConnection { fd, owed } = kept;
        match prepare(&fd) {
            Ok(protocol) => {
                let backlog = owed.map(|bytes| Box::new(Backlog::of_bytes(bytes, unread)));
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

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    use super::*;
    use crate::server::permits::Permits;
    use crate::server::pipe::Pipes;

    #[test]
    fn what_was_sent_is_not_owed_any_more() {
        let (mut peer, ours) = UnixStream::pair().expect("socketpair(2)");
        let bytes: Vec<_> = (0..1_000_000_u32).map(|index| (index % 251) as u8).collect();
        let permit = Permits::new(1).take_beyond();
        let mut connection = Connection::new(ours.into(), 0, Protocol::UnixStream, permit);
        let mut backlog = Backlog::copy_of(&bytes, &Unread::new(0)).expect("memory");
        backlog.send(connection.as_fd()).expect("a part is sent");
        connection.backlog = Some(Box::new(backlog));
        let KeptConnection { fd, owed } = connection.keep().expect("it goes on");
        let owed = owed.expect("the rest");
        assert!((1..bytes.len()).contains(&owed.len()), "{} bytes are owed", owed.len());
        drop(fd);
        let mut received = Vec::new();
        peer.read_to_end(&mut received).expect("receive");
        assert!([received, owed].concat() == bytes);
    }

    #[test]
    fn a_connection_whose_pipe_cannot_be_read_out_ends() {
        for is_whole in [true, false] {
            let (mut peer, ours) = UnixStream::pair().expect("socketpair(2)");
            let mut pipe = Pipes::new(1).take().expect("a pipe");
            peer.write_all(b"hello").expect("send");
            pipe.fill(&ours, 9).expect("splice(2)");
            if !is_whole {
                pipe.lose_a_byte();
            }
            let permit = Permits::new(1).take_beyond();
            let mut connection = Connection::new(ours.into(), 0, Protocol::UnixStream, permit);
            connection.backlog = Some(Box::new(Backlog::of_pipe(pipe, &Unread::new(0))));
            let kept = connection.keep();
            assert_eq!(kept.is_ok(), is_whole);
            if let Ok(kept) = kept {
                assert_eq!(kept.owed.as_deref(), Some(&b"hello"[..]));
            } else {
                assert_eq!(peer.read(&mut [0]).expect("the end"), 0);
            }
        }
    }
}
