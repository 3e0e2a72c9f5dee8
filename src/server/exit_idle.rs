//! Ends a server in which nothing has happened for some time.
//!
//! Each worker that has taken a permit plans the end when it is about to wait and no permit is out.
//! So the last one that did anything plans the end for the right time, and no other thread has to
//! be woken. The plan fails if a permit was taken since, because whoever took it makes a plan too.

use std::time::{Duration, Instant};

use super::permits::{Permits, Rest};

/// The plans of one worker.
#[derive(Debug)]
pub(super) struct Idle<'a> {
    gate: &'a Permits,
    time: Duration,
    /// Whether a permit may have been taken since the last plan.
    is_touched: bool,
    plan: Option<(Instant, Rest)>,
}

impl<'a> Idle<'a> {
    /// For a server that ends after this time.
    pub(super) fn new(gate: &'a Permits, time: Duration) -> Self {
        Self { gate, time, is_touched: false, plan: None }
    }

    /// The worker may take a permit now, or has one.
    pub(super) fn touch(&mut self) {
        self.is_touched = true;
    }

    /// The worker is about to wait: its last activity has ended, unless it has a permit.
    pub(super) fn plan(&mut self) {
        if !self.is_touched {
            return;
        }
        self.plan = None;
        if let Some(rest) = self.gate.rest() {
            self.is_touched = false;
            // A time that the clock cannot express never comes.
            self.plan = Instant::now().checked_add(self.time).map(|due| (due, rest));
        }
    }

    pub(super) fn next_due(&self) -> Option<Instant> {
        self.plan.map(|(due, _)| due)
    }

    /// Whether the server ends now. Then nothing more can be accepted or received.
    pub(super) fn ends(&mut self, now: Instant) -> bool {
        let Some((_, rest)) = self.plan.take_if(|(due, _)| *due <= now) else { return false };
        let ends = self.gate.close(rest);
        // Another worker was active, and plans the end unless it has ended by itself.
        self.is_touched |= !ends;
        ends
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIME: Duration = Duration::from_secs(10);

    #[test]
    fn the_last_activity_counts_whose_ever_it_was() {
        let gate = Permits::new(1);
        let [mut first, mut second] = [Idle::new(&gate, TIME), Idle::new(&gate, TIME)];
        second.plan();
        assert_eq!(second.next_due(), None, "it has done nothing");
        first.touch();
        first.plan();
        let early = first.next_due().expect("nobody is there");
        assert!(!first.ends(early - TIME), "it is not time");
        second.touch();
        let permit = gate.take().expect("a connection");
        second.plan();
        assert_eq!(second.next_due(), None, "there is a connection");
        assert!(!first.ends(early));
        first.plan();
        assert_eq!(first.next_due(), None, "there is a connection");
        let before = Instant::now();
        drop(permit);
        second.plan();
        let due = second.next_due().expect("it has gone");
        assert!(due >= before + TIME);
        // Another plan, later and in vain.
        first.plan();
        assert!(first.next_due() >= Some(due));
        assert!(second.ends(due) && gate.are_closed());
        assert!(!first.ends(due + TIME), "it has ended");
    }

    #[test]
    fn a_time_without_an_end() {
        let gate = Permits::new(1);
        let mut idle = Idle::new(&gate, Duration::MAX);
        idle.touch();
        idle.plan();
        assert_eq!(idle.next_due(), None);
    }
}
