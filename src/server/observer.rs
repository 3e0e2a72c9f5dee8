//! What a server tells of itself.

use std::ops::AddAssign;
use std::time::Instant;

/// Is told what happens to a server while it runs. Each method is called from the event loop of the
/// first worker, which serves nobody until it returns.
pub trait Observer {
    /// All sockets are served from now on.
    fn ready(&mut self) {}

    /// When [`Observer::tick`] is wanted: asked for before each wait. `None`: not at all.
    fn next_due(&self) -> Option<Instant> {
        None
    }

    /// [`Observer::next_due`] has come.
    fn tick(&mut self, _now: Instant) {}

    /// A shutdown begins: nothing more is accepted.
    fn stopping(&mut self) {}
}

/// Observes nothing.
impl Observer for () {}

/// What a server has done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Connections that were accepted or inherited.
    pub connections: u64,
    /// Datagrams that were received.
    pub messages: u64,
    /// Bytes that were received.
    pub bytes: u64,
    /// Datagrams that could not be answered.
    pub unanswered: u64,
}

impl AddAssign for Statistics {
    fn add_assign(&mut self, other: Self) {
        self.connections += other.connections;
        self.messages += other.messages;
        self.bytes += other.bytes;
        self.unanswered += other.unanswered;
    }
}
