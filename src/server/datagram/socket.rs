//! An inherited datagram socket: the options that make the kernel report more about each datagram,
//! and the log messages.
//!
//! The options are restored at the end. The service manager's duplicate has the same options, and
//! the next process that reads from it may not expect ours.

use std::cell::Cell;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;

use super::run::Reply;
use super::unsent::Refusal;
use crate::activation::{Family, InheritedSocket, Role, Service, SocketKind};
use crate::error::{Context, Result};
use crate::server::peer::Peer;
use crate::server::shared::ServedSocket;
use crate::server::workspace::Workspace;
use crate::sys::control::{SOL_UDP, UDP_GRO};
use crate::sys::option;

/// An inherited socket with our options.
#[derive(Debug)]
pub(super) struct Socket {
    /// Shared only while the socket is released.
    fd: Rc<OwnedFd>,
    source: u16,
    pub(super) kind: SocketKind,
    /// Whether it answers questions in place of an echo.
    pub(super) is_asked: bool,
    /// Level, name and earlier value of each option that was changed.
    found: Vec<(i32, i32, i32)>,
    /// Whether the kernel joins and splits runs of datagrams: `UDP_GRO` and `UDP_SEGMENT`.
    pub(super) has_segments: bool,
    /// Whether it was logged that some datagrams are not answered.
    has_told: Cell<bool>,
}

impl Socket {
    /// Sets the options that replies need: the local address of each datagram if the socket is
    /// bound to the wildcard, its hop limit, the user who sent it over a unix socket, and joined
    /// datagrams for UDP.
    ///
    /// # Errors
    ///
    /// The kernel does not report the local address or the user: then replies would have a wrong
    /// source address, or go to a wrong receiver.
    pub(super) fn prepare(socket: ServedSocket) -> Result<Self> {
        let ServedSocket { fd, source, kind, is_asked, .. } = socket;
        let (found, has_told) = (Vec::new(), Cell::new(false));
        let mut socket =
            Self { fd: Rc::new(fd), source, kind, is_asked, found, has_segments: false, has_told };
        match socket.kind.family {
            Family::Unix => socket
                .set(libc::SOL_SOCKET, libc::SO_PASSCRED)
                .context("ask for the user who sends each datagram")?,
            Family::Inet | Family::Inet6 if socket.kind.r#type == socket2::Type::DGRAM => {
                socket.ask_for_addresses()?;
            }
            _ => {}
        }
        // A kernel before 5.0 does not have it: each datagram is then sent alone, as each answer is.
        let is_udp = !is_asked && socket.kind.protocol == Some(socket2::Protocol::UDP);
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
        // A socket for both families has the options of both. Without one of them, the protection
        // against loops is missing for that family.
        if self.kind.v6only != Some(true) {
            let _ = self.set(libc::IPPROTO_IP, libc::IP_RECVTTL);
        }
        if is_v6 {
            let _ = self.set(libc::IPPROTO_IPV6, libc::IPV6_RECVHOPLIMIT);
        }
        Ok(())
    }

    fn set(&mut self, level: i32, name: i32) -> io::Result<()> {
        // Before Linux 5.13, getsockopt(2) does not know UDP_GRO (udp_lib_getsockopt). It was off
        // then.
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

    /// The socket as it was inherited, with the options that it had.
    ///
    /// # Errors
    ///
    /// Something else still uses the socket: there is no such thing.
    pub(super) fn release(self, space: &Workspace<'_>) -> io::Result<InheritedSocket> {
        let (fd, kind) = (Rc::clone(&self.fd), self.kind.clone());
        let name = space.name(self.source()).to_owned();
        // It restores the options.
        drop(self);
        let fd = Rc::into_inner(fd).ok_or_else(|| io::Error::other("it is in use"))?;
        Ok(InheritedSocket { fd, name, kind, service: Service::Datagram })
    }

    /// Writes a received or sent datagram to the debug log.
    pub(super) fn trace(&self, is_sent: bool, reply: Reply<'_>, space: &Workspace<'_>) {
        if space.traces() {
            let (verb, preposition) = if is_sent { ("send", "to") } else { ("recv", "from") };
            let (len, socket) = (reply.data.len(), space.name(self.source()));
            let peer = Peer::from_sockaddr(reply.name);
            log::debug!("{verb} {len} bytes on {socket} {preposition} {peer}");
        }
    }

    /// Counts `count` datagrams from the `sockaddr` in `name` that are not answered, and logs why.
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
            // It was set before, so it can be restored; an error could not be reported to anybody.
            let _ = option::set(self.fd.as_fd(), level, name, found);
        }
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
