//! The grammar of addresses, the same for every verb. `FromStr` and `Display` round-trip. [`KINDS`]
//! is the table of the kinds of sockets.
//!
//! ```
//! # use socket_activate_echo::address::Address;
//! for text in ["tcp:127.0.0.1:3000", "udp:[::1]:3000", "unix:/run/echo.sock", "vsock:any:3000"] {
//!     assert_eq!(text.parse::<Address>()?.to_string(), text);
//! }
//! # Ok::<(), socket_activate_echo::address::ParseAddressError>(())
//! ```

mod demo;
mod kind;
mod near;
mod parse;
mod resolve;
mod socket;

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

pub use demo::{DEMO_PORT, demo_home, demo_set};
pub use kind::{Family, Inet, KINDS, Kind, Style, Transport};
pub use parse::ParseAddressError;
pub use socket::domain_of;

use crate::text::Escaped;

/// The address of a socket, to bind or to connect to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Address {
    /// `tcp:HOST:PORT`, and the same with the other protocols of [`Inet`].
    Inet(Inet, Host, u16),
    /// `unix:NAME`, `unix-dgram:NAME`, `unix-seqpacket:NAME`.
    Unix(Style, UnixName),
    /// `vsock:CID:PORT`, `vsock-dgram:CID:PORT`, `vsock-seqpacket:CID:PORT`; see vsock(7).
    Vsock(Style, Cid, u32),
    /// `vsock-mux:PATH:PORT`, for clients: the unix socket through which Firecracker, Cloud
    /// Hypervisor and vhost-device-vsock reach a guest's vsock port after a `CONNECT PORT` line.
    VsockMux(UnixName, u32),
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
    /// `VMADDR_CID_LOCAL`: this machine, through the loopback transport.
    pub const LOCAL: Self = Self(1);
    /// `VMADDR_CID_HOST`: the host that runs this VM.
    pub const HOST: Self = Self(2);
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
        let (prefix, name) = match self {
            Self::Path(path) => match path.as_os_str().as_bytes() {
                // Without the escape, a leading @ means the abstract namespace.
                [b'@', rest @ ..] => ("\\x40", rest),
                name => ("", name),
            },
            Self::Abstract(name) => ("@", name.as_slice()),
        };
        f.write_str(prefix)?;
        parse::escape(name, f)
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
