//! When to try again what could not be done for lack of room.

use std::time::{Duration, Instant};

const FIRST: Duration = Duration::from_millis(1);
const LONGEST: Duration = Duration::from_millis(500);

/// A retry that comes later each time that it fails.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    due: Option<Instant>,
    delay: Option<Duration>,
}

impl Backoff {
    /// Plans the next try, unless one is planned.
    pub(super) fn plan(&mut self, now: Instant) {
        if self.due.is_none() {
            let delay = self.delay.map_or(FIRST, |delay| (delay * 2).min(LONGEST));
            self.delay = Some(delay);
            self.due = Some(now + delay);
        }
    }

    /// When the next try is due.
    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Whether it is time to try. If so, the plan is used up.
    pub(super) fn take(&mut self, now: Instant) -> bool {
        let is_due = self.due.is_some_and(|due| due <= now);
        if is_due {
            self.due = None;
        }
        is_due
    }

    /// Something worked: the next plan starts with the shortest delay. A plan that is made stays,
    /// for those that wait for it.
    pub(super) fn has_worked(&mut self) {
        self.delay = None;
    }

    /// There is nothing to try again.
    pub(super) fn reset(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_the_longest_and_start_over_after_success() {
        let mut now = Instant::now();
        let mut backoff = Backoff::default();
        let mut delays = Vec::new();
        for _ in 0..12 {
            backoff.plan(now);
            let due = backoff.due().expect("one is planned");
            assert!(!backoff.take(now));
            delays.push(due - now);
            now = due;
            assert!(backoff.take(now));
        }
        assert!(delays.windows(2).all(|pair| pair[1] == (pair[0] * 2).min(LONGEST)));
        assert_eq!(delays.last(), Some(&LONGEST));
        backoff.reset();
        backoff.plan(now);
        assert_eq!(backoff.due(), Some(now + FIRST));
    }
}
