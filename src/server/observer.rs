//! How a server reports its state.

use std::ops::AddAssign;
use std::time::Instant;

/// Gets the events of a server. The event loop of the first worker calls each method, and serves
/// nobody until it returns.
pub trait Observer {
    /// All sockets are served from now on.
    fn ready(&mut self) {}

    /// When to call [`Observer::tick`]; asked before each wait. `None`: never.
    fn next_due(&self) -> Option<Instant> {
        None
    }

    /// The time of [`Observer::next_due`] has come.
    fn tick(&mut self, _now: Instant) {}

    /// A shutdown begins: nothing more is accepted.
    fn stopping(&mut self) {}
}

/// Observes nothing.
impl Observer for () {}

/// The counts of a server.
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
