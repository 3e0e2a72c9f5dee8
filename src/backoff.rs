//! When to retry after a shortage, for example of descriptors or memory.

use std::time::{Duration, Instant};

const FIRST: Duration = Duration::from_millis(1);
const LONGEST: Duration = Duration::from_millis(500);

/// The time of the next retry. The delay doubles after each failure.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    due: Option<Instant>,
    delay: Option<Duration>,
}

impl Backoff {
    /// Plans the next try, unless one is planned.
    pub(crate) fn plan(&mut self, now: Instant) {
        self.plan_within(LONGEST, now);
    }

    /// As `plan`, with a delay of at most `longest`. Returns whether the delay has just reached its
    /// maximum.
    pub(crate) fn plan_within(&mut self, longest: Duration, now: Instant) -> bool {
        if self.due.is_some() {
            return false;
        }
        let longest = longest.min(LONGEST);
        let last = self.delay;
        let delay = last.map_or(FIRST, |last| last * 2).min(longest);
        self.delay = Some(delay);
        self.due = Some(now + delay);
        delay == longest && last != Some(longest)
    }

    /// When the next try is due.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Whether it is time to try. If so, the plan is used up.
    pub(crate) fn take(&mut self, now: Instant) -> bool {
        let is_due = self.due.is_some_and(|due| due <= now);
        if is_due {
            self.due = None;
        }
        is_due
    }

    /// After a success, the next plan starts with the shortest delay. A present plan stays, for
    /// others that wait for it.
    pub(crate) fn has_worked(&mut self) {
        self.delay = None;
    }

    /// Forgets the plan and the delay, because nothing is left to retry.
    pub(crate) fn reset(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_the_longest_and_start_over() {
        for (longest, delays) in [
            (Duration::MAX, &[1, 2, 4, 8, 16, 32, 64, 128, 256, 500, 500, 500][..]),
            (Duration::from_millis(5), &[1, 2, 4, 5, 5]),
            (FIRST, &[1, 1]),
        ] {
            let mut now = Instant::now();
            let mut backoff = Backoff::default();
            let mut last = 0;
            for &delay in delays {
                let is_longest = backoff.plan_within(longest, now);
                assert_eq!(is_longest, last != delay && delays.ends_with(&[delay]), "{delay}");
                assert!(!backoff.plan_within(longest, now) && !backoff.take(now), "planned");
                now += Duration::from_millis(delay);
                assert_eq!(backoff.due(), Some(now), "{delay}");
                assert!(backoff.take(now));
                last = delay;
            }
            backoff.reset();
            backoff.plan(now);
            assert_eq!(backoff.due(), Some(now + FIRST));
        }
    }
}
