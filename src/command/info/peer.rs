//! Who asks, as the kernel reports it. Only system calls that the sandbox allows: no file is opened.

use std::os::fd::BorrowedFd;

use rustix::net::sockopt;
use serde::Serialize;
use socket2::{SockAddr, SockRef};

use super::short::{ADDRESS_MAX, short};
use super::socket::Socket;
use crate::address::{Cid, UnixName};
use crate::server::{Asker, Credentials};
use crate::sys::option;

/// The longest label, as bytes of JSON.
const LABEL_MAX: usize = 200;
/// The longest name of a congestion control: `TCP_CA_NAME_MAX` of Linux is 16.
const CONGESTION_MAX: usize = 16;

/// What is not known, or what the socket does not have, is `None`.
#[derive(Debug, Default, Serialize)]
pub(super) struct Peer {
    address: Option<String>,
    port: Option<u32>,
    pid: Option<u32>,
    uid: Option<u32>,
    gid: Option<u32>,
    security_label: Option<String>,
    rtt_us: Option<u32>,
    mss: Option<u32>,
    congestion_control: Option<String>,
}

impl Peer {
    pub(super) fn of(asker: Asker<'_>, socket: &Socket) -> Self {
        match asker {
            Asker::Sender(addr, credentials) => Self::at(addr).with(credentials),
            Asker::Connection(fd) => {
                let peer = SockRef::from(&fd).peer_addr();
                let peer = peer.map_or_else(|_| Self::default(), |addr| Self::at(&addr));
                match socket {
                    Socket { is_unix: true, .. } => peer.over_unix(fd),
                    Socket { is_tcp: true, .. } => peer.over_tcp(fd),
                    _ => peer,
                }
            }
        }
    }

    fn at(addr: &SockAddr) -> Self {
        let (address, port) = if let Some(ip) = addr.as_socket() {
            // Over a socket for both families, the address of an IPv4 peer is ::ffff:….
            (Some(ip.ip().to_string()), Some(ip.port().into()))
        } else if let Some((cid, port)) = addr.as_vsock_address() {
            (Some(Cid(cid).to_string()), Some(port))
        } else {
            (UnixName::from_sockaddr(addr).map(|name| name.to_string()), None)
        };
        Self { address: address.map(|text| short(&text, ADDRESS_MAX)), port, ..Self::default() }
    }

    fn with(self, credentials: Option<Credentials>) -> Self {
        let Some(Credentials { pid, uid, gid }) = credentials else { return self };
        Self { pid: Some(pid), uid: Some(uid), gid: Some(gid), ..self }
    }

    fn over_unix(self, fd: BorrowedFd<'_>) -> Self {
        let credentials = option::peer_credentials(fd).ok();
        let label = option::peer_security(fd).ok().map(|label| {
            let label = String::from_utf8_lossy(&label);
            short(label.trim_end_matches(['\0', '\n']), LABEL_MAX)
        });
        let credentials = credentials.map(|[pid, uid, gid]| Credentials { pid, uid, gid });
        Self { security_label: label, ..self.with(credentials) }
    }

    fn over_tcp(self, fd: BorrowedFd<'_>) -> Self {
        let path = option::tcp_path(fd).ok();
        let congestion = sockopt::tcp_congestion(fd).ok();
        Self {
            rtt_us: path.map(|path| path.rtt_us),
            mss: path.map(|path| path.mss),
            congestion_control: congestion.map(|name| short(&name, CONGESTION_MAX)),
            ..self
        }
    }
}

#[cfg(test)]
impl Peer {
    pub(super) fn longest(long: &str) -> Self {
        Self {
            address: Some(short(long, ADDRESS_MAX)),
            port: Some(u32::MAX),
            pid: Some(u32::MAX),
            uid: Some(u32::MAX),
            gid: Some(u32::MAX),
            security_label: Some(short(long, LABEL_MAX)),
            rtt_us: Some(u32::MAX),
            mss: Some(u32::MAX),
            congestion_control: Some(short(long, CONGESTION_MAX)),
        }
    }
}
