//! What an inherited file descriptor is, by the kernel's own answers.

use std::fmt;
use std::io;
use std::os::fd::BorrowedFd;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::FileType;
use socket2::{Domain, Protocol, SockRef, Type};

use crate::address::Address;

/// What a file descriptor is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A socket of any family.
    Socket(SocketKind),
    /// Something else.
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
    /// The local address; `None` for an unnamed unix socket and for a family without a grammar.
    pub local: Option<Address>,
    /// The peer's address, if the socket is connected to a named one.
    pub peer: Option<Address>,
    /// For IPv6: whether IPv4 is shut out. `None` for every other family.
    pub v6only: Option<bool>,
}

/// The address family of a socket: `AF_*` of address_families(7).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// `AF_UNIX`.
    Unix,
    /// `AF_INET`.
    Inet,
    /// `AF_INET6`.
    Inet6,
    /// `AF_VSOCK`.
    Vsock,
    /// `AF_NETLINK`.
    Netlink,
    /// Any other, by its number.
    Other(i32),
}

/// What a socket is ready for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// It accepts connections.
    Listening,
    /// It has a peer, or had one that has reset the connection since.
    Connected,
    /// It has no peer: a datagram socket's usual state.
    Unconnected,
}

/// What a file descriptor that is no socket is.
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

/// How a socket is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Service {
    /// Accept, then echo a sequence of bytes on each connection.
    StreamListener,
    /// Accept, then echo message for message on each connection.
    SeqpacketListener,
    /// Echo each datagram to its sender.
    Datagram,
    /// Echo a sequence of bytes on the one connection.
    StreamConnection,
    /// Echo message for message on the one connection.
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
    /// An answer of the kernel that is an error of its own, which no kind of descriptor explains.
    pub fn of(fd: BorrowedFd<'_>) -> io::Result<Self> {
        let stat = rustix::fs::fstat(fd)?;
        let file = match FileType::from_raw_mode(stat.st_mode) {
            FileType::Socket => return SocketKind::of(fd).map(Self::Socket),
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
}

// The field is 32 bits wide on s390x and on 32-bit targets.
#[allow(clippy::useless_conversion)]
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
        let peer = socket.peer_addr();
        let role = if socket.is_listener()? {
            Role::Listening
        } else if peer.is_ok() || (r#type == Type::STREAM && was_connected(fd)) {
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
            peer: peer.ok().and_then(address),
            v6only: if family == Family::Inet6 { socket.only_v6().ok() } else { None },
        })
    }

    /// How the socket is served; `None` if an echo over it has no meaning.
    pub fn service(&self) -> Option<Service> {
        if !matches!(self.family, Family::Unix | Family::Inet | Family::Inet6 | Family::Vsock) {
            return None;
        }
        match (self.r#type, self.role) {
            // One socket carries all associations of SCTP's one-to-many style: it listens, but
            // accept(2) does not apply to it (RFC 6458, section 3).
            (Type::SEQPACKET, _) if self.protocol == Some(Protocol::SCTP) => {
                Some(Service::Datagram)
            }
            (Type::STREAM, Role::Listening) => Some(Service::StreamListener),
            (Type::STREAM, Role::Connected) => Some(Service::StreamConnection),
            (Type::SEQPACKET, Role::Listening) => Some(Service::SeqpacketListener),
            (Type::SEQPACKET, Role::Connected) => Some(Service::SeqpacketConnection),
            (Type::DGRAM, _) if self.protocol.is_none_or(is_datagram_protocol) => {
                Some(Service::Datagram)
            }
            _ => None,
        }
    }

    /// Whether the kernel answers from any local address, so that each reply has to say from
    /// which one: an IP socket bound to the wildcard.
    pub fn is_wildcard(&self) -> bool {
        use crate::address::Host;
        match &self.local {
            Some(Address::Inet(_, Host::V4(ip), _)) => ip.is_unspecified(),
            Some(Address::Inet(_, Host::V6(ip, _), _)) => ip.is_unspecified(),
            _ => false,
        }
    }
}

/// Whether a stream socket without a peer had one: a reset leaves both directions shut, where a
/// socket that was never connected has neither (tcp(7), `EPOLLRDHUP`). The client of an
/// `Accept=yes` service may be gone before the service starts.
fn was_connected(fd: BorrowedFd<'_>) -> bool {
    let mut fds = [PollFd::from_borrowed_fd(fd, PollFlags::RDHUP)];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    rustix::event::poll(&mut fds, Some(&now)).is_ok() && fds[0].revents().contains(PollFlags::RDHUP)
}

/// UDP and UDP-Lite carry datagrams; ICMP's datagram sockets (icmp(7)) do not carry an echo.
fn is_datagram_protocol(protocol: Protocol) -> bool {
    protocol == Protocol::UDP || protocol == Protocol::from(136)
}

impl Service {
    /// Whether the service ends with its one connection, as `Accept=yes` has it.
    pub fn is_one_connection(self) -> bool {
        matches!(self, Self::StreamConnection | Self::SeqpacketConnection)
    }
}

impl From<Domain> for Family {
    fn from(domain: Domain) -> Self {
        match i32::from(domain) {
            libc::AF_UNIX => Self::Unix,
            libc::AF_INET => Self::Inet,
            libc::AF_INET6 => Self::Inet6,
            libc::AF_VSOCK => Self::Vsock,
            libc::AF_NETLINK => Self::Netlink,
            other => Self::Other(other),
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix => f.write_str("AF_UNIX"),
            Self::Inet => f.write_str("AF_INET"),
            Self::Inet6 => f.write_str("AF_INET6"),
            Self::Vsock => f.write_str("AF_VSOCK"),
            Self::Netlink => f.write_str("AF_NETLINK"),
            Self::Other(number) => write!(f, "AF_{number}"),
        }
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
