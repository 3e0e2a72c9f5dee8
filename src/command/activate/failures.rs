//! Logs the commands of `--accept` and `--restart` that failed. Clients can cause many failures at
//! chosen times. So at most one line is logged in a second, and the other failures are counted.

use std::fmt;
use std::time::{Duration, Instant};

/// Bounds the lines of one kind: clients choose when they come.
#[derive(Default)]
pub(super) struct Pace {
    last_line: Option<Instant>,
}

impl Pace {
    /// The shortest time between two lines.
    const PAUSE: Duration = Duration::from_secs(1);

    /// Whether a line may be logged now. If so, the next one may be logged after the pause.
    pub(super) fn is_due(&mut self, now: Instant) -> bool {
        let is_due = self.last_line.is_none_or(|last| now.duration_since(last) >= Self::PAUSE);
        if is_due {
            self.last_line = Some(now);
        }
        is_due
    }
}

#[derive(Default)]
pub(super) struct Failures {
    pace: Pace,
    /// How many failures were not logged.
    left_out: u64,
}

impl Failures {
    /// Logs the failure, or counts it.
    pub(super) fn tell(&mut self, failure: impl fmt::Display) {
        if self.is_due(Instant::now()) {
            self.tell_rest();
            log::warn!("{failure}");
        }
    }

    /// Logs the count of failures without a line.
    pub(super) fn tell_rest(&mut self) {
        match std::mem::take(&mut self.left_out) {
            0 => {}
            count => log::warn!("failures of the command that were not logged: {count}"),
        }
    }

    fn is_due(&mut self, now: Instant) -> bool {
        let is_due = self.pace.is_due(now);
        self.left_out += u64::from(!is_due);
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_a_second_and_a_count() {
        let mut failures = Failures::default();
        let start = Instant::now();
        let due = [0, 0, 999, 1000, 1001, 1999, 5000].map(|milliseconds| {
            let is_due = failures.is_due(start + Duration::from_millis(milliseconds));
            (is_due, if is_due { std::mem::take(&mut failures.left_out) } else { 0 })
        });
        let counted = [(true, 0), (false, 0), (false, 0), (true, 2), (false, 0), (false, 0)];
        assert_eq!(due[..6], counted);
        assert_eq!(due[6], (true, 2));
    }
}
