//! The peer, as the kernel reports it for a datagram or a connection.

use std::fmt;
use std::net::SocketAddr;
use std::os::fd::AsFd;

use socket2::{SockAddr, SockRef};

use crate::address::{Cid, UnixName};
use crate::sys::sockaddr;

/// The address of a peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Peer {
    Ip(SocketAddr),
    Unix(UnixName),
    Vsock(Cid, u32),
    /// A unix socket without a name, or a family that has none.
    Unnamed,
}

impl Peer {
    /// The peer of a connected socket.
    pub(super) fn of(socket: impl AsFd) -> Self {
        SockRef::from(&socket).peer_addr().map_or(Self::Unnamed, |addr| Self::at(&addr))
    }

    /// The peer whose `sockaddr` is `name`.
    pub(super) fn from_sockaddr(name: &[u8]) -> Self {
        Self::at(&sockaddr::from_bytes(name))
    }

    fn at(addr: &SockAddr) -> Self {
        if let Some(ip) = addr.as_socket() {
            return Self::Ip(ip);
        }
        if let Some((cid, port)) = addr.as_vsock_address() {
            return Self::Vsock(Cid(cid), port);
        }
        UnixName::from_sockaddr(addr).map_or(Self::Unnamed, Self::Unix)
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(ip) => ip.fmt(f),
            Self::Unix(name) => name.fmt(f),
            Self::Vsock(cid, port) => write!(f, "{cid}:{port}"),
            Self::Unnamed => f.write_str("an unnamed socket"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_family_is_decoded() {
        let inet = |text: &str| SockAddr::from(text.parse::<SocketAddr>().expect("an address"));
        let unix = |name: &str| SockAddr::unix(name).expect("a name");
        for (addr, text) in [
            (inet("127.0.0.1:3000"), "127.0.0.1:3000"),
            (inet("[::1]:3000"), "[::1]:3000"),
            (SockAddr::vsock(2, 3000), "host:3000"),
            (unix("/run/c"), "/run/c"),
            (unix("\0c"), "@c"),
            (unix(""), "an unnamed socket"),
        ] {
            let name = &sockaddr::to_bytes(&addr)[..];
            assert_eq!(Peer::from_sockaddr(name).to_string(), text);
            for cut in 0..name.len() {
                let _ = Peer::from_sockaddr(&name[..cut]).to_string();
            }
        }
        assert_eq!(Peer::from_sockaddr(&[]), Peer::Unnamed);
        // The kernel ends the path of a socket with a NUL, and counts it.
        let terminated = [&(libc::AF_UNIX as u16).to_ne_bytes()[..], b"/run/c\0"].concat();
        assert_eq!(Peer::from_sockaddr(&terminated).to_string(), "/run/c");
    }
}
