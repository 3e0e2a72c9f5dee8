//! Logs the commands of `--accept` that failed. Clients can cause many failures at chosen times. So
//! at most one line is logged in a second, and the other failures are counted.

use std::fmt;
use std::time::{Duration, Instant};

/// The shortest time between two lines.
const PAUSE: Duration = Duration::from_secs(1);

#[derive(Default)]
pub(super) struct Failures {
    last_line: Option<Instant>,
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
        let is_due = self.last_line.is_none_or(|last| now.duration_since(last) >= PAUSE);
        match is_due {
            true => self.last_line = Some(now),
            false => self.left_out += 1,
        }
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
