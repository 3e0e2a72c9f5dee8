//! An inherited datagram socket: what the kernel is asked to tell of each datagram, and what the log
//! says of it.
//!
//! Options are given back as they were found: what is set on an inherited socket is set on the
//! service manager's duplicate too, and the next one to read from it may not expect it.

use std::cell::Cell;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use super::run::Reply;
use super::unsent::Refusal;
use crate::activation::{Family, Role, SocketKind};
use crate::error::{Context, Result};
use crate::server::peer::Peer;
use crate::server::shared::ServedSocket;
use crate::server::workspace::Workspace;
use crate::sys::control::{SOL_UDP, UDP_GRO};
use crate::sys::option;

/// An inherited socket with options of ours.
#[derive(Debug)]
pub(super) struct Socket {
    fd: OwnedFd,
    source: u16,
    pub(super) kind: SocketKind,
    /// Level, name and earlier value of each option that was changed.
    found: Vec<(i32, i32, i32)>,
    /// Whether the kernel joins and splits runs of datagrams: `UDP_GRO` and `UDP_SEGMENT`.
    pub(super) has_segments: bool,
    /// Whether the log has it that there are datagrams that are not answered.
    has_told: Cell<bool>,
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
    pub(super) fn prepare(socket: ServedSocket) -> Result<Self> {
        let ServedSocket { fd, source, kind, .. } = socket;
        let (found, has_told) = (Vec::new(), Cell::new(false));
        let mut socket = Self { fd, source, kind, found, has_segments: false, has_told };
        match socket.kind.family {
            Family::Unix => socket
                .set(libc::SOL_SOCKET, libc::SO_PASSCRED)
                .context("ask for the user who sends each datagram")?,
            Family::Inet | Family::Inet6 if socket.kind.r#type == socket2::Type::DGRAM => {
                socket.ask_for_addresses()?;
            }
            _ => {}
        }
        // A kernel before 5.0 has none of it and serves one by one.
        let is_udp = socket.kind.protocol == Some(socket2::Protocol::UDP);
        socket.has_segments = is_udp && socket.set(SOL_UDP, UDP_GRO).is_ok();
        Ok(socket)
    }

    fn ask_for_addresses(&mut self) -> Result<()> {
        let is_v6 = self.kind.family == Family::Inet6;
        if self.kind.is_wildcard() {
            let (level, name) = match is_v6 {
                true => (libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO),
                false => (libc::IPPROTO_IP, libc::IP_PKTINFO),
            };
            self.set(level, name).context("ask for the local address of each datagram")?;
        }
        // A socket for both families has the options of both. Where one cannot be set, what it
        // guards against is not guarded against.
        if self.kind.v6only != Some(true) {
            let _ = self.set(libc::IPPROTO_IP, libc::IP_RECVTTL);
        }
        if is_v6 {
            let _ = self.set(libc::IPPROTO_IPV6, libc::IPV6_RECVHOPLIMIT);
        }
        Ok(())
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

    pub(super) fn source(&self) -> usize {
        usize::from(self.source)
    }

    pub(super) fn is_ip(&self) -> bool {
        matches!(self.kind.family, Family::Inet | Family::Inet6)
    }

    pub(super) fn is_connected(&self) -> bool {
        self.kind.role == Role::Connected
    }

    /// Writes a datagram that was received or sent to the debug log.
    pub(super) fn trace(&self, is_sent: bool, reply: Reply<'_>, space: &Workspace<'_>) {
        if space.traces() {
            let (verb, preposition) = if is_sent { ("send", "to") } else { ("recv", "from") };
            let (len, socket) = (reply.data.len(), space.name(self.source()));
            let peer = Peer::from_sockaddr(reply.name);
            log::debug!("{verb} {len} bytes on {socket} {preposition} {peer}");
        }
    }

    /// Counts `count` datagrams from the `sockaddr` in `name` that are not answered, and says why.
    pub(super) fn refuse(
        &self,
        name: &[u8],
        count: usize,
        refusal: &Refusal,
        space: &mut Workspace<'_>,
    ) {
        let peer = Peer::from_sockaddr(name);
        if refusal.is_told && !self.has_told.replace(true) {
            let socket = space.name(self.source());
            log::warn!(
                "a datagram from {peer} on {socket} is not answered: {refusal} (logged once; \
                 --debug logs each)"
            );
        }
        let source = self.source();
        space.unanswered(source, count, format_args!("datagram from {peer}: {refusal}"));
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
