//! One message in flight on each connection; with `--rate`, sent on a schedule.
//!
//! Without a rate, the loop is closed: the next message waits for the reply. So a server that
//! stalls gets fewer messages, and a stall counts once for each connection instead of once for each
//! message that would have been due (coordinated omission). With a rate, the latency of a message
//! starts when it is due, even if it cannot be sent then.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fmt::Display;
use std::time::Duration;

use super::messages::Messages;
use super::round::Round;
use super::wait::{TICK, Wait};
use crate::error::Result;

/// A datagram without a reply after this time is lost, even if `--timeout` is longer.
const LOST_AFTER: Duration = Duration::from_secs(1);
/// Longer than any measurement.
const INTERVAL_MAX: f64 = 1e18;

struct PingPong {
    messages: Messages,
    timeout: u64,
    next_scan: u64,
    schedule: Option<Schedule>,
}

/// The schedule of the next message of each connection.
struct Schedule {
    interval: u64,
    /// The connections that wait, the next one first.
    due: BinaryHeap<Reverse<(u64, usize)>>,
}

/// Measures one round.
pub(super) fn run(round: &mut Round<'_>) -> Result<()> {
    let args = round.settings.args;
    let timeout = if round.is_datagram() { args.timeout.min(LOST_AFTER) } else { args.timeout };
    let mut load = PingPong {
        messages: Messages::new(round),
        timeout: timeout.as_nanos() as u64,
        next_scan: TICK.as_nanos() as u64,
        schedule: args.rate.map(|rate| Schedule {
            interval: (round.fds.len() as f64 * 1e9 / rate).min(INTERVAL_MAX) as u64,
            due: BinaryHeap::with_capacity(round.fds.len()),
        }),
    };
    if load.schedule.is_some() {
        Wait::be_on_time();
    }
    load.start(round);
    let end = round.run(|round, now| load.turn(round, now))?;
    round.meter.sample.unfinished = load.unfinished(end);
    Ok(())
}

impl PingPong {
    /// Sends the first message of each connection, or schedules them evenly over the first
    /// interval.
    fn start(&mut self, round: &mut Round<'_>) {
        let now = round.meter.now();
        let count = round.fds.len();
        for index in 0..count {
            match &mut self.schedule {
                None => self.begin(round, index, now),
                Some(schedule) => {
                    let share = index as f64 / count as f64;
                    let offset = (schedule.interval as f64 * share) as u64;
                    schedule.due.push(Reverse((now + offset, index)));
                }
            }
        }
    }

    fn turn(&mut self, round: &mut Round<'_>, now: u64) -> Result<()> {
        if now >= self.next_scan {
            self.next_scan = now + TICK.as_nanos() as u64;
            self.give_up_lost(round, now);
        }
        let timeout = self.send_what_is_due(round);
        for at in 0..round.wait.wait(timeout)? {
            let (index, _) = round.wait.event(at);
            if round.is_open(index) {
                self.look_at(round, index);
            }
        }
        Ok(())
    }

    /// Sends all messages that are due. Returns the time until the next one.
    fn send_what_is_due(&mut self, round: &mut Round<'_>) -> Duration {
        while let Some(schedule) = &mut self.schedule {
            let Some(&Reverse((due, index))) = schedule.due.peek() else { break };
            let now = round.meter.now();
            if due > now {
                return TICK.min(Duration::from_nanos(due - now));
            }
            schedule.due.pop();
            self.begin(round, index, due);
        }
        TICK
    }

    fn begin(&mut self, round: &mut Round<'_>, index: usize, started: u64) {
        if !round.is_open(index) {
            return;
        }
        if let Err(error) = self.messages.begin(round, index, started) {
            self.failed(round, index, error);
        }
    }

    #[inline]
    fn look_at(&mut self, round: &mut Round<'_>, index: usize) {
        let is_right = match self.messages.receive(round, index) {
            Ok(None) => return,
            Ok(Some(is_right)) => is_right,
            Err(error) => return self.failed(round, index, error),
        };
        let started = self.messages.peers[index].started;
        let now = round.back(started, is_right);
        match &mut self.schedule {
            None => self.begin(round, index, now),
            Some(schedule) => schedule.due.push(Reverse((started + schedule.interval, index))),
        }
    }

    /// Ends a stream that failed. A datagram socket tries again when its message counts as lost.
    fn failed(&mut self, round: &mut Round<'_>, index: usize, why: impl Display) {
        if round.is_datagram() {
            return round.error(index, why);
        }
        self.messages.peers[index].in_flight = false;
        round.failed(index, why);
    }

    /// Gives up overdue replies: a datagram is lost, a stream has ended.
    fn give_up_lost(&mut self, round: &mut Round<'_>, now: u64) {
        for index in 0..round.fds.len() {
            let peer = &self.messages.peers[index];
            if !peer.in_flight || now.saturating_sub(peer.started) < self.timeout {
                continue;
            }
            if !round.is_datagram() {
                self.failed(round, index, "no reply in time");
                continue;
            }
            round.meter.sample.lost += 1;
            // Messages that became due meanwhile are still due.
            let due = self.schedule.as_ref().map(|schedule| peer.started + schedule.interval);
            self.begin(round, index, due.unwrap_or(now));
        }
    }

    /// How many messages were due by `end` and are not back. The latencies do not include them.
    fn unfinished(&self, end: u64) -> u64 {
        let Some(schedule) = &self.schedule else { return 0 };
        let overdue = |since: u64| (end - since) / schedule.interval.max(1) + 1;
        let waiting = schedule.due.iter().map(|entry| entry.0.0);
        let in_flight = self.messages.peers.iter().filter(|peer| peer.in_flight);
        let due = waiting.chain(in_flight.map(|peer| peer.started));
        due.filter(|since| *since <= end).map(overdue).sum()
    }
}
