//! Converts between an [`Address`] and the kernel's `sockaddr`.

use std::ffi::OsStr;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;

use socket2::{Domain, Protocol, SockAddr, SockRef, Type};

use super::{Address, Cid, Family, Host, Inet, Kind, Transport, UnixName};

impl Address {
    /// The address of a socket, from its `sockaddr`, type and protocol. `None` for an unnamed unix
    /// socket, an unknown family, and a type or protocol that the grammar does not have.
    pub fn from_sockaddr(
        addr: &SockAddr,
        r#type: Type,
        protocol: Option<Protocol>,
    ) -> Option<Self> {
        let family = Family::from(domain_of(addr));
        let kind = Kind::of_socket(family, r#type, protocol)?;
        if let (Transport::Inet(inet), Some(ip)) = (kind.transport, addr.as_socket()) {
            return Some(Self::from_ip(inet, ip));
        }
        if let Some((cid, port)) = addr.as_vsock_address() {
            return Some(Self::Vsock(kind.style, Cid(cid), port));
        }
        UnixName::from_sockaddr(addr).map(|name| Self::Unix(kind.style, name))
    }

    /// The address of a socket of protocol `inet` at `ip`.
    pub fn from_ip(inet: Inet, ip: SocketAddr) -> Self {
        let host = match ip {
            SocketAddr::V4(v4) => Host::V4(*v4.ip()),
            SocketAddr::V6(v6) if v6.scope_id() == 0 => Host::V6(*v6.ip(), None),
            SocketAddr::V6(v6) => Host::V6(*v6.ip(), Some(v6.scope_id().to_string())),
        };
        Self::Inet(inet, host, ip.port())
    }

    /// The address that `socket` is bound to; after a bind to port 0, it has the port that the
    /// kernel chose.
    ///
    /// # Errors
    ///
    /// Those of getsockname(2) and getsockopt(2).
    pub fn of_socket(socket: impl AsFd) -> io::Result<Option<Self>> {
        let socket = SockRef::from(&socket);
        let (r#type, protocol) = (socket.r#type()?, socket.protocol()?);
        Ok(Self::from_sockaddr(&socket.local_addr()?, r#type, protocol))
    }

    /// The address that a client on this machine connects to: the loopback address instead of
    /// `0.0.0.0`, `[::]` and CID `any`.
    pub fn to_client(&self) -> Self {
        match self {
            Self::Inet(inet, Host::V4(ip), port) if ip.is_unspecified() => {
                Self::Inet(*inet, Host::V4(Ipv4Addr::LOCALHOST), *port)
            }
            Self::Inet(inet, Host::V6(ip, _), port) if ip.is_unspecified() => {
                Self::Inet(*inet, Host::V6(Ipv6Addr::LOCALHOST, None), *port)
            }
            Self::Vsock(style, Cid::ANY, port) => Self::Vsock(*style, Cid::LOCAL, *port),
            other => other.clone(),
        }
    }
}

/// The socket domain of a `sockaddr`.
pub fn domain_of(addr: &SockAddr) -> Domain {
    Domain::from(i32::from(addr.family()))
}

impl UnixName {
    /// The name as a `sockaddr_un`.
    ///
    /// # Errors
    ///
    /// The name is longer than [`UnixName::LEN_MAX`].
    pub fn to_sockaddr(&self) -> io::Result<SockAddr> {
        match self {
            Self::Path(path) => SockAddr::unix(path),
            Self::Abstract(name) => SockAddr::unix(OsStr::from_bytes(&[b"\0", &**name].concat())),
        }
    }

    /// The name in a `sockaddr_un`; `None` for an unnamed socket and for another family.
    pub fn from_sockaddr(addr: &SockAddr) -> Option<Self> {
        let path = addr.as_pathname().map(|path| Self::Path(path.to_owned()));
        path.or_else(|| addr.as_abstract_namespace().map(|name| Self::Abstract(name.to_vec())))
    }
}
