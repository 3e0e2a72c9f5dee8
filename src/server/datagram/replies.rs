//! Sending replies: many with one call, each alone where that fails, and later where a receiver is
//! not ready.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::rc::Rc;
use std::time::Instant;

use super::kept::{self, Kept, Reply};
use super::options::Socket;
use super::refusal::Refusal;
use super::routes::{Address, NoRoute, Routes};
use super::unread::Unread;
use crate::activation::{Family, Role, SocketKind};
use crate::address::UnixName;
use crate::server::limits::Limits;
use crate::server::socket_options;
use crate::sys::control::{self, Received};
use crate::sys::message;

/// The way that replies take from one socket.
#[derive(Debug)]
pub(super) struct Replies {
    way: Way,
    kept: Kept,
}

#[derive(Debug)]
enum Way {
    /// To the peer that the socket is connected to, whatever the datagram says.
    Peer,
    /// To the address that the datagram says it came from.
    Address,
    /// To the socket of the user who sent it.
    Unix { routes: Routes, unread: Unread },
}

/// What came of a reply.
pub(super) enum Outcome {
    /// The kernel has it.
    Sent,
    /// Its receiver is not ready, or there was no memory.
    NotNow,
    /// It will never be sent.
    Refused(Refusal),
}

/// Where a reply goes.
pub(super) enum Target<'a> {
    /// To a `sockaddr`; an empty one is the peer that the socket is connected to.
    Name(&'a [u8]),
    /// To a socket that is held.
    Socket(Rc<Address>),
}

impl Replies {
    pub(super) fn new(kind: &SocketKind, never_answered: &[UnixName]) -> Self {
        let way = match (kind.role, kind.family) {
            (Role::Connected, _) => Way::Peer,
            (_, Family::Unix) => {
                Way::Unix { routes: Routes::new(kind, never_answered), unread: Unread::default() }
            }
            _ => Way::Address,
        };
        Self { way, kept: Kept::default() }
    }

    /// Whether replies are kept for receivers that are not ready.
    pub(super) fn are_kept(&self) -> bool {
        !self.kept.is_empty()
    }

    pub(super) fn are_kept_for(&self, name: &[u8]) -> bool {
        self.kept.holds(name)
    }

    /// Whether somebody has so many replies waiting that more may have to be dropped.
    pub(super) fn are_pressing(&self, limits: &Limits) -> bool {
        self.kept.is_pressing(limits)
    }

    /// Keeps a reply for later.
    ///
    /// # Errors
    ///
    /// Why it is dropped instead.
    pub(super) fn keep(
        &mut self,
        name: &[u8],
        control: &Received,
        data: &[u8],
        limits: &Limits,
    ) -> Result<(), Refusal> {
        self.kept.keep(name, control, data, limits).map_err(|why| Refusal::new(true, why))
    }

    /// Where to send `len` bytes that answer a datagram from `name`.
    ///
    /// # Errors
    ///
    /// [`Outcome::NotNow`] or [`Outcome::Refused`].
    pub(super) fn target<'a>(
        &mut self,
        socket: &Socket,
        name: &'a [u8],
        uid: Option<u32>,
        len: usize,
    ) -> Result<Target<'a>, Outcome> {
        self.way.target(socket.as_fd(), name, uid, len)
    }

    /// Of a reply that [`Replies::target`] was asked for nothing was sent.
    pub(super) fn cancel(&mut self, uid: Option<u32>, len: usize) {
        self.way.cancel(uid, len);
    }

    /// Sends one reply, which comes behind no other.
    pub(super) fn send(
        &mut self,
        socket: &Socket,
        name: &[u8],
        control: &Received,
        data: &[u8],
    ) -> Outcome {
        self.way.send(socket.as_fd(), name, control, data)
    }

    /// Sends what was kept for the receiver `only`, or for whoever has a turn, as far as they are
    /// ready. Tells `done` of each reply that is off our hands: with nothing if it was sent, or why
    /// it was not. Returns whether any is.
    pub(super) fn send_kept(
        &mut self,
        socket: &Socket,
        only: Option<&[u8]>,
        limits: &Limits,
        mut done: impl FnMut(&[u8], usize, Option<&Refusal>),
    ) -> bool {
        if self.kept.is_empty() {
            return false;
        }
        let Self { way, kept } = self;
        let mut expired: Vec<(Box<[u8]>, usize)> = Vec::new();
        let mut has_sent = false;
        let send = |name: &[u8], reply: &Reply| {
            let refusal = match way.send(socket.as_fd(), name, &reply.control, &reply.data) {
                Outcome::Sent => None,
                Outcome::NotNow => return kept::Sent::NotReady,
                Outcome::Refused(refusal) => Some(refusal),
            };
            done(name, reply.data.len(), refusal.as_ref());
            has_sent = true;
            kept::Sent::Done
        };
        let expire = |name: &[u8], reply: &Reply| expired.push((name.into(), reply.data.len()));
        match only {
            Some(name) => kept.send_to(name, Instant::now(), send, expire),
            None => {
                kept.send(Instant::now(), send, expire);
            }
        }
        let has_sent = has_sent || !expired.is_empty();
        for (name, len) in expired {
            let why = format!("its sender has not taken it in {:?}", limits.deferred_reply_age_max);
            done(&name, len, Some(&Refusal::new(true, why)));
        }
        has_sent
    }

    /// Lets go of what was not used since the last call. Returns whether anything is held.
    pub(super) fn release_if_unused(&mut self) -> bool {
        match &mut self.way {
            Way::Unix { routes, .. } => routes.release_if_unused(),
            Way::Peer | Way::Address => false,
        }
    }

    /// Whether anything is held that has to be let go of some time.
    pub(super) fn hold_something(&self) -> bool {
        matches!(&self.way, Way::Unix { routes, .. } if routes.are_open())
    }
}

impl Way {
    fn target<'a>(
        &mut self,
        fd: BorrowedFd<'_>,
        name: &'a [u8],
        uid: Option<u32>,
        len: usize,
    ) -> Result<Target<'a>, Outcome> {
        match self {
            Self::Peer => Ok(Target::Name(&[])),
            Self::Address => Ok(Target::Name(name)),
            Self::Unix { routes, unread } => {
                let address = routes.find(name, uid).map_err(|error| match error {
                    NoRoute::NotNow => Outcome::NotNow,
                    NoRoute::Never(refusal) => Outcome::Refused(refusal),
                })?;
                if unread.admit(fd, uid, len) {
                    Ok(Target::Socket(address))
                } else {
                    Err(Outcome::NotNow)
                }
            }
        }
    }

    fn send(
        &mut self,
        fd: BorrowedFd<'_>,
        name: &[u8],
        control: &Received,
        data: &[u8],
    ) -> Outcome {
        let mut result = self.try_send(fd, name, control, data);
        // Its sender may have bound the name anew since.
        if result.as_ref().is_err_and(is_gone) && self.forget(name) {
            result = self.try_send(fd, name, control, data);
        }
        result.unwrap_or_else(|error| {
            if kept::is_not_ready(&error) {
                Outcome::NotNow
            } else {
                Outcome::Refused(Refusal::new(false, error.to_string()))
            }
        })
    }

    fn try_send(
        &mut self,
        fd: BorrowedFd<'_>,
        name: &[u8],
        control: &Received,
        data: &[u8],
    ) -> io::Result<Outcome> {
        match self.target(fd, name, control.uid, data.len()) {
            Ok(target) => {
                let sent = send_once_or_twice(fd, target.sockaddr(), control, data);
                if sent.is_err() {
                    self.cancel(control.uid, data.len());
                }
                sent
            }
            Err(outcome) => Ok(outcome),
        }
    }

    fn cancel(&mut self, uid: Option<u32>, len: usize) {
        if let Self::Unix { unread, .. } = self {
            unread.cancel(uid, len);
        }
    }

    fn forget(&mut self, name: &[u8]) -> bool {
        match self {
            Self::Unix { routes, .. } => {
                routes.forget(name);
                true
            }
            Self::Peer | Self::Address => false,
        }
    }
}

/// Whether the socket that a way leads to is gone.
fn is_gone(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ECONNREFUSED | libc::ENOENT))
}

/// Sends one reply. An error may be that of an earlier reply, which the kernel reports with the next
/// call: ip(7), `IP_RECVERR`. So the reply is sent once more.
fn send_once_or_twice(
    fd: BorrowedFd<'_>,
    name: &[u8],
    reply: &Received,
    data: &[u8],
) -> io::Result<Outcome> {
    let mut reply = Received { segment_size: None, ..*reply };
    let mut tries = 0;
    loop {
        let mut control = [0; control::REPLY_CONTROL_MAX];
        let len = control::write(&mut control, &reply);
        let sent = message::send(fd, name, &control[..len], data);
        let Err(error) = sent else { return Ok(Outcome::Sent) };
        tries += 1;
        match error.raw_os_error() {
            Some(libc::EINTR) => {}
            _ if kept::is_not_ready(&error) => return Err(error),
            Some(libc::EMSGSIZE) if socket_options::make_room(fd, data.len()) => {}
            _ if tries == 1 => {}
            // An emulated kernel that does not know of hops in a message.
            Some(libc::EINVAL) if reply.hop_limit.is_some() => reply.hop_limit = None,
            // It was sent to an address that is not one host's, a broadcast or a group, and the
            // kernel did not say which of ours that means: not to a socket of IPv6 if the sender
            // uses IPv4, and not to one that had not asked for it yet. Then the route decides.
            Some(libc::EINVAL | libc::ENETUNREACH) if reply.packet_info.is_some() => {
                reply.packet_info = None;
            }
            _ => return Err(error),
        }
    }
}

impl Target<'_> {
    /// The `sockaddr`, which leads there for as long as this lives.
    pub(super) fn sockaddr(&self) -> &[u8] {
        match self {
            Self::Name(name) => name,
            Self::Socket(address) => &address.sockaddr,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::OwnedFd;
    use std::os::unix::net::UnixDatagram;

    use super::*;

    /// A receiver whose queue is full is tried again and again.
    #[test]
    fn what_is_not_sent_is_on_nobodys_account() {
        let dir = tempfile::tempdir().expect("a directory");
        let ours = UnixDatagram::bind(dir.path().join("s")).expect("bind");
        let deaf = UnixDatagram::bind(dir.path().join("deaf")).expect("bind");
        let name = [
            &(libc::AF_UNIX as u16).to_ne_bytes()[..],
            dir.path().join("deaf").as_os_str().as_encoded_bytes(),
            b"\0",
        ]
        .concat();
        let fd = OwnedFd::from(ours);
        let kind = SocketKind::of(fd.as_fd()).expect("a socket");
        let mut replies = Replies::new(&kind, &[]);
        let socket = Socket::prepare(fd, &kind).expect("it is prepared");
        let control =
            Received { uid: Some(rustix::process::geteuid().as_raw()), ..Received::default() };
        let mut sent = 0;
        while matches!(replies.send(&socket, &name, &control, b"hello"), Outcome::Sent) {
            sent += 1;
        }
        assert!(sent > 0, "the first one has room");
        let booked = |replies: &Replies| match &replies.way {
            Way::Unix { unread, .. } => unread.total(),
            Way::Peer | Way::Address => 0,
        };
        let before = booked(&replies);
        for _ in 0..20 {
            assert!(matches!(replies.send(&socket, &name, &control, b"hello"), Outcome::NotNow));
        }
        assert_eq!(booked(&replies), before);
        drop(deaf);
    }
}
