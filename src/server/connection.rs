//! One connection: bytes or messages come back in order, and no more is read than is sent.

mod ending;
mod receive;
mod send;

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::OFlags;
use rustix::io::Errno;

pub(super) use self::ending::{do_not_linger_in_close, lingers_in_close};
use self::receive::Received;
use self::send::{Backlog, Sent, not_now};
use super::permits::Permit;
use super::pipe::Pipe;
use super::workspace::Workspace;
use crate::activation::{Family, SocketKind};

/// A connection. An idle one is these few bytes and nothing else.
#[derive(Debug)]
pub(super) struct Connection {
    fd: OwnedFd,
    /// Which inherited socket it came through.
    source: u16,
    protocol: Protocol,
    bulk: Bulk,
    phase: Phase,
    /// In which list of connections that no event brings back it is: in one, and only once.
    pub(super) listed: Listed,
    /// Whether the event loop hears of its events.
    pub(super) is_registered: bool,
    /// What was received and not yet sent back; only while the peer does not read.
    backlog: Option<Box<Backlog>>,
    /// Dropped with it: the room for another one.
    _permit: Permit,
}

/// How far a connection is on its way to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Whatever comes is echoed.
    Open,
    /// The server shuts down: so many bytes, which had come before that, are still to be echoed.
    Finishing(u64),
    /// Everything was sent, and our end of it too; what still comes is dropped. Closing a socket
    /// with something unread in it, or before the peer has acknowledged what was sent, would reset
    /// the connection and take the last replies along (RFC 2525, section 2.17).
    Lingering,
}

/// The lists of connections that have something to do which no event tells of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Listed {
    /// In none.
    Nowhere,
    /// Those whose turn ended before their work did.
    Ready,
    /// Those that only time helps.
    Waiting,
}

/// Whether bytes are copied through the worker's buffer or spliced through a pipe.
///
/// Splicing costs two calls more a round and saves both copies: it pays for bulk data over unix
/// streams, and over TCP where the kernel paces the sender (docs/benchmarks.md).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bulk {
    /// They are copied, and so many receives in a row have filled the buffer.
    Copied(u8),
    /// They are spliced.
    Spliced,
    /// They are copied, whatever comes: splicing does not pay, or does not work.
    Never,
}

/// After so many receives that filled the buffer a connection is taken for a bulk transfer.
const FULL_RECEIVES: u8 = 8;
/// A spliced turn that moves less than this was the last one.
const SPLICED_BYTES_MIN: usize = 64 * 1024;

/// How the kernel hands over what a peer sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    /// A receive that does not fill the buffer has emptied the socket.
    Tcp,
    /// The same, unless the receive stopped at passed descriptors or credentials.
    UnixStream,
    /// A receive may stop short: the socket is empty when it says so.
    OtherStream,
    /// Message for message. An empty one looks like the end, but for the credentials with it.
    UnixSeqpacket,
    /// Message for message; there are no empty ones.
    VsockSeqpacket,
}

/// What an event said beside "readable" and "writable".
#[derive(Debug, Clone, Copy)]
pub(super) struct Signs {
    /// The peer has sent its last byte, or the connection is broken: `EPOLLRDHUP`, `EPOLLHUP`,
    /// `EPOLLERR`.
    pub(super) end: bool,
    /// There is urgent data: `EPOLLPRI`.
    pub(super) urgent: bool,
    /// There may be more than the event told of.
    pub(super) unknown: bool,
}

/// How a turn ended.
#[derive(Debug)]
pub(super) enum Turn {
    /// Everything that was received was sent back.
    Idle,
    /// The share of this turn is used up and there is more.
    More,
    /// The peer does not read: an event tells when it does.
    Blocked,
    /// The kernel is short of memory, or has to hear from the peer first: only time tells.
    Waits,
    /// The peer is done and has everything.
    Ended,
    /// The connection is broken.
    Broken(io::Error),
}

impl Connection {
    /// A connection that was accepted, non-blocking, from the inherited socket `source`.
    pub(super) fn new(fd: OwnedFd, source: u16, protocol: Protocol, permit: Permit) -> Self {
        let may_splice = matches!(protocol, Protocol::Tcp | Protocol::UnixStream);
        Self {
            fd,
            source,
            protocol,
            bulk: if may_splice { Bulk::Copied(0) } else { Bulk::Never },
            phase: Phase::Open,
            listed: Listed::Nowhere,
            is_registered: false,
            backlog: None,
            _permit: permit,
        }
    }

    /// A connection that is itself the inherited socket `source`.
    pub(super) fn inherited(fd: OwnedFd, source: u16, protocol: Protocol, permit: Permit) -> Self {
        do_not_linger_in_close(&fd);
        // Splicing waits for a socket that is blocking, as this one may be; the flag is shared
        // with whoever else holds it, so it is not ours to set.
        let is_blocking = |flags: OFlags| !flags.contains(OFlags::NONBLOCK);
        let waits = rustix::fs::fcntl_getfl(&fd).map_or(true, is_blocking);
        let mut connection = Self::new(fd, source, protocol, permit);
        if waits {
            connection.bulk = Bulk::Never;
        }
        connection
    }

    /// Asks the kernel for what an echo needs.
    ///
    /// # Errors
    ///
    /// Those of setsockopt(2).
    pub(super) fn prepare(&self) -> io::Result<()> {
        let fd = &self.fd;
        match self.protocol {
            Protocol::Tcp => {
                // An echo of several small messages must not wait for the acknowledgement of the
                // first, which the peer may delay: RFC 1122, section 4.2.3.4.
                rustix::net::sockopt::set_tcp_nodelay(fd, true)?;
                // The urgent byte is a byte of the stream like any other, in its place: without
                // this the kernel takes it out as soon as a receive reaches it (tcp(7), unix(7)).
                rustix::net::sockopt::set_socket_oobinline(fd, true)?;
            }
            Protocol::UnixStream => rustix::net::sockopt::set_socket_oobinline(fd, true)?,
            Protocol::UnixSeqpacket => rustix::net::sockopt::set_socket_passcred(fd, true)?,
            // Multipath TCP delays small messages too; what else there is has no such option.
            Protocol::OtherStream => {
                let _ = rustix::net::sockopt::set_tcp_nodelay(fd, true);
            }
            Protocol::VsockSeqpacket => {}
        }
        Ok(())
    }

    #[cfg(test)]
    pub(super) fn splice_from_now_on(&mut self) {
        self.bulk = Bulk::Spliced;
    }

    pub(super) fn source(&self) -> usize {
        usize::from(self.source)
    }

    pub(super) fn is_blocked(&self) -> bool {
        self.backlog.is_some()
    }

    /// Echoes until there is nothing left, the peer does not read, or the turn is over.
    pub(super) fn turn(&mut self, signs: Signs, space: &mut Workspace<'_>) -> Turn {
        self.try_turn(signs, space).unwrap_or_else(Turn::Broken)
    }

    fn try_turn(&mut self, signs: Signs, space: &mut Workspace<'_>) -> io::Result<Turn> {
        match self.flush(space)? {
            Sent::All => {}
            Sent::Part(turn) => return Ok(turn),
        }
        if self.phase == Phase::Lingering {
            return self.linger(space);
        }
        if signs.urgent {
            // Splicing stops before the urgent byte and does not come past it.
            self.bulk = Bulk::Never;
        }
        if self.bulk == Bulk::Spliced {
            if let Some(pipe) = space.pipes.take() {
                return Ok(self.splice_turn(pipe, space));
            }
        }
        self.copy_turn(signs, space)
    }

    fn copy_turn(&mut self, signs: Signs, space: &mut Workspace<'_>) -> io::Result<Turn> {
        let is_last_word_unclear = signs.end || signs.urgent || signs.unknown;
        let mut echoed = 0;
        while echoed < space.limits.turn_bytes {
            if self.phase == Phase::Finishing(0) {
                return self.say_goodbye(space);
            }
            let most = self.receive_most(space);
            let (len, may_be_more) = match self.receive(most, space)? {
                Received::Nothing if self.phase != Phase::Open => return self.say_goodbye(space),
                Received::Nothing => return Ok(Turn::Idle),
                Received::Starved => return Ok(Turn::Waits),
                Received::End => return Ok(Turn::Ended),
                Received::Bytes(len, may_be_more) => (len, may_be_more || is_last_word_unclear),
                Received::Message(len) => (len, true),
            };
            space.trace_receive(self.source(), &self.fd, len);
            self.watch_for_bulk(len == space.limits.stream_buffer_bytes);
            if let Phase::Finishing(owed) = &mut self.phase {
                *owed = owed.saturating_sub(len as u64);
            }
            match self.echo(len, space)? {
                Sent::All => {}
                Sent::Part(turn) => return Ok(turn),
            }
            if !may_be_more && self.phase == Phase::Open {
                return Ok(Turn::Idle);
            }
            // An empty message counts too, or a peer that sends nothing else would keep its turn.
            echoed += len.max(1);
        }
        Ok(Turn::More)
    }

    /// How much to receive at once. A message is received whole, whatever else there is.
    fn receive_most(&self, space: &Workspace<'_>) -> usize {
        match self.phase {
            _ if !self.protocol.is_stream() => space.limits.message_bytes_max,
            Phase::Finishing(owed) => {
                let owed = usize::try_from(owed).unwrap_or(usize::MAX);
                space.limits.stream_buffer_bytes.min(owed)
            }
            _ => space.limits.stream_buffer_bytes,
        }
    }

    fn watch_for_bulk(&mut self, is_full: bool) {
        let Bulk::Copied(count) = self.bulk else { return };
        self.bulk = match count + 1 {
            _ if !is_full => Bulk::Copied(0),
            FULL_RECEIVES if self.protocol == Protocol::UnixStream || is_paced(&self.fd) => {
                Bulk::Spliced
            }
            FULL_RECEIVES => Bulk::Never,
            count => Bulk::Copied(count),
        };
    }

    fn splice_turn(&mut self, mut pipe: Pipe, space: &mut Workspace<'_>) -> Turn {
        let mut moved = 0;
        let turn = loop {
            match pipe.fill(&self.fd) {
                // This is the end, or an urgent byte that no event has told of yet: a receive can
                // tell the one from the other.
                Ok(0) => {
                    self.bulk = Bulk::Copied(0);
                    break Turn::More;
                }
                Ok(len) => space.trace_receive(self.source(), &self.fd, len),
                Err(Errno::INTR) => continue,
                Err(Errno::AGAIN) => break Turn::Idle,
                Err(Errno::NOBUFS | Errno::NOMEM) => break Turn::Waits,
                Err(Errno::INVAL) => {
                    self.bulk = Bulk::Never;
                    break Turn::More;
                }
                Err(error) => break Turn::Broken(error.into()),
            }
            while pipe.len() > 0 {
                match pipe.drain(&self.fd) {
                    Ok(len) => {
                        space.trace_send(self.source(), &self.fd, len);
                        moved += len;
                    }
                    Err(Errno::INTR) => {}
                    Err(error) => match not_now(error) {
                        Ok(turn) => {
                            self.backlog = Some(Box::new(Backlog::Pipe(pipe)));
                            return turn;
                        }
                        Err(error) => return Turn::Broken(error),
                    },
                }
            }
            if moved >= space.limits.turn_bytes {
                break Turn::More;
            }
        };
        if pipe.len() == 0 {
            space.pipes.give_back(pipe);
        }
        if moved < SPLICED_BYTES_MIN && self.bulk == Bulk::Spliced {
            self.bulk = Bulk::Copied(0);
        }
        turn
    }
}

impl Protocol {
    /// How the kernel hands over what the peers of such a socket send.
    pub(super) fn of(kind: &SocketKind) -> Self {
        let is_tcp = kind.protocol == Some(socket2::Protocol::TCP);
        match (kind.family, kind.r#type) {
            (Family::Unix, socket2::Type::SEQPACKET) => Self::UnixSeqpacket,
            (_, socket2::Type::SEQPACKET) => Self::VsockSeqpacket,
            (Family::Unix, _) => Self::UnixStream,
            (Family::Inet | Family::Inet6, _) if is_tcp => Self::Tcp,
            _ => Self::OtherStream,
        }
    }

    fn is_stream(self) -> bool {
        !matches!(self, Self::UnixSeqpacket | Self::VsockSeqpacket)
    }
}

/// Whether the kernel spreads what is sent over time: BBR does.
fn is_paced(fd: &OwnedFd) -> bool {
    rustix::net::sockopt::tcp_congestion(fd).is_ok_and(|name| name.starts_with("bbr"))
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
