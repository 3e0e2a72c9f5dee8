//! When to look for connections on which nothing moves.

use std::ops::Range;
use std::time::{Duration, Instant};

/// Looks at each connection once in a period, which is an eighth of the timeout, and at a few of
/// them in each turn of the event loop. So neither an event nor a message costs more than to write
/// down the number of the period.
#[derive(Debug, Default)]
pub(super) struct IdleSweep {
    /// When the next period begins; `None` while there is nothing to look at.
    due: Option<Instant>,
    /// The connections that are left to look at in this period.
    rest: Range<u32>,
}

/// How many periods a timeout has. A connection ends at most one period too late.
pub(super) const PERIODS: u32 = 8;

/// So many connections are looked at before the others get their turn: as many as there can be
/// events.
const SLICE: u32 = 256;

impl IdleSweep {
    /// There is something to look at, with this timeout.
    pub(super) fn start(&mut self, timeout: Option<Duration>) {
        if let (Some(timeout), None) = (timeout, self.due) {
            self.due = Instant::now().checked_add(timeout / PERIODS);
        }
    }

    /// Stops looking.
    pub(super) fn stop(&mut self) {
        *self = Self::default();
    }

    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }

    pub(super) fn is_under_way(&self) -> bool {
        !self.rest.is_empty()
    }

    /// Begins a period, if it is time. The time that a server could not run, because it or the
    /// machine was stopped, counts as one period: what came meanwhile is received first.
    pub(super) fn begins(&mut self, now: Instant, timeout: Option<Duration>, slots: u32) -> bool {
        let begins = !self.is_under_way() && self.due.is_some_and(|due| due <= now);
        if begins {
            self.due = timeout.and_then(|timeout| now.checked_add(timeout / PERIODS));
            self.rest = 0..slots;
        }
        begins
    }

    /// The connections to look at in this turn.
    pub(super) fn slice(&mut self) -> Range<u32> {
        let end = self.rest.end.min(self.rest.start.saturating_add(SLICE));
        let slice = self.rest.start..end;
        self.rest.start = end;
        slice
    }
}
