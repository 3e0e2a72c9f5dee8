//! What the server asks the kernel to tell of each datagram, and gives back as it was found: an
//! option that is set on an inherited socket is set on the service manager's duplicate too, and the
//! next one to read from it may not expect it.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::activation::{Family, SocketKind};
use crate::error::{Context, Result};
use crate::sys::control::{SOL_UDP, UDP_GRO};
use crate::sys::option;

/// An inherited socket with options of ours.
#[derive(Debug)]
pub(super) struct Socket {
    fd: OwnedFd,
    /// Level, name and earlier value of each option that was changed.
    found: Vec<(i32, i32, i32)>,
    /// Whether the kernel joins and splits runs of datagrams: `UDP_GRO` and `UDP_SEGMENT`.
    pub(super) has_segments: bool,
}

impl Socket {
    /// Asks for what replies need: the local address of each datagram where the socket is bound to
    /// the wildcard, how many hops it has left, the user who sent it over a unix socket, and joined
    /// datagrams for UDP.
    ///
    /// # Errors
    ///
    /// If the kernel does not tell the local address, or the user: replies would come from the
    /// wrong address, or go to the wrong one.
    pub(super) fn prepare(fd: OwnedFd, kind: &SocketKind) -> Result<Self> {
        let mut socket = Self { fd, found: Vec::new(), has_segments: false };
        let is_datagram = kind.r#type == socket2::Type::DGRAM;
        match kind.family {
            Family::Unix => socket
                .set(libc::SOL_SOCKET, libc::SO_PASSCRED)
                .context("ask for the user who sends each datagram")?,
            Family::Inet | Family::Inet6 if is_datagram => {
                let is_v6 = kind.family == Family::Inet6;
                if kind.is_wildcard() {
                    let (level, name) = match is_v6 {
                        true => (libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO),
                        false => (libc::IPPROTO_IP, libc::IP_PKTINFO),
                    };
                    socket
                        .set(level, name)
                        .context("ask for the local address of each datagram")?;
                }
                // A socket for both families has the options of both. Where one cannot be set, what
                // it guards against is not guarded against.
                if kind.v6only != Some(true) {
                    let _ = socket.set(libc::IPPROTO_IP, libc::IP_RECVTTL);
                }
                if is_v6 {
                    let _ = socket.set(libc::IPPROTO_IPV6, libc::IPV6_RECVHOPLIMIT);
                }
            }
            _ => {}
        }
        // A kernel before 5.0 has none of it and serves one by one.
        let is_udp = kind.protocol == Some(socket2::Protocol::UDP);
        socket.has_segments = is_udp && socket.set(SOL_UDP, UDP_GRO).is_ok();
        Ok(socket)
    }

    fn set(&mut self, level: i32, name: i32) -> io::Result<()> {
        // UDP_GRO cannot be asked for before Linux 5.13 (udp_lib_getsockopt); it was off.
        let found = option::get(self.as_fd(), level, name).unwrap_or(0);
        if found == 0 {
            option::set(self.as_fd(), level, name, 1)?;
            self.found.push((level, name, found));
        }
        Ok(())
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        for &(level, name, found) in &self.found {
            // It was set before, so it can be set back; if not, there is nobody left to tell.
            let _ = option::set(self.fd.as_fd(), level, name, found);
        }
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
