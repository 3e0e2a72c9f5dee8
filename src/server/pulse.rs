//! What each worker does, for the observer: its counts, and whether it comes back to its event
//! loop.
//!
//! Only its own worker writes a pulse, so plain stores are enough, and a worker that hangs needs to
//! do nothing to be noticed.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::observer::{LongTurn, Progress, Statistics};

/// What one worker does. No two pulses share a cache line.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(super) struct Pulse {
    /// Odd while the worker is at work, even while it waits for events.
    turn: AtomicU64,
    connections: AtomicU64,
    counts: [AtomicU64; Statistics::COUNTS],
}

impl Pulse {
    /// The worker has waited and goes to work.
    pub(super) fn begin_turn(&self) {
        let turn = self.turn.load(Ordering::Relaxed);
        self.turn.store(turn.wrapping_add(1), Ordering::Relaxed);
    }

    /// The worker is about to wait, or ends.
    pub(super) fn end_turn(&self) {
        let turn = self.turn.load(Ordering::Relaxed);
        self.turn.store(turn.wrapping_add(turn % 2), Ordering::Relaxed);
    }

    /// Publishes the counts of the worker, and how many connections it has now. Returns whether
    /// anything has changed.
    pub(super) fn publish(&self, statistics: &Statistics, connections: usize) -> bool {
        let counts = statistics.to_array();
        let mut difference = self.connections.load(Ordering::Relaxed) ^ connections as u64;
        for (published, count) in self.counts.iter().zip(&counts) {
            difference |= published.load(Ordering::Relaxed) ^ *count;
        }
        if difference == 0 {
            return false;
        }
        self.connections.store(connections as u64, Ordering::Relaxed);
        for (published, count) in self.counts.iter().zip(&counts) {
            published.store(*count, Ordering::Relaxed);
        }
        true
    }

    fn statistics(&self) -> Statistics {
        Statistics::from_array(self.counts.each_ref().map(|count| count.load(Ordering::Relaxed)))
    }
}

/// What was seen of each worker at the last look.
#[derive(Debug, Default)]
pub(super) struct Watch {
    /// The turn, and since when the worker has been seen in it.
    seen: Vec<(u64, Instant)>,
}

impl Watch {
    /// What all workers have done, and which one has been in the same turn for longest.
    pub(super) fn look(&mut self, pulses: &[Pulse], now: Instant) -> Progress {
        self.seen.resize(pulses.len(), (0, now));
        let mut progress = Progress::default();
        for (number, (pulse, seen)) in pulses.iter().zip(&mut self.seen).enumerate() {
            progress.statistics += pulse.statistics();
            progress.connections += pulse.connections.load(Ordering::Relaxed);
            let turn = pulse.turn.load(Ordering::Relaxed);
            // A worker that waits for events does not hang, however long it waits.
            if turn % 2 == 0 || turn != seen.0 {
                *seen = (turn, now);
            }
            let time = now.saturating_duration_since(seen.1);
            let longest = progress.longest_turn.map_or(Duration::ZERO, |longest| longest.time);
            if time > longest {
                progress.longest_turn = Some(LongTurn { worker: number + 1, time });
            }
        }
        progress
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_hangs_if_it_stays_in_one_turn() {
        let pulses = [Pulse::default(), Pulse::default(), Pulse::default()];
        let [busy, asleep, hung] = &pulses;
        let (mut watch, start) = (Watch::default(), Instant::now());
        let mut look = |second| {
            let now = start + Duration::from_secs(second);
            let longest = watch.look(&pulses, now).longest_turn;
            longest.map(|turn| (turn.worker, turn.time.as_secs()))
        };
        let turns = |pulse: &Pulse| {
            pulse.end_turn();
            pulse.begin_turn();
        };
        assert_eq!(look(0), None, "nobody has begun");
        turns(busy);
        turns(asleep);
        asleep.end_turn();
        turns(hung);
        assert_eq!(look(1), None, "it may have begun just now");
        turns(busy);
        assert_eq!(look(11), Some((3, 10)));
        turns(busy);
        assert_eq!(look(21), Some((3, 20)));
        turns(hung);
        assert_eq!(look(31), Some((1, 10)), "the others go on");
        turns(busy);
        hung.end_turn();
        // A worker that ends more than once still waits.
        hung.end_turn();
        for second in 40..50 {
            turns(busy);
            assert_eq!(look(second), None);
        }
    }

    #[test]
    fn counts_are_summed_and_a_change_is_noticed() {
        let pulses = [Pulse::default(), Pulse::default()];
        let one = Statistics {
            connections: 1,
            messages: 2,
            bytes: 3,
            unanswered: 4,
            refused: 5,
            ended_idle: false,
        };
        assert!(!pulses[0].publish(&Statistics::default(), 0));
        for (pulse, connections) in pulses.iter().zip([7, 8]) {
            assert!(pulse.publish(&one, connections));
            assert!(!pulse.publish(&one, connections));
        }
        assert!(pulses[1].publish(&one, 9), "a connection came");
        let progress = Watch::default().look(&pulses, Instant::now());
        let mut sum = one;
        sum += one;
        assert_eq!((progress.statistics, progress.connections), (sum, 16));
    }
}
