//! How a server reports its state.

use std::ops::AddAssign;
use std::time::{Duration, Instant};

/// Gets the events of a server. The event loop of the first worker calls each method, and serves
/// nobody until it returns.
pub trait Observer {
    /// All sockets are served from now on.
    fn ready(&mut self) {}

    /// When to call [`Observer::tick`]; asked before each wait. `None`: never.
    fn next_due(&self) -> Option<Instant> {
        None
    }

    /// The counts, or the number of connections, have changed since the last [`Observer::tick`].
    /// Called at most once before the next one: an observer that wants to know what has changed
    /// asks for a tick.
    fn changed(&mut self) {}

    /// The time of [`Observer::next_due`] has come.
    fn tick(&mut self, _now: Instant, _progress: &Progress) {}

    /// A shutdown begins: nothing more is accepted.
    fn stopping(&mut self) {}
}

/// Observes nothing.
impl Observer for () {}

/// What all workers of a server have done up to a tick.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Progress {
    /// The counts. A worker that is at work adds its own when it has finished its turn.
    pub statistics: Statistics,
    /// The connections that are open now.
    pub connections: u64,
    /// The longest turn of a worker that has not come back to its event loop since an earlier
    /// tick. `None` if all workers have come back since the last tick, or wait for events.
    pub longest_turn: Option<LongTurn>,
}

/// A turn of a worker's event loop that goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LongTurn {
    /// The number of the worker; the first one is 1.
    pub worker: usize,
    /// For how long ticks have seen the worker in this turn. The turn has taken longer.
    pub time: Duration,
}

/// The counts of a server, and how it ended.
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
    /// Connections that were closed at once because of a limit.
    pub refused: u64,
    /// Whether the server has ended because it was idle ([`Config`](super::Config)).
    pub ended_idle: bool,
}

impl Statistics {
    /// How many counts there are.
    pub(super) const COUNTS: usize = 5;

    pub(super) fn to_array(self) -> [u64; Self::COUNTS] {
        let Self { connections, messages, bytes, unanswered, refused, .. } = self;
        [connections, messages, bytes, unanswered, refused]
    }

    pub(super) fn from_array(counts: [u64; Self::COUNTS]) -> Self {
        let [connections, messages, bytes, unanswered, refused] = counts;
        Self { connections, messages, bytes, unanswered, refused, ended_idle: false }
    }
}

impl AddAssign for Statistics {
    fn add_assign(&mut self, other: Self) {
        let mut sum = self.to_array();
        sum.iter_mut().zip(other.to_array()).for_each(|(sum, count)| *sum += count);
        let ended_idle = self.ended_idle || other.ended_idle;
        *self = Self { ended_idle, ..Self::from_array(sum) };
    }
}
