//! Finds the socket of the sender of a unix datagram, and no other socket, for the reply.
//!
//! A datagram has the name of its sender, and a path is not an identity. Its owner may have
//! replaced it by a link to another socket, or have bound it where the path means something else,
//! such as in another mount namespace. Then the echo would reach a third party with our
//! credentials. So the path is opened, it must lead to a socket of the user who sent the datagram,
//! and the reply goes through that descriptor, which nobody can exchange.
//!
//! An abstract name belongs to its holder. But each network namespace has its own names, and a
//! socket with a path can be reached from all of them.

use std::borrow::Cow;
use std::collections::HashMap;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::rc::Rc;
use std::sync::OnceLock;

use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::{Errno, retry_on_intr};

use super::unsent::{Refusal, Unsent};
use crate::activation::SocketKind;
use crate::address::{self, UnixName};
use crate::sandbox;
use crate::server::peer::Peer;
use crate::sys::descriptor;

/// How many senders' sockets are kept open, so that a reply needs only one system call.
const OPEN_MAX: usize = 64;

/// The senders of one socket.
#[derive(Debug)]
pub(super) struct Routes {
    /// Names that are never answered: those of this process's own sockets, and others that must not
    /// get an echo.
    forbidden: Vec<UnixName>,
    opener: Opener,
    /// Whether the socket's own name is abstract, so that all senders are in our network namespace.
    is_abstract: bool,
    /// The only user who may send to the socket, if the mode of its file restricts it.
    only_sender: Option<u32>,
    /// The user that this process runs as.
    own_uid: u32,
    /// By the name of the sender.
    open: HashMap<Box<[u8]>, Route>,
}

/// The socket of one sender.
#[derive(Debug)]
struct Route {
    uid: Option<u32>,
    address: Rc<Address>,
    /// Whether it was used since the last [`Routes::release_if_unused`].
    was_used: bool,
}

/// Where a reply goes. It keeps the descriptor open, because the kernel reuses the number of a
/// closed descriptor.
#[derive(Debug)]
pub(super) struct Address {
    /// The `sockaddr`: the sender's name, or the path of the descriptor below in /proc.
    pub(super) sockaddr: Box<[u8]>,
    file: Option<OwnedFd>,
}

impl Address {
    /// Whether the socket has lost its path. Its owner may be gone, or have bound the path again
    /// while another process still has the old socket, such as a child between fork(2) and
    /// execve(2).
    fn is_unlinked(&self) -> bool {
        let links = |file| rustix::fs::fstat(file).map_or(0, |stat| stat.st_nlink);
        self.file.as_ref().is_some_and(|file| links(file) == 0)
    }
}

impl Routes {
    /// For a socket of this `kind`. `forbidden` are the names that are never answered.
    pub(super) fn new(kind: &SocketKind, forbidden: &[UnixName]) -> Self {
        let name = match &kind.local {
            Some(address::Address::Unix(_, name)) => Some(name),
            _ => None,
        };
        let opener = Opener::of_this_kernel();
        Self {
            forbidden: forbidden.to_vec(),
            is_abstract: matches!(name, Some(UnixName::Abstract(_))),
            only_sender: name.and_then(|name| only_sender(name, opener)),
            own_uid: own_uid(),
            opener,
            open: HashMap::new(),
        }
    }

    /// The address of the sender with the `sockaddr` in `name` and, if the kernel reported it, the
    /// user `uid`.
    ///
    /// # Errors
    ///
    /// [`Unsent`], with the reason.
    pub(super) fn find(&mut self, name: &[u8], uid: Option<u32>) -> Result<Rc<Address>, Unsent> {
        if let Some(route) = self.open.get_mut(name) {
            if route.uid == uid && !route.address.is_unlinked() {
                route.was_used = true;
                return Ok(Rc::clone(&route.address));
            }
        }
        let address = Rc::new(self.verify(name, uid)?);
        if self.open.len() >= OPEN_MAX {
            self.open.clear();
        }
        let route = Route { uid, address: Rc::clone(&address), was_used: true };
        self.open.insert(name.into(), route);
        Ok(address)
    }

    /// Forgets a socket that is gone; the sender may have made another one.
    pub(super) fn forget(&mut self, name: &[u8]) {
        self.open.remove(name);
    }

    /// Closes descriptors that were not used since the last call, because they would keep file
    /// systems busy. Returns whether any is left.
    pub(super) fn release_if_unused(&mut self) -> bool {
        self.open.retain(|_, route| std::mem::take(&mut route.was_used));
        !self.open.is_empty()
    }

    pub(super) fn are_open(&self) -> bool {
        !self.open.is_empty()
    }

    fn verify(&mut self, name: &[u8], uid: Option<u32>) -> Result<Address, Unsent> {
        let Peer::Unix(peer) = Peer::from_sockaddr(name) else {
            return Err(untold("its sender's socket has no name, and cannot be answered"));
        };
        if self.forbidden.contains(&peer) {
            return Err(told(
                "its sender has a name that this server never answers, such as the \
                             service manager's",
            ));
        }
        let (sockaddr, file) = match &peer {
            UnixName::Abstract(name_bytes) => {
                self.verify_abstract(name_bytes, uid)?;
                (name.into(), None)
            }
            UnixName::Path(path) => {
                let file = match self.opener.open_path(path) {
                    Err(Errno::MFILE | Errno::NFILE) => {
                        // Some cached descriptors may not be needed any more.
                        self.open.clear();
                        self.opener.open_path(path)
                    }
                    file => file,
                };
                let file = file.map_err(not_opened)?;
                self.verify_file(&file, uid)?;
                (descriptor_sockaddr(&file), Some(file))
            }
        };
        Ok(Address { sockaddr, file })
    }

    fn verify_abstract(&self, name: &[u8], uid: Option<u32>) -> Result<(), Unsent> {
        let is_own_user = uid.is_some_and(|uid| uid == self.own_uid || uid == 0);
        if self.is_abstract || is_own_user || is_autobound(name) {
            return Ok(());
        }
        Err(told(
            "its sender has an abstract name and may be in another network namespace: from here, \
             the name could lead to another process",
        ))
    }

    fn verify_file(&self, file: &OwnedFd, uid: Option<u32>) -> Result<(), Unsent> {
        let stat = rustix::fs::fstat(file).map_err(not_opened)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::Socket {
            return Err(told("its sender's path leads to a file that is not a socket"));
        }
        let Some(sender) = uid.or(self.only_sender) else {
            return Err(told(
                "the kernel does not report which user sent it; set PassCredentials=yes in the \
                 socket unit (`activate` sets the option itself)",
            ));
        };
        if stat.st_uid != sender {
            let owner = stat.st_uid;
            return Err(told(format!(
                "user {sender} sent it, but the sender's path leads to a socket of user {owner}"
            )));
        }
        // A hard link, or a link of the same user: another path to the same file.
        for name in &self.forbidden {
            let UnixName::Path(path) = name else { continue };
            match self.opener.stat(path) {
                Ok(own) if is_same(&own, &stat) => {
                    return Err(told(
                        "its sender's path leads to a socket that this server never answers, such \
                         as the service manager's",
                    ));
                }
                Err(Errno::MFILE | Errno::NFILE | Errno::NOMEM) => {
                    return Err(Unsent::NotNow);
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// The only user, except root, who may send to the socket with this name: the owner of its file if
/// nobody else may write to the file (unix(7)), or of a directory that nobody else may search.
fn only_sender(name: &UnixName, opener: Opener) -> Option<u32> {
    let UnixName::Path(path) = name else { return None };
    let owner_if_without = |path: &Path, others: Mode| {
        let stat = opener.stat(path).ok()?;
        let allows_others = Mode::from_raw_mode(stat.st_mode).intersects(others);
        (!allows_others).then_some(stat.st_uid)
    };
    let may_send = || owner_if_without(path, Mode::WGRP | Mode::WOTH);
    let folders = || path.ancestors().skip(1);
    let may_enter = |folder| owner_if_without(folder, Mode::XGRP | Mode::XOTH);
    may_send().or_else(|| folders().find_map(may_enter))
}

/// The user that this process runs as, asked once: a confined server cannot ask.
fn own_uid() -> u32 {
    static OWN: OnceLock<u32> = OnceLock::new();
    *OWN.get_or_init(|| rustix::process::geteuid().as_raw())
}

/// Whether the kernel has chosen the name (unix(7), autobind). Its five digits belong to no
/// service, and soon to another client.
fn is_autobound(name: &[u8]) -> bool {
    name.len() == 5 && name.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// The system call that opens paths.
#[derive(Debug, Clone, Copy)]
enum Opener {
    OpenAt2,
    /// Without openat2(2): a kernel before 5.12, or a filter. A confined server may not try both.
    OpenAt,
}

impl Opener {
    /// Asked before the server is confined.
    fn of_this_kernel() -> Self {
        if sandbox::has_openat2() { Self::OpenAt2 } else { Self::OpenAt }
    }

    /// Opens the file at a sender's path with `O_PATH`.
    ///
    /// The name of a socket that is in use is in the kernel's cache. So the server need not wait for
    /// a disk, an automounter or another user's file system (openat2(2), `RESOLVE_CACHED`).
    fn open_path(self, path: &Path) -> Result<OwnedFd, Errno> {
        // The last part is the socket itself, which whoever binds the path creates. So it is never a
        // link.
        let resolve = ResolveFlags::NO_MAGICLINKS | ResolveFlags::CACHED;
        let mut tries = 0;
        loop {
            tries += 1;
            match self.open(path, OFlags::NOFOLLOW, resolve) {
                // A directory of the path is being renamed, or the path is not in the cache.
                Err(Errno::AGAIN | Errno::INTR) if tries < TRIES_MAX => {}
                file => return file,
            }
        }
    }

    /// What stat(2) reports, with the calls of [`Opener::open_path`]: a confined server has no
    /// others.
    fn stat(self, path: &Path) -> Result<Stat, Errno> {
        let file = retry_on_intr(|| self.open(path, OFlags::empty(), ResolveFlags::empty()))?;
        retry_on_intr(|| rustix::fs::fstat(&file))
    }

    fn open(self, path: &Path, more: OFlags, resolve: ResolveFlags) -> Result<OwnedFd, Errno> {
        let flags = OFlags::PATH | OFlags::CLOEXEC | more;
        match self {
            Self::OpenAt2 => rustix::fs::openat2(CWD, path, flags, Mode::empty(), resolve),
            Self::OpenAt => rustix::fs::openat(CWD, path, flags, Mode::empty()),
        }
    }
}

/// How often the path is tried in a row.
const TRIES_MAX: u32 = 4;

/// A refusal that the administrator should know of.
fn told(why: impl Into<Cow<'static, str>>) -> Unsent {
    Unsent::Refused(Refusal::new(true, why))
}

/// A refusal that happens in normal operation.
fn untold(why: impl Into<Cow<'static, str>>) -> Unsent {
    Unsent::Refused(Refusal::new(false, why))
}

fn not_opened(error: Errno) -> Unsent {
    match error {
        Errno::INTR | Errno::MFILE | Errno::NFILE | Errno::NOMEM => Unsent::NotNow,
        Errno::AGAIN => untold("its sender's path leads to no socket in the server's file system"),
        error => {
            let error = io::Error::from(error);
            untold(format!("its sender's path cannot be opened: {error}"))
        }
    }
}

fn is_same(one: &Stat, other: &Stat) -> bool {
    (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino)
}

/// The `sockaddr` of an open file: proc(5), /proc/self/fd.
fn descriptor_sockaddr(file: &OwnedFd) -> Box<[u8]> {
    let family = (libc::AF_UNIX as u16).to_ne_bytes();
    [&family[..], descriptor::path_in_proc(file).as_bytes(), b"\0"].concat().into()
}
