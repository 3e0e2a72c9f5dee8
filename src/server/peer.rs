//! Who is at the other end, as the kernel gives it with a datagram or tells of a connection.

use std::ffi::OsString;
use std::fmt;
use std::net::{SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStringExt;

use socket2::SockRef;

use crate::address::{Cid, UnixName};

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
        let Ok(addr) = SockRef::from(&socket).peer_addr() else { return Self::Unnamed };
        if let Some(ip) = addr.as_socket() {
            return Self::Ip(ip);
        }
        if let Some((cid, port)) = addr.as_vsock_address() {
            return Self::Vsock(Cid(cid), port);
        }
        if let Some(path) = addr.as_pathname() {
            return Self::Unix(UnixName::Path(path.to_owned()));
        }
        match addr.as_abstract_namespace() {
            Some(name) => Self::Unix(UnixName::Abstract(name.to_vec())),
            None => Self::Unnamed,
        }
    }

    /// The peer whose `sockaddr` is `name`: ip(7), ipv6(7), unix(7), vsock(7).
    pub(super) fn from_sockaddr(name: &[u8]) -> Self {
        let family = array(name, 0).map(u16::from_ne_bytes).map(i32::from);
        match family {
            Some(libc::AF_INET) => Self::inet(name),
            Some(libc::AF_INET6) => Self::inet6(name),
            Some(libc::AF_VSOCK) => Self::vsock(name),
            Some(libc::AF_UNIX) => Self::unix(&name[2..]),
            _ => None,
        }
        .unwrap_or(Self::Unnamed)
    }

    fn inet(name: &[u8]) -> Option<Self> {
        let port = u16::from_be_bytes(array(name, 2)?);
        let ip: [u8; 4] = array(name, 4)?;
        Some(Self::Ip(SocketAddrV4::new(ip.into(), port).into()))
    }

    fn inet6(name: &[u8]) -> Option<Self> {
        let port = u16::from_be_bytes(array(name, 2)?);
        let ip: [u8; 16] = array(name, 8)?;
        let scope = u32::from_ne_bytes(array(name, 24)?);
        Some(Self::Ip(SocketAddrV6::new(ip.into(), port, 0, scope).into()))
    }

    fn vsock(name: &[u8]) -> Option<Self> {
        let port = u32::from_ne_bytes(array(name, 4)?);
        let cid = u32::from_ne_bytes(array(name, 8)?);
        Some(Self::Vsock(Cid(cid), port))
    }

    fn unix(path: &[u8]) -> Option<Self> {
        match path {
            [] => None,
            [0, name @ ..] => Some(Self::Unix(UnixName::Abstract(name.to_vec()))),
            path => {
                let end = path.iter().position(|&byte| byte == 0).unwrap_or(path.len());
                let path = OsString::from_vec(path[..end].to_vec());
                Some(Self::Unix(UnixName::Path(path.into())))
            }
        }
    }
}

fn array<const N: usize>(bytes: &[u8], start: usize) -> Option<[u8; N]> {
    bytes.get(start..start + N)?.try_into().ok()
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
    fn every_family_is_decoded_and_short_names_are_unnamed() {
        let family = |family: i32| (family as u16).to_ne_bytes().to_vec();
        let inet = [family(libc::AF_INET), vec![0x0b, 0xb8, 127, 0, 0, 1], vec![0; 8]].concat();
        let mut inet6 =
            [family(libc::AF_INET6), vec![0x0b, 0xb8, 0, 0, 0, 0], vec![0; 15]].concat();
        inet6.push(1);
        inet6.extend(0u32.to_ne_bytes());
        let (port, cid) = (3000u32.to_ne_bytes(), 2u32.to_ne_bytes());
        let vsock =
            [family(libc::AF_VSOCK), vec![0; 2], port.to_vec(), cid.to_vec(), vec![0; 4]].concat();
        for (name, text) in [
            (inet.clone(), "127.0.0.1:3000"),
            (inet[..6].to_vec(), "an unnamed socket"),
            (inet6, "[::1]:3000"),
            (vsock, "host:3000"),
            ([family(libc::AF_UNIX), b"/run/c".to_vec(), vec![0]].concat(), "/run/c"),
            ([family(libc::AF_UNIX), b"\0c".to_vec()].concat(), "@c"),
            (family(libc::AF_UNIX), "an unnamed socket"),
            (vec![], "an unnamed socket"),
        ] {
            assert_eq!(Peer::from_sockaddr(&name).to_string(), text, "{name:?}");
        }
    }
}
