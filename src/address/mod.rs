//! The address grammar, the same for every verb: `FromStr` and `Display` round-trip.
//!
//! ```
//! # use socket_activate_echo::address::Address;
//! for text in ["tcp:127.0.0.1:3000", "udp:[::1]:3000", "unix:/run/echo.sock", "vsock:any:3000"] {
//!     assert_eq!(text.parse::<Address>()?.to_string(), text);
//! }
//! # Ok::<(), socket_activate_echo::address::ParseAddressError>(())
//! ```

mod demo;
mod parse;
mod resolve;
mod socket;

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

pub use demo::{DEMO_PORT, demo_home, demo_set};
pub use parse::ParseAddressError;
pub use socket::domain_of;

use crate::text::Escaped;

/// The address of a socket, to bind or to connect to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Address {
    /// `tcp:HOST:PORT` and its siblings; see [`Inet`].
    Inet(Inet, Host, u16),
    /// `unix:NAME`, `unix-dgram:NAME`, `unix-seqpacket:NAME`.
    Unix(Style, UnixName),
    /// `vsock:CID:PORT`, `vsock-dgram:CID:PORT`, `vsock-seqpacket:CID:PORT`; see vsock(7).
    Vsock(Style, Cid, u32),
    /// `vsock-mux:PATH:PORT`, for clients: the unix socket through which Firecracker, Cloud
    /// Hypervisor and vhost-device-vsock reach a guest's vsock port after a `CONNECT PORT` line.
    VsockMux(UnixName, u32),
}

/// The protocols that run over IPv4 and IPv6.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Inet {
    /// tcp(7).
    Tcp,
    /// Multipath TCP, RFC 8684.
    Mptcp,
    /// sctp(7), one-to-one style: a stream.
    Sctp,
    /// sctp(7), one-to-many style: one seqpacket socket for all associations.
    SctpSeqpacket,
    /// udp(7).
    Udp,
    /// udplite(7).
    Udplite,
}

/// How a socket treats what is sent through it: the socket type of socket(2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Style {
    /// `SOCK_STREAM`: a sequence of bytes.
    Stream,
    /// `SOCK_DGRAM`: messages without a connection.
    Datagram,
    /// `SOCK_SEQPACKET`: a connection that keeps message boundaries.
    Seqpacket,
}

/// The host part of an [`Address::Inet`].
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Host {
    /// A name for the resolver.
    Name(String),
    /// `127.0.0.1`.
    V4(Ipv4Addr),
    /// `[::1]`, or `[fe80::1%eth0]` with the scope of a link-local address: an interface name or
    /// its index.
    V6(Ipv6Addr, Option<String>),
}

/// The name of a unix socket; see unix(7).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum UnixName {
    /// A path in the file system.
    Path(std::path::PathBuf),
    /// A name in the abstract namespace, without its leading NUL byte; written `@name`.
    Abstract(Vec<u8>),
}

impl UnixName {
    /// The longest name in bytes: one of the 108 of `sun_path` is the NUL after a path or in front
    /// of an abstract name, see unix(7).
    pub const LEN_MAX: usize = 107;
}

/// The context identifier of a [`Address::Vsock`]; see vsock(7).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Cid(pub u32);

impl Cid {
    /// `VMADDR_CID_ANY`: any CID, to listen on.
    pub const ANY: Self = Self(libc::VMADDR_CID_ANY);
    /// `VMADDR_CID_LOCAL`: this very machine, through the loopback transport.
    pub const LOCAL: Self = Self(1);
    /// `VMADDR_CID_HOST`: the host that runs this VM.
    pub const HOST: Self = Self(2);
}

/// Every scheme of the grammar with what follows it, in the order in which messages list them.
pub const SCHEMES: [(&str, &str); 13] = [
    ("tcp", "HOST:PORT"),
    ("udp", "HOST:PORT"),
    ("unix", "/PATH or unix:@ABSTRACT"),
    ("unix-dgram", "/PATH"),
    ("unix-seqpacket", "/PATH"),
    ("vsock", "CID:PORT, CID a number, any, local or host"),
    ("vsock-dgram", "CID:PORT"),
    ("vsock-seqpacket", "CID:PORT"),
    ("vsock-mux", "/PATH:PORT"),
    ("mptcp", "HOST:PORT"),
    ("sctp", "HOST:PORT"),
    ("sctp-seqpacket", "HOST:PORT"),
    ("udplite", "HOST:PORT"),
];

impl Address {
    /// The scheme, the part before the first colon.
    pub fn scheme(&self) -> &'static str {
        match self {
            Self::Inet(inet, ..) => inet.scheme(),
            Self::Unix(Style::Stream, _) => "unix",
            Self::Unix(Style::Datagram, _) => "unix-dgram",
            Self::Unix(Style::Seqpacket, _) => "unix-seqpacket",
            Self::Vsock(Style::Stream, ..) => "vsock",
            Self::Vsock(Style::Datagram, ..) => "vsock-dgram",
            Self::Vsock(Style::Seqpacket, ..) => "vsock-seqpacket",
            Self::VsockMux(..) => "vsock-mux",
        }
    }

    /// The socket type that serves the address.
    pub fn style(&self) -> Style {
        match self {
            Self::Inet(inet, ..) => inet.style(),
            Self::Unix(style, _) | Self::Vsock(style, ..) => *style,
            Self::VsockMux(..) => Style::Stream,
        }
    }
}

impl Inet {
    /// The scheme, the part before the first colon.
    pub const fn scheme(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Mptcp => "mptcp",
            Self::Sctp => "sctp",
            Self::SctpSeqpacket => "sctp-seqpacket",
            Self::Udp => "udp",
            Self::Udplite => "udplite",
        }
    }

    /// The socket type that carries the protocol.
    pub const fn style(self) -> Style {
        match self {
            Self::Tcp | Self::Mptcp | Self::Sctp => Style::Stream,
            Self::Udp | Self::Udplite => Style::Datagram,
            Self::SctpSeqpacket => Style::Seqpacket,
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.scheme())?;
        match self {
            Self::Inet(_, host, port) => write!(f, "{host}:{port}"),
            Self::Unix(_, name) => write!(f, "{name}"),
            Self::Vsock(_, cid, port) => write!(f, "{cid}:{port}"),
            Self::VsockMux(name, port) => write!(f, "{name}:{port}"),
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => Escaped::new(name).fmt(f),
            Self::V4(ip) => write!(f, "{ip}"),
            Self::V6(ip, None) => write!(f, "[{ip}]"),
            Self::V6(ip, Some(scope)) => write!(f, "[{ip}%{}]", Escaped::new(scope)),
        }
    }
}

impl fmt::Display for UnixName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use std::os::unix::ffi::OsStrExt;
        match self {
            Self::Path(path) => match path.as_os_str().as_bytes() {
                // A bare @ in front would mean the abstract namespace.
                [b'@', rest @ ..] => {
                    f.write_str("\\x40")?;
                    parse::escape(rest, f)
                }
                name => parse::escape(name, f),
            },
            Self::Abstract(name) => {
                f.write_str("@")?;
                parse::escape(name, f)
            }
        }
    }
}

impl fmt::Display for Cid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::ANY => f.write_str("any"),
            Self::LOCAL => f.write_str("local"),
            Self::HOST => f.write_str("host"),
            Self(number) => write!(f, "{number}"),
        }
    }
}
