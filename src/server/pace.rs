//! Limits what strangers can make the server log: one line in a second, and a count of the rest.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The shortest time between two lines.
const PAUSE: Duration = Duration::from_secs(1);

/// The lines about one kind of event, over all workers.
#[derive(Debug, Default)]
pub(super) struct Pace(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    last_line: Option<Instant>,
    /// Events since the last line.
    count: u64,
}

impl Pace {
    /// Counts `count` more events. If a line may be logged now, returns how many events there were
    /// since the last one, if any.
    pub(super) fn line(&self, now: Instant, count: u64) -> Option<u64> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.count += count;
        let is_due =
            state.last_line.is_none_or(|last| now.saturating_duration_since(last) >= PAUSE);
        if !is_due || state.count == 0 {
            return None;
        }
        state.last_line = Some(now);
        Some(std::mem::take(&mut state.count))
    }

    /// The events that no line has counted. There is no other line after this one.
    pub(super) fn rest(&self) -> Option<u64> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Some(std::mem::take(&mut state.count)).filter(|count| *count > 0)
    }

    /// Whether events wait for their line.
    pub(super) fn has_rest(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).count > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_a_second_counts_everything() {
        let pace = Pace::default();
        let start = Instant::now();
        for (milliseconds, count, line) in [
            (0, 0, None),
            (0, 2, Some(2)),
            (999, 1, None),
            (1000, 1, Some(2)),
            (1500, 3, None),
            (3000, 0, Some(3)),
            (9000, 0, None),
        ] {
            let now = start + Duration::from_millis(milliseconds);
            assert_eq!(pace.line(now, count), line, "{milliseconds} ms");
        }
        assert!(!pace.has_rest() && pace.line(start, 5).is_none() && pace.has_rest());
        assert_eq!((pace.rest(), pace.rest()), (Some(5), None));
    }
}
