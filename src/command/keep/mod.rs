//! `serve --keep-connections`: connections that outlive a restart, in the fd store of the service
//! manager. docs/notify.md has the protocol.
//!
//! The ledger is the commit record: it is stored last, and the next process goes on only with the
//! connections that it names, after the manager has given all of them up. So a connection is never
//! continued with a gap, however a process ends.

mod ledger;
mod store;
mod take;

use std::os::fd::OwnedFd;
use std::time::Duration;

use crate::activation::{FileKind, Inherited, InheritedFd, InheritedSocket, Kind};
use crate::error::{Error, ErrorKind, Result};
use crate::notify::{FdName, Notifier, NotifySocket};
use crate::server::Kept;

pub(super) use store::{Store, finish};

/// The names in the store. Each costs a connection as many bytes of `LISTEN_FDNAMES`, whose length
/// the kernel limits, so the first is short.
const CONNECTION: &str = "kept-socket";
const LEDGER: &str = "kept-ledger";
const CANARY: &str = "kept-canary";

/// How long the manager may take for an answer. For each descriptor that it stores it looks at all
/// that it has, and for each that it closes it starts a process.
fn answer_time_max(connections: usize) -> Duration {
    let connections = u32::try_from(connections).unwrap_or(u32::MAX);
    Duration::from_secs(10) + connections * Duration::from_millis(10)
}

/// What an inherited descriptor is that an earlier process has stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// A connection.
    Connection,
    /// What the connections are owed.
    Ledger,
    /// Left over from a check of the store.
    Canary,
}

impl Role {
    /// The role of a descriptor with this name; `None` if no `serve` has stored it.
    pub(super) fn of(name: &str, kind: &Kind) -> Option<Self> {
        let is_connection = || kind.service().is_some_and(|service| service.is_one_connection());
        match (name, kind) {
            (CONNECTION, Kind::Socket(_)) if is_connection() => Some(Self::Connection),
            (LEDGER, Kind::File(FileKind::RegularFile)) => Some(Self::Ledger),
            (CANARY, Kind::File(FileKind::Fifo)) => Some(Self::Canary),
            _ => None,
        }
    }

    /// What `serve` does with it.
    pub(super) fn in_words(self) -> &'static str {
        match self {
            Self::Connection => "goes on with this connection of the process before",
            Self::Ledger => "reads what the kept connections are owed",
            Self::Canary => "removes it from the fd store",
        }
    }
}

/// What an earlier process has stored, and what it takes to do the same.
#[derive(Debug)]
pub(super) struct Stored {
    /// Whether `--keep-connections` is given.
    is_wanted: bool,
    fds: Vec<(Role, OwnedFd)>,
    /// Bytes of `LISTEN_FDNAMES` for all other descriptors.
    names_len: usize,
    /// Whether a connection is inherited as such, so that it ends with its process.
    is_for_one_client: bool,
}

/// Divides the descriptors into those that are served and those that an earlier process has stored.
/// With `--keep-connections`, what cannot be served beside sockets that can be is explained, and
/// left alone: it may be somebody else's in the fd store.
///
/// # Errors
///
/// As [`Inherited::into_sockets`].
pub(super) fn sort(
    inherited: Inherited,
    is_wanted: bool,
) -> Result<(Vec<InheritedSocket>, Stored)> {
    let (mut fds, mut others) = (Vec::new(), Vec::new());
    for inherited in inherited.fds {
        match (Role::of(&inherited.name, &inherited.kind), inherited) {
            (Some(role), InheritedFd { fd: Some(fd), .. }) => fds.push((role, fd)),
            (_, other) => others.push(other),
        }
    }
    let names_len = others.iter().map(|fd| fd.name.len() + 1).sum();
    let is_shared = |fd: &InheritedFd| fd.kind.service().is_some_and(|s| !s.is_one_connection());
    if is_wanted && others.iter().any(is_shared) {
        let (shared, foreign) = others.into_iter().partition::<Vec<_>, _>(is_shared);
        for fd in foreign {
            let what = &fd.kind;
            log::warn!(
                "{fd} is not served, and left alone in the fd store, because it is a {what} that \
                 no `serve` has stored there"
            );
        }
        others = shared;
    }
    let sockets = others.into_iter().map(InheritedFd::into_socket).collect::<Result<Vec<_>>>()?;
    let is_for_one_client = sockets.iter().any(|socket| socket.service.is_one_connection());
    Ok((sockets, Stored { is_wanted, fds, names_len, is_for_one_client }))
}

impl Stored {
    /// Takes what is stored, and prepares to store it again at the end. If there is no store, the
    /// log says why, and the server has to drain.
    ///
    /// # Errors
    ///
    /// With `--keep-connections`, those of [`Notifier::from_env`].
    pub(super) fn begin(self) -> Result<(Kept, Option<Store>)> {
        if self.fds.is_empty() && !self.is_wanted {
            return Ok((Kept::default(), None));
        }
        let found = Notifier::from_env();
        let found = if self.is_wanted { Ok(found?) } else { found };
        let checked = found.and_then(with_descriptors).and_then(|notifier| {
            if !self.fds.is_empty() {
                take::remove(&notifier, self.fds.len())?;
            } else if store::fds_max().is_none() {
                notifier.check_fd_store(&name(CANARY)?, answer_time_max(0))?;
            }
            Ok(notifier)
        });
        let kept = match &checked {
            _ if self.fds.is_empty() => Kept::default(),
            Ok(_) => take::go_on(self.fds),
            Err(error) => take::give_up(self.fds, error),
        };
        if !self.is_wanted {
            return Ok((kept, None));
        }
        let prepared = checked.and_then(|notifier| {
            if self.is_for_one_client {
                let message = "a connection that is passed to a process ends with it";
                return Err(Error::new(ErrorKind::Other, message)
                    .remedy("use --keep-connections with a listening socket: Accept=no"));
            }
            Store::new(notifier, self.names_len)
        });
        let store = prepared.map_err(|error| {
            log::warn!("--keep-connections cannot keep any, so SIGTERM drains them: {error}");
        });
        Ok((kept, store.ok()))
    }
}

/// The manager, if descriptors can be sent to it.
fn with_descriptors(notifier: Option<Notifier>) -> Result<Notifier> {
    let error = |message: &str| Error::new(ErrorKind::Other, message);
    match notifier {
        Some(notifier) if matches!(notifier.target(), NotifySocket::Unix(_)) => Ok(notifier),
        Some(notifier) => {
            let message =
                format!("NOTIFY_SOCKET={} carries no file descriptors", notifier.target());
            Err(error(&message).remedy("run the service manager on this machine"))
        }
        None => Err(error("NOTIFY_SOCKET is not set")
            .remedy("run `serve` in a unit with FileDescriptorStoreMax=, and in no container")),
    }
}

fn name(text: &str) -> Result<FdName> {
    FdName::new(text).ok_or_else(|| Error::new(ErrorKind::Other, format!("name {text}")))
}
