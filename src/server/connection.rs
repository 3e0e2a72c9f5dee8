//! One connection: bytes or messages come back in order, and no more is read than is sent.

mod receive;

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{SendFlags, Shutdown};

use self::receive::Received;
use super::pipe::Pipe;
use super::room;
use super::workspace::Workspace;

/// A connection. An idle one is these few bytes and nothing else.
#[derive(Debug)]
pub(super) struct Connection {
    fd: OwnedFd,
    /// Which inherited socket it came through.
    source: u16,
    protocol: Protocol,
    bulk: Bulk,
    /// Whether it is among those whose turn ended before their work did: it is there only once.
    pub(super) is_ready: bool,
    /// What was received and not yet sent back; only while the peer does not read.
    backlog: Option<Box<Backlog>>,
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

#[derive(Debug)]
enum Backlog {
    Bytes { bytes: Vec<u8>, sent: usize },
    Pipe(Pipe),
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
    /// The peer does not read, or the kernel is short of memory: wait.
    Blocked,
    /// The peer is done and has everything.
    Ended,
    /// The connection is broken.
    Broken(io::Error),
}

impl Connection {
    /// Prepares a connection that was accepted, non-blocking, from the inherited socket `source`.
    pub(super) fn accepted(fd: OwnedFd, source: u16, protocol: Protocol) -> io::Result<Self> {
        Self::prepare(&fd, protocol)?;
        let may_splice = matches!(protocol, Protocol::Tcp | Protocol::UnixStream);
        let bulk = if may_splice { Bulk::Copied(0) } else { Bulk::Never };
        Ok(Self { fd, source, protocol, bulk, is_ready: false, backlog: None })
    }

    /// Prepares a connection that is itself the inherited socket `source`.
    pub(super) fn inherited(fd: OwnedFd, source: u16, protocol: Protocol) -> io::Result<Self> {
        // Splicing waits for a socket that is blocking, as this one may be; the flag is shared
        // with whoever else holds it, so it is not ours to set.
        let waits = !rustix::fs::fcntl_getfl(&fd)?.contains(rustix::fs::OFlags::NONBLOCK);
        let mut connection = Self::accepted(fd, source, protocol)?;
        if waits {
            connection.bulk = Bulk::Never;
        }
        Ok(connection)
    }

    fn prepare(fd: &OwnedFd, protocol: Protocol) -> io::Result<()> {
        if protocol == Protocol::Tcp {
            // An echo of several small messages must not wait for the acknowledgement of the
            // first, which the peer may delay: RFC 1122, section 4.2.3.4.
            rustix::net::sockopt::set_tcp_nodelay(fd, true)?;
        }
        match protocol {
            // The urgent byte is a byte of the stream like any other, in its place: without this
            // the kernel takes it out as soon as a receive reaches it (tcp(7), unix(7)).
            Protocol::Tcp | Protocol::UnixStream => {
                rustix::net::sockopt::set_socket_oobinline(fd, true)?;
            }
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
        if !self.flush(space)? {
            return Ok(Turn::Blocked);
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
            let (len, may_be_more) = match self.receive(space)? {
                Received::Nothing => return Ok(Turn::Idle),
                Received::End => return Ok(Turn::Ended),
                Received::Bytes(len, may_be_more) => (len, may_be_more || is_last_word_unclear),
                Received::Message(len) => (len, true),
            };
            space.trace_receive(self.source(), &self.fd, len);
            self.watch_for_bulk(len == space.limits.stream_buffer_bytes);
            if !self.echo(len, space)? {
                return Ok(Turn::Blocked);
            }
            if !may_be_more {
                return Ok(Turn::Idle);
            }
            // An empty message counts too, or a peer that sends nothing else would keep its turn.
            echoed += len.max(1);
        }
        Ok(Turn::More)
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
            match pipe.fill(self) {
                // This is the end, or an urgent byte that no event has told of yet: a receive can
                // tell the one from the other.
                Ok(0) => {
                    self.bulk = Bulk::Copied(0);
                    break Turn::More;
                }
                Ok(len) => space.trace_receive(self.source(), &self.fd, len),
                Err(Errno::INTR) => continue,
                Err(Errno::AGAIN) => break Turn::Idle,
                Err(Errno::INVAL) => {
                    self.bulk = Bulk::Never;
                    break Turn::More;
                }
                Err(error) => break Turn::Broken(error.into()),
            }
            while !pipe.is_empty() {
                match pipe.drain(self) {
                    Ok(len) => {
                        space.trace_send(self.source(), &self.fd, len);
                        moved += len;
                    }
                    Err(Errno::INTR) => {}
                    Err(error @ (Errno::AGAIN | Errno::NOBUFS)) => {
                        space.is_short_of_memory |= error == Errno::NOBUFS;
                        self.backlog = Some(Box::new(Backlog::Pipe(pipe)));
                        return Turn::Blocked;
                    }
                    Err(error) => {
                        space.pipes.give_back(pipe);
                        return Turn::Broken(error.into());
                    }
                }
            }
            if moved >= space.limits.turn_bytes {
                break Turn::More;
            }
        };
        space.pipes.give_back(pipe);
        if moved < SPLICED_BYTES_MIN && self.bulk == Bulk::Spliced {
            self.bulk = Bulk::Copied(0);
        }
        turn
    }

    /// Sends the first `len` bytes of the buffer back and keeps what the kernel does not take.
    fn echo(&mut self, len: usize, space: &mut Workspace<'_>) -> io::Result<bool> {
        let mut sent = 0;
        while sent < len || len == 0 {
            match rustix::net::send(&self.fd, &space.buffer[sent..len], SEND) {
                Ok(count) => {
                    space.trace_send(self.source(), &self.fd, count);
                    sent += count;
                    if len == 0 {
                        break;
                    }
                }
                Err(Errno::INTR) => {}
                Err(error @ (Errno::AGAIN | Errno::NOBUFS)) => {
                    space.is_short_of_memory |= error == Errno::NOBUFS;
                    let bytes = space.buffer[sent..len].to_vec();
                    self.backlog = Some(Box::new(Backlog::Bytes { bytes, sent: 0 }));
                    return Ok(false);
                }
                Err(Errno::MSGSIZE) if room::make(&self.fd, len) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(true)
    }

    /// Sends what an earlier turn kept. Gives whether there is nothing left of it.
    fn flush(&mut self, space: &mut Workspace<'_>) -> io::Result<bool> {
        let Some(mut backlog) = self.backlog.take() else { return Ok(true) };
        loop {
            let sent = match &mut *backlog {
                Backlog::Bytes { bytes, sent } => {
                    rustix::net::send(&self.fd, &bytes[*sent..], SEND)
                }
                Backlog::Pipe(pipe) => pipe.drain(self),
            };
            match sent {
                Ok(count) => {
                    space.trace_send(self.source(), &self.fd, count);
                    if let Some(rest) = backlog.less(count, space) {
                        backlog = rest;
                    } else {
                        return Ok(true);
                    }
                }
                Err(Errno::INTR) => {}
                Err(error @ (Errno::AGAIN | Errno::NOBUFS)) => {
                    space.is_short_of_memory |= error == Errno::NOBUFS;
                    self.backlog = Some(backlog);
                    return Ok(false);
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Says goodbye: whoever else holds the socket, as a service manager or an inetd may, the peer
    /// sees the end.
    pub(super) fn close(self, space: &mut Workspace<'_>) {
        // A connection that is already broken has nobody to say it to.
        let _ = rustix::net::shutdown(&self.fd, Shutdown::Write);
        if let Some(Backlog::Pipe(pipe)) = self.backlog.map(|backlog| *backlog) {
            space.pipes.give_back(pipe);
        }
    }
}

impl Backlog {
    /// What is left after `count` bytes were sent; a pipe has already taken them off.
    fn less(mut self: Box<Self>, count: usize, space: &mut Workspace<'_>) -> Option<Box<Self>> {
        let is_done = match &mut *self {
            Self::Bytes { bytes, sent } => {
                *sent += count;
                *sent == bytes.len()
            }
            Self::Pipe(pipe) => pipe.is_empty(),
        };
        if !is_done {
            return Some(self);
        }
        if let Self::Pipe(pipe) = *self {
            space.pipes.give_back(pipe);
        }
        None
    }
}

/// Whether the kernel spreads what is sent over time: BBR does.
fn is_paced(fd: &OwnedFd) -> bool {
    rustix::net::sockopt::tcp_congestion(fd).is_ok_and(|name| name.starts_with("bbr"))
}

const SEND: SendFlags = SendFlags::DONTWAIT.union(SendFlags::NOSIGNAL);

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
