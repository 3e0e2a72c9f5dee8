//! The listening sockets of a worker. They accept, and pause while there is no room for a
//! connection.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Instant;

use rustix::event::epoll::EventFlags;
use rustix::io::Errno;
use rustix::net::{SocketFlags, sockopt};

use super::connection::{Connection, Protocol};
use super::per_source::{PerSource, Source};
use super::permits::{Permit, Permits};
use super::poller::{Interest, Registration};
use super::shared::{ServedSocket, Shared};
use super::socket_options;
use super::token::Token;
use super::workspace::Workspace;
use crate::backoff::Backoff;
use crate::error::{Context, MORE_DESCRIPTORS, Result};

pub(super) struct Listeners<'a> {
    list: Vec<Listener<'a>>,
    /// The limit of connections, over all workers.
    permits: &'a Permits,
    per_source: Option<&'a Arc<PerSource>>,
    /// When to accept again after there was no room.
    retry: Backoff,
    is_draining: bool,
}

/// A listening socket, shared with the service manager and the other workers.
struct Listener<'a> {
    fd: BorrowedFd<'a>,
    source: u16,
    protocol: Protocol,
    registration: Registration,
    /// Whether it waits for connections. It does not while there is no room for one.
    is_wanted: bool,
    /// Whether the socket has stopped accepting for good.
    has_failed: bool,
    /// Whether each connection inherits `SO_LINGER` from it.
    lingers: bool,
    /// Whether each unix stream inherits `SO_PASSCRED` from it: systemd.socket(5),
    /// PassCredentials=.
    passes_credentials: bool,
    /// Whether each connection is asked something, and answers in place of an echo.
    is_asked: bool,
    /// How many in a row were gone before they could be accepted.
    failures: u32,
    /// Whether it was logged that connections have to wait.
    has_told: bool,
}

/// After this many failures in a row, the listener pauses: a connection that stays in the backlog
/// would be reported again and again.
const FAILURES_MAX: u32 = 8;

/// What a listener has for its worker.
pub(super) enum Accept {
    Connection(Connection),
    /// A connection that was closed at once, because its source has as many as it may have.
    Refused,
    /// A connection whose peer has reset it already.
    Gone,
    /// There is no connection, or no room for one.
    Nobody,
}

/// The result of one attempt to accept.
enum Accepted {
    /// A connection.
    Connection(OwnedFd, Permit),
    /// Nobody is waiting.
    Nobody,
    /// The waiting connection is gone, or was never complete; there may be others.
    Gone(io::Error),
    /// `--connections-max` is reached.
    Full,
    /// There is no room for a connection now: `EMFILE`, `ENFILE`, `ENOBUFS`, `ENOMEM`. Or for
    /// example a security module forbids it: `EPERM`, and the connection stays in the backlog.
    NotNow(io::Error),
    /// The socket accepts no more connections.
    Failed(io::Error),
}

impl<'a> Listeners<'a> {
    /// Registers all listeners.
    ///
    /// # Errors
    ///
    /// Those of ioctl(2) and epoll_ctl(2).
    pub(super) fn new(shared: &'a Shared<'a>, space: &Workspace<'a>) -> Result<Self> {
        // One connection wakes one worker. Without this, it would wake all, and one would get it.
        let extra = if shared.is_alone { EventFlags::empty() } else { EventFlags::EXCLUSIVE };
        let mut list = Vec::with_capacity(shared.listeners.len());
        for (number, listener) in shared.listeners.iter().enumerate() {
            let mut listener = Listener::new(listener, number, extra);
            listener
                .prepare()
                .and_then(|()| listener.tell(space))
                .context(format!("serve {}", space.name(usize::from(listener.source))))?;
            list.push(listener);
        }
        Ok(Self {
            list,
            permits: shared.connections,
            per_source: shared.per_source.as_ref(),
            retry: Backoff::default(),
            is_draining: false,
        })
    }

    /// Whether no listener can accept any more.
    pub(super) fn have_ended(&self) -> bool {
        self.list.iter().all(|listener| listener.has_failed)
    }

    pub(super) fn next_due(&self) -> Option<Instant> {
        self.retry.due()
    }

    pub(super) fn on_time(&mut self, now: Instant, space: &Workspace<'_>) {
        if self.retry.take(now) {
            self.wait_for_all(space);
        }
    }

    /// A connection has ended and made room for another one.
    pub(super) fn has_room(&mut self, space: &Workspace<'_>) {
        if self.retry.due().is_some() {
            self.retry.reset();
            self.wait_for_all(space);
        }
    }

    fn wait_for_all(&mut self, space: &Workspace<'_>) {
        for listener in &mut self.list {
            listener.is_wanted = !self.is_draining && !listener.has_failed;
        }
        self.tell_all(space);
    }

    /// Stops accepting. Connections wait in the kernel's backlog for the next activation.
    pub(super) fn begin_to_drain(&mut self, space: &Workspace<'_>) {
        self.is_draining = true;
        self.retry.reset();
        for listener in &mut self.list {
            listener.is_wanted = false;
        }
        self.tell_all(space);
    }

    fn tell_all(&mut self, space: &Workspace<'_>) {
        for listener in &mut self.list {
            if let Err(error) = listener.tell(space) {
                let name = space.name(usize::from(listener.source));
                log::debug!("wait for connections on {name}: {error}; trying again");
                self.retry.plan(Instant::now());
            }
        }
    }

    /// Accepts the next connection of a listener whose event has these `flags`.
    pub(super) fn accept(
        &mut self,
        number: u32,
        flags: EventFlags,
        space: &Workspace<'_>,
    ) -> Accept {
        let Some(listener) = self.list.get_mut(number as usize) else { return Accept::Nobody };
        while listener.is_wanted {
            match listener.accept(self.permits) {
                Accepted::Connection(fd, permit) => {
                    listener.failures = 0;
                    self.retry.has_worked();
                    return listener.admit(fd, permit, self.per_source, space);
                }
                Accepted::Gone(error) => {
                    listener.failures += 1;
                    if listener.failures > FAILURES_MAX {
                        listener.say_why(&error, space);
                        listener.pause(&mut self.retry, space);
                    }
                }
                // Only a listener that was shut down hangs up. A TCP listener reports it by an
                // error.
                Accepted::Nobody if flags.contains(EventFlags::HUP) => {
                    listener.give_up(&Errno::INVAL.into(), space);
                }
                Accepted::Nobody => break,
                Accepted::Full => listener.pause(&mut self.retry, space),
                Accepted::NotNow(error) => {
                    listener.say_why(&error, space);
                    listener.pause(&mut self.retry, space);
                }
                Accepted::Failed(error) => listener.give_up(&error, space),
            }
        }
        Accept::Nobody
    }

    /// Leaves the connections of a listener in the kernel's backlog until there is room.
    pub(super) fn pause(&mut self, number: u32, space: &Workspace<'_>) {
        if let Some(listener) = self.list.get_mut(number as usize) {
            listener.pause(&mut self.retry, space);
        }
    }
}

impl<'a> Listener<'a> {
    fn new(shared: &'a ServedSocket, number: usize, extra: EventFlags) -> Self {
        let protocol = Protocol::of(&shared.kind);
        Self {
            fd: shared.fd.as_fd(),
            source: shared.source,
            protocol,
            registration: Registration::new(Token::Listener(number as u32), extra),
            is_wanted: true,
            has_failed: false,
            lingers: socket_options::lingers_in_close(&shared.fd),
            passes_credentials: protocol == Protocol::UnixStream
                && sockopt::socket_passcred(&shared.fd).unwrap_or(false),
            is_asked: shared.is_asked,
            failures: 0,
            has_told: false,
        }
    }

    /// accept4(2) has no flag for one non-blocking call, so the socket itself must be non-blocking.
    /// systemd sets this again at each start (systemd.service(5), NonBlocking=).
    fn prepare(&self) -> io::Result<()> {
        Ok(rustix::io::ioctl_fionbio(self.fd, true)?)
    }

    fn tell(&mut self, space: &Workspace<'_>) -> io::Result<()> {
        let interest = if self.is_wanted { Interest::Readable } else { Interest::Nothing };
        self.registration.tell(&space.poller, self.fd, interest)
    }

    fn accept(&self, permits: &Permits) -> Accepted {
        let Some(permit) = permits.take() else { return Accepted::Full };
        // Another holder of the socket may have made it blocking again.
        if socket_options::is_blocking(self.fd) {
            if let Err(error) = self.prepare() {
                return Accepted::NotNow(error);
            }
        }
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        match rustix::net::accept_with(self.fd, flags) {
            Ok(fd) => Accepted::Connection(fd, permit),
            Err(Errno::AGAIN) => Accepted::Nobody,
            Err(
                error @ (Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM | Errno::PERM),
            ) => Accepted::NotNow(error.into()),
            // accept(2): a connection that is already gone, and the network errors that Linux
            // reports for the new connection, should be treated like EAGAIN.
            Err(
                error @ (Errno::INTR
                | Errno::CONNABORTED
                | Errno::ACCESS
                | Errno::OPNOTSUPP
                | Errno::NETDOWN
                | Errno::PROTO
                | Errno::NOPROTOOPT
                | Errno::HOSTDOWN
                | Errno::NONET
                | Errno::HOSTUNREACH
                | Errno::NETUNREACH
                | Errno::TIMEDOUT
                | Errno::CONNRESET),
            ) => Accepted::Gone(error.into()),
            Err(error) => Accepted::Failed(error.into()),
        }
    }

    /// Refuses a connection whose source has as many as it may have.
    fn admit(
        &self,
        fd: OwnedFd,
        permit: Permit,
        per_source: Option<&Arc<PerSource>>,
        space: &Workspace<'_>,
    ) -> Accept {
        let Some(all) = per_source else {
            return Accept::Connection(self.connection(fd, permit, space));
        };
        let source = Source::of(&fd);
        let taken = source.as_ref().map(|source| all.take(*source));
        if let Ok(Some(taken)) = taken {
            return Accept::Connection(self.connection(fd, permit.with(Some(taken)), space));
        }
        // Closing it must not wait.
        if self.lingers {
            socket_options::do_not_linger_in_close(&fd);
        }
        let name = space.name(usize::from(self.source));
        match source {
            Ok(source) => {
                all.tell(source, name);
                Accept::Refused
            }
            Err(error) => {
                log::debug!("the peer of a connection on {name}: {error}; it is gone");
                Accept::Gone
            }
        }
    }

    fn connection(&self, fd: OwnedFd, permit: Permit, space: &Workspace<'_>) -> Connection {
        space.trace_accept(usize::from(self.source), &fd);
        if self.lingers {
            socket_options::do_not_linger_in_close(&fd);
        }
        if self.passes_credentials {
            // With credentials, each receive would need another one that finds nothing.
            let _ = sockopt::set_socket_passcred(&fd, false);
        }
        let connection = Connection::new(fd, self.source, self.protocol, permit);
        if self.is_asked { connection.asked() } else { connection }
    }

    fn pause(&mut self, retry: &mut Backoff, space: &Workspace<'_>) {
        self.is_wanted = false;
        retry.plan(Instant::now());
        if let Err(error) = self.tell(space) {
            log::debug!("stop waiting on {}: {error}", space.name(usize::from(self.source)));
        }
    }

    /// Logs once why connections wait.
    fn say_why(&mut self, error: &io::Error, space: &Workspace<'_>) {
        let name = space.name(usize::from(self.source));
        if std::mem::replace(&mut self.has_told, true) {
            log::debug!("accept on {name}: {error}; trying again");
            return;
        }
        let remedy = match error.raw_os_error() {
            Some(libc::EMFILE) => format!("; {MORE_DESCRIPTORS}"),
            _ => String::new(),
        };
        log::warn!("accept on {name}: {error}; connections wait in the kernel's backlog{remedy}");
    }

    /// Gives up a socket that accepts no more, for example after shutdown(2).
    fn give_up(&mut self, error: &io::Error, space: &Workspace<'_>) {
        let name = space.name(usize::from(self.source));
        log::error!("accept on {name}: {error}; the socket is no longer served");
        self.has_failed = true;
        self.is_wanted = false;
        if let Err(error) = self.tell(space) {
            log::debug!("stop waiting on {name}: {error}");
        }
    }
}
