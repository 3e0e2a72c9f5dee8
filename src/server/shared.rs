//! What the workers of one server share.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use super::answer::Answer;
use super::bell::Bell;
use super::busy_poll::Polling;
use super::kept::Kept;
use super::limits::Limits;
use super::pace::Pace;
use super::per_source::PerSource;
use super::permits::Permits;
use super::pulse::Pulse;
use super::shutdown::{Shutdown, Trigger};
use crate::activation::{Service, SocketKind};
use crate::address::UnixName;
use crate::sandbox::Sandbox;

/// An inherited socket: a listener, which all workers share, or a socket of one worker.
#[derive(Debug)]
pub(super) struct ServedSocket {
    pub(super) fd: OwnedFd,
    /// The number of the inherited socket.
    pub(super) source: u16,
    pub(super) kind: SocketKind,
    pub(super) service: Service,
    /// Whether it answers questions in place of an echo.
    pub(super) is_asked: bool,
}

/// What a worker starts with: its own sockets, and its part of what an earlier run has kept.
pub(super) type Work = (Vec<ServedSocket>, Kept);

#[cfg(test)]
impl ServedSocket {
    /// The first inherited socket, for tests.
    pub(super) fn first(fd: impl Into<OwnedFd>) -> Self {
        let fd = fd.into();
        let kind = SocketKind::of(std::os::fd::AsFd::as_fd(&fd)).expect("a socket");
        let service = kind.service().expect("it can be served");
        Self { fd, source: 0, kind, service, is_asked: false }
    }
}

/// What the workers share.
pub(super) struct Shared<'a> {
    /// The name of each inherited socket.
    pub(super) names: &'a [String],
    pub(super) limits: &'a Limits,
    pub(super) busy_poll: Polling,
    pub(super) sandbox: &'a Sandbox,
    /// What a socket says that does not echo.
    pub(super) answer: Option<&'a dyn Answer>,
    pub(super) listeners: &'a [ServedSocket],
    pub(super) is_alone: bool,
    /// The limit of connections, over all workers, and the gate of a server that ends when it is
    /// idle.
    pub(super) connections: &'a Permits,
    /// The limit of the connections of one source, if there is one.
    pub(super) per_source: Option<Arc<PerSource>>,
    /// The lines about connections that were idle for too long.
    pub(super) idle_lines: Pace,
    pub(super) never_answered: &'a [UnixName],
    /// After how long an idle server ends.
    pub(super) exit_idle_time: Option<Duration>,
    pub(super) shutdown: &'a Shutdown,
    /// How one of several workers stops the others.
    pub(super) failure: Option<(Trigger, Shutdown)>,
    /// What each worker does, the first one first.
    pub(super) pulses: &'a [Pulse],
    /// How the others of several workers tell the first one that something has changed.
    pub(super) bell: Option<Bell>,
    /// Whether a shutdown keeps what is unfinished.
    pub(super) keeps_connections: bool,
    /// The number that stands for the inherited socket of connections that an earlier run has kept.
    pub(super) kept_source: u16,
}

impl<'a> Shared<'a> {
    /// What a worker must pass before it receives, if the server ends when it is idle.
    pub(super) fn gate(&self) -> Option<&'a Permits> {
        self.exit_idle_time.map(|_| self.connections)
    }

    /// Stops the other workers: this one cannot go on, or the server is idle.
    pub(super) fn stop(&self) {
        if let Some((trigger, _)) = &self.failure {
            trigger.pull();
        }
    }

    /// Whether the shutdown that has begun keeps what is unfinished. If a worker has failed, nobody
    /// gets what the others would keep.
    pub(super) fn keeps_unfinished(&self) -> bool {
        let has_failed = || self.failure.as_ref().is_some_and(|(_, failure)| failure.is_set());
        self.keeps_connections && !self.connections.are_closed() && !has_failed()
    }

    /// The shutdowns that end a worker.
    pub(super) fn shutdowns(&self) -> impl Iterator<Item = &Shutdown> {
        let failure = self.failure.as_ref().map(|(_, failure)| failure);
        std::iter::once(self.shutdown).chain(failure)
    }
}
