//! What an inherited file descriptor is, as the kernel reports it.

use std::fmt;
use std::io;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use rustix::event::PollFlags;
use rustix::fs::FileType;
use socket2::{Protocol, SockRef, Type};

pub use crate::address::Family;
use crate::address::{self, Address, Host};
use crate::deadline::Deadline;

/// What a file descriptor is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A socket of any family.
    Socket(SocketKind),
    /// Another kind of file.
    File(FileKind),
    /// The number is not open in this process.
    Closed,
}

/// What a socket is: the answers of `SO_DOMAIN`, `SO_TYPE`, `SO_PROTOCOL`, `SO_ACCEPTCONN`,
/// getsockname(2), getpeername(2) and `IPV6_V6ONLY`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SocketKind {
    /// The address family.
    pub family: Family,
    /// The socket type: `SOCK_STREAM`, `SOCK_DGRAM`, `SOCK_SEQPACKET` or another.
    pub r#type: Type,
    /// The protocol; `None` where the family has just one.
    pub protocol: Option<Protocol>,
    /// Listening, connected or neither.
    pub role: Role,
    /// The local address; `None` for an unnamed unix socket, and for a kind that the address
    /// grammar does not have.
    pub local: Option<Address>,
    /// The peer's address, if the socket is connected to a named one.
    pub peer: Option<Address>,
    /// For IPv6: whether `IPV6_V6ONLY` excludes IPv4. `None` for every other family.
    pub v6only: Option<bool>,
}

/// Whether a socket listens or has a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// It accepts connections.
    Listening,
    /// It has a peer, or had one that has since reset the connection.
    Connected,
    /// It has no peer. This is the usual state of a datagram socket.
    Unconnected,
}

/// What a file descriptor that is not a socket is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileKind {
    /// A FIFO or pipe.
    Fifo,
    /// A POSIX message queue.
    MessageQueue,
    /// An endpoint of a USB gadget, FunctionFS.
    UsbFunction,
    /// A character device.
    CharacterDevice,
    /// A block device.
    BlockDevice,
    /// A regular file.
    RegularFile,
    /// A directory.
    Directory,
    /// An anonymous inode (epoll, eventfd, pidfd, …) or anything else.
    Other,
}

/// What a daemon does with a socket, by its type and role.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Service {
    /// Accept connections. Each carries a sequence of bytes.
    StreamListener,
    /// Accept connections. Each carries messages and keeps their boundaries.
    SeqpacketListener,
    /// Receive messages from any peer. A reply names the peer that it goes to.
    Datagram,
    /// Use the one connection, which is already accepted; it carries a sequence of bytes.
    StreamConnection,
    /// Use the one connection, which is already accepted; it carries messages and keeps their
    /// boundaries.
    SeqpacketConnection,
}

/// `MQUEUE_MAGIC`, as fstatfs(2) reports a message queue's file system.
const MQUEUE_MAGIC: i64 = 0x1980_0202;
/// `FUNCTIONFS_MAGIC`, of Linux's drivers/usb/gadget/function/f_fs.c.
const FUNCTIONFS_MAGIC: i64 = 0xa64_7361;

impl Kind {
    /// Asks the kernel what `fd` is.
    ///
    /// # Errors
    ///
    /// Those of fstat(2), fstatfs(2) and getsockopt(2).
    pub fn of(fd: BorrowedFd<'_>) -> io::Result<Self> {
        // Most descriptors are sockets, so ask that first. The file type tells why one is not a
        // socket.
        let socket = SocketKind::of(fd).map(Self::Socket);
        if socket.is_ok() {
            return socket;
        }
        let stat = rustix::fs::fstat(fd)?;
        let file = match FileType::from_raw_mode(stat.st_mode) {
            FileType::Socket => return socket,
            FileType::Fifo => FileKind::Fifo,
            FileType::CharacterDevice => FileKind::CharacterDevice,
            FileType::BlockDevice => FileKind::BlockDevice,
            FileType::Directory => FileKind::Directory,
            FileType::RegularFile => match file_system(fd)? {
                MQUEUE_MAGIC => FileKind::MessageQueue,
                FUNCTIONFS_MAGIC => FileKind::UsbFunction,
                _ => FileKind::RegularFile,
            },
            _ => FileKind::Other,
        };
        Ok(Self::File(file))
    }

    /// What a daemon does with it; `None` if a daemon can take neither connections nor messages
    /// from it.
    pub fn service(&self) -> Option<Service> {
        match self {
            Self::Socket(socket) => socket.service(),
            Self::File(_) | Self::Closed => None,
        }
    }
}

#[allow(clippy::useless_conversion, reason = "the field has 32 bits on s390x and 32-bit targets")]
pub(super) fn file_system(fd: BorrowedFd<'_>) -> io::Result<i64> {
    Ok(i64::from(rustix::fs::fstatfs(fd)?.f_type))
}

impl SocketKind {
    /// Asks the kernel what the socket `fd` is.
    ///
    /// # Errors
    ///
    /// Those of getsockopt(2).
    pub fn of(fd: BorrowedFd<'_>) -> io::Result<Self> {
        let socket = SockRef::from(&fd);
        let family = Family::from(socket.domain()?);
        let (r#type, protocol) = (socket.r#type()?, socket.protocol()?);
        let address = |addr| Address::from_sockaddr(&addr, r#type, protocol);
        let is_listener = socket.is_listener()?;
        let peer = if is_listener { None } else { socket.peer_addr().ok() };
        let role = if is_listener {
            Role::Listening
        } else if peer.is_some() || (r#type == Type::STREAM && was_connected(fd)) {
            Role::Connected
        } else {
            Role::Unconnected
        };
        Ok(Self {
            family,
            r#type,
            protocol,
            role,
            local: socket.local_addr().ok().and_then(address),
            peer: peer.and_then(address),
            v6only: if family == Family::Inet6 { socket.only_v6().ok() } else { None },
        })
    }

    /// What a daemon does with the socket; `None` if a daemon cannot use it.
    pub fn service(&self) -> Option<Service> {
        let kind = address::Kind::of_socket(self.family, self.r#type, self.protocol);
        match (self.r#type, self.role) {
            _ if !self.family.is_known() => None,
            _ if kind.is_some_and(|kind| !kind.has_connections()) => Some(Service::Datagram),
            // A stream or seqpacket socket may have any protocol. The protocol of a datagram socket
            // must be in the table: an ICMP socket (icmp(7)), for example, cannot send what it
            // received.
            (Type::STREAM, Role::Listening) => Some(Service::StreamListener),
            (Type::STREAM, Role::Connected) => Some(Service::StreamConnection),
            (Type::SEQPACKET, Role::Listening) => Some(Service::SeqpacketListener),
            (Type::SEQPACKET, Role::Connected) => Some(Service::SeqpacketConnection),
            _ => None,
        }
    }

    /// Whether it is an IP socket bound to the wildcard address. Each reply from it must name its
    /// source address.
    pub fn is_wildcard(&self) -> bool {
        match &self.local {
            Some(Address::Inet(_, Host::V4(ip), _)) => ip.is_unspecified(),
            Some(Address::Inet(_, Host::V6(ip, _), _)) => ip.is_unspecified(),
            _ => false,
        }
    }
}

/// Whether a stream socket without a peer had one before: a reset shuts down both directions, which
/// poll(2) reports as `POLLRDHUP`; a socket that was never connected lacks it. The client of an
/// `Accept=yes` service may be gone before the service starts.
fn was_connected(fd: BorrowedFd<'_>) -> bool {
    let now = Deadline::after(Duration::ZERO);
    now.wait(fd, PollFlags::RDHUP).is_ok_and(|ready| ready.contains(PollFlags::RDHUP))
}

impl Service {
    /// Whether it is one connection, after which the daemon exits: `Accept=yes` of
    /// systemd.socket(5).
    pub fn is_one_connection(self) -> bool {
        matches!(self, Self::StreamConnection | Self::SeqpacketConnection)
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Listening => "listening",
            Self::Connected => "connected",
            Self::Unconnected => "unconnected",
        })
    }
}

impl fmt::Display for FileKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Fifo => "FIFO",
            Self::MessageQueue => "POSIX message queue",
            Self::UsbFunction => "USB function endpoint",
            Self::CharacterDevice => "character device",
            Self::BlockDevice => "block device",
            Self::RegularFile => "regular file",
            Self::Directory => "directory",
            Self::Other => "anonymous file",
        })
    }
}

impl SocketKind {
    /// The socket type as socket(2) names it.
    pub fn type_name(&self) -> String {
        match self.r#type {
            Type::STREAM => "SOCK_STREAM".to_owned(),
            Type::DGRAM => "SOCK_DGRAM".to_owned(),
            Type::SEQPACKET => "SOCK_SEQPACKET".to_owned(),
            Type::RAW => "SOCK_RAW".to_owned(),
            other => format!("SOCK_{}", i32::from(other)),
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socket(socket) => {
                write!(f, "{} {} socket of {}", socket.role, socket.type_name(), socket.family)
            }
            Self::File(file) => file.fmt(f),
            Self::Closed => f.write_str("closed"),
        }
    }
}
