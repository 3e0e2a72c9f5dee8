//! Stops receiving for a moment, so that a sender can read its waiting replies. Meanwhile its next
//! datagrams, and those of all other senders, wait in the kernel.

use std::time::Instant;

use crate::server::limits::Limits;

/// Whether there is a pause, and whether the next one may be long.
#[derive(Debug, Default)]
pub(super) struct Patience {
    /// The start and the latest end of the pause. The next pause begins only after this one has
    /// helped.
    pause: Option<(Instant, Instant)>,
    /// A long pause is rare, because it makes all other senders wait.
    no_long_one_before: Option<Instant>,
}

impl Patience {
    /// Whether there is a pause now.
    pub(super) fn waits(&self) -> bool {
        self.pause.is_some_and(|(_, ends)| Instant::now() < ends)
    }

    /// Begins a pause if a user `is_pressed` to read replies, and ends it if none is any more.
    pub(super) fn consider(&mut self, is_pressed: bool, limits: &Limits) {
        let short = limits.deferred_pause_max / 10;
        match self.pause {
            None if is_pressed => {
                let now = Instant::now();
                let may_be_long = self.no_long_one_before.is_none_or(|time| time <= now);
                let longest = if may_be_long { limits.deferred_pause_max } else { short };
                self.pause = Some((now, now + longest));
            }
            Some((began, ends)) if !is_pressed => {
                let now = Instant::now();
                if now.min(ends) - began > short {
                    self.no_long_one_before = Some(now + limits.deferred_reply_age_max);
                }
                self.pause = None;
            }
            None | Some(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// How long a pause that begins now may last.
    fn longest(patience: &mut Patience, limits: &Limits) -> Duration {
        patience.consider(true, limits);
        let (began, ends) = patience.pause.expect("there is one");
        ends - began
    }

    #[test]
    fn who_reads_is_waited_for_and_who_does_not_makes_the_others_wait_once_in_a_while() {
        let limits = Limits::default();
        let mut patience = Patience::default();
        patience.consider(false, &limits);
        assert!(!patience.waits());
        // A sender that reads: any number of pauses may be long.
        for _ in 0..100 {
            assert_eq!(longest(&mut patience, &limits), limits.deferred_pause_max);
            assert!(patience.waits());
            patience.consider(false, &limits);
            assert!(!patience.waits());
        }
        // A sender that does not read, or reads slowly.
        let began = Instant::now();
        patience.pause = Some((began - limits.deferred_pause_max, began));
        patience.consider(true, &limits);
        assert!(!patience.waits(), "no other one before it has read");
        patience.consider(false, &limits);
        assert_eq!(longest(&mut patience, &limits), limits.deferred_pause_max / 10);
    }
}
