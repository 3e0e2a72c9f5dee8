//! What the workers of one server share.

use std::os::fd::OwnedFd;
use std::time::Duration;

use super::bell::Bell;
use super::busy_poll::BusyPoll;
use super::limits::Limits;
use super::permits::Permits;
use super::pulse::Pulse;
use super::shutdown::{Shutdown, Trigger};
use crate::activation::{Service, SocketKind};
use crate::address::UnixName;

/// An inherited socket: a listener, which all workers share, or a socket of one worker.
#[derive(Debug)]
pub(super) struct ServedSocket {
    pub(super) fd: OwnedFd,
    /// The number of the inherited socket.
    pub(super) source: u16,
    pub(super) kind: SocketKind,
    pub(super) service: Service,
}

#[cfg(test)]
impl ServedSocket {
    /// The first inherited socket, for tests.
    pub(super) fn first(fd: impl Into<OwnedFd>) -> Self {
        let fd = fd.into();
        let kind = SocketKind::of(std::os::fd::AsFd::as_fd(&fd)).expect("a socket");
        let service = kind.service().expect("it can be served");
        Self { fd, source: 0, kind, service }
    }
}

/// What the workers share.
pub(super) struct Shared<'a> {
    /// The name of each inherited socket.
    pub(super) names: &'a [String],
    pub(super) limits: &'a Limits,
    pub(super) busy_poll: BusyPoll,
    pub(super) listeners: &'a [ServedSocket],
    pub(super) is_alone: bool,
    /// The limit of connections, over all workers, and the gate of a server that ends when it is
    /// idle.
    pub(super) connections: &'a Permits,
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

    /// The shutdowns that end a worker.
    pub(super) fn shutdowns(&self) -> impl Iterator<Item = &Shutdown> {
        let failure = self.failure.as_ref().map(|(_, failure)| failure);
        std::iter::once(self.shutdown).chain(failure)
    }
}
