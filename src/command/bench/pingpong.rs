//! One message in flight on each connection; with `--rate`, sent on a schedule.
//!
//! Without a rate the loop is closed: the next message waits for the reply, so a server that
//! stalls is sent less, and the stall counts once for each connection instead of once for each
//! message that would have been due (coordinated omission). With a rate, a latency begins when the
//! message was due, whether or not it could be sent then.

use std::collections::BinaryHeap;
use std::os::fd::OwnedFd;
use std::time::Duration;

use super::meter::{Meter, Sample};
use super::pattern::Pattern;
use super::peer::{Peer, Step};
use super::progress::Progress;
use super::server::Server;
use super::settings::{Settings, TIME_MAX};
use super::target::{self, Target};
use super::wait::{TICK, Trigger, Wait};
use crate::address::Style;
use crate::error::Result;

/// A single connection waits in its receive call only for messages that fit every socket buffer.
const IN_RECEIVE_MAX: usize = 16 * 1024;
/// A datagram without a reply after this is lost, however long a stream may take.
const LOST_AFTER: Duration = Duration::from_secs(1);
/// What one receive call takes of a long message.
const RECEIVE: usize = 256 * 1024;

/// One round.
pub(super) fn run(target: &Target, settings: &Settings, progress: &mut Progress) -> Result<Sample> {
    let peers = target.connect_all(settings)?;
    let congestion = peers.first().and_then(target::congestion);
    let server = Server::find(target, settings);
    let meter = Meter::new(settings, server, progress)?;
    let mut load = PingPong::new(target, settings, peers, meter)?;
    load.run()?;
    let mut sample = load.finish();
    sample.congestion = congestion;
    Ok(sample)
}

struct PingPong<'a> {
    peers: Vec<Peer>,
    alive: usize,
    wait: Wait,
    meter: Meter<'a>,
    pattern: Pattern,
    buffer: Vec<u8>,
    size: usize,
    datagrams: bool,
    /// The whole message is one receive call's.
    messages: bool,
    timeout: u64,
    schedule: Option<Schedule>,
}

/// When each connection's next message is due.
struct Schedule {
    interval: u64,
    /// The connections that wait for their time, the next one first.
    due: BinaryHeap<std::cmp::Reverse<(u64, usize)>>,
}

impl<'a> PingPong<'a> {
    fn new(
        target: &Target,
        settings: &Settings,
        fds: Vec<OwnedFd>,
        meter: Meter<'a>,
    ) -> Result<Self> {
        let direct = fds.len() == 1 && settings.size <= IN_RECEIVE_MAX && settings.rate.is_none();
        let wait = match fds.first() {
            Some(fd) if direct => Wait::in_receive(fd, settings.busy)?,
            _ => Wait::on_all(fds.iter(), settings.busy, Trigger::Edge)?,
        };
        let style = target.address.style();
        let messages = style != Style::Stream;
        let timeout = match style {
            Style::Datagram => settings.timeout.min(LOST_AFTER),
            _ => settings.timeout,
        };
        let schedule = settings.rate.map(|rate| Schedule {
            interval: ((fds.len() as f64 * 1e9 / rate) as u64).min(TIME_MAX.as_nanos() as u64),
            due: BinaryHeap::with_capacity(fds.len()),
        });
        let peers: Vec<_> = fds.into_iter().enumerate().map(Peer::new).collect();
        Ok(Self {
            alive: peers.len(),
            peers,
            wait,
            meter,
            pattern: Pattern::new(settings.size),
            // One byte more than a message shows a reply that is too long.
            buffer: vec![0; if messages { settings.size + 1 } else { settings.size.min(RECEIVE) }],
            size: settings.size,
            datagrams: style == Style::Datagram,
            messages,
            timeout: timeout.as_nanos() as u64,
            schedule,
        })
    }

    fn run(&mut self) -> Result<()> {
        self.start();
        let mut next_scan = TICK.as_nanos() as u64;
        loop {
            let timeout = self.send_what_is_due();
            for at in 0..self.wait.wait(timeout)? {
                let (index, _) = self.wait.event(at);
                self.look_at(index);
            }
            let now = self.meter.now();
            if !self.meter.goes_on(now) || self.alive == 0 {
                break;
            }
            if now >= next_scan {
                next_scan = now + TICK.as_nanos() as u64;
                self.give_up_lost(now);
            }
        }
        self.count_unfinished();
        Ok(())
    }

    /// Sends the first message of each connection, or spreads them over the first interval.
    fn start(&mut self) {
        let now = self.meter.now();
        for index in 0..self.peers.len() {
            match &mut self.schedule {
                None => self.begin(index, now),
                Some(schedule) => {
                    let share = index as f64 / self.peers.len() as f64;
                    let offset = (schedule.interval as f64 * share) as u64;
                    schedule.due.push(std::cmp::Reverse((now + offset, index)));
                }
            }
        }
    }

    /// Sends the messages whose time has come; gives the time until the next one.
    fn send_what_is_due(&mut self) -> Duration {
        while let Some(schedule) = &mut self.schedule {
            let Some(&std::cmp::Reverse((due, index))) = schedule.due.peek() else { break };
            let now = self.meter.now();
            if due > now {
                // The last millisecond is polled: a timer that fires late would be counted as the
                // server's latency.
                return TICK.min(Duration::from_millis((due - now) / 1_000_000));
            }
            schedule.due.pop();
            self.begin(index, due);
        }
        TICK
    }

    /// Sends the next message of a connection; its latency counts from `started`.
    fn begin(&mut self, index: usize, started: u64) {
        let peer = &mut self.peers[index];
        peer.next_message(started);
        if let Err(why) = peer.send(&self.pattern, self.size, &self.wait) {
            self.failed(index, &why);
        }
    }

    #[inline]
    fn look_at(&mut self, index: usize) {
        let peer = &mut self.peers[index];
        if !peer.alive {
            return;
        }
        loop {
            let (pattern, buffer) = (&self.pattern, &mut self.buffer);
            match peer.look(pattern, buffer, self.size, self.messages, &self.wait) {
                Step::Late => {}
                Step::Waiting => return,
                Step::Failed(why) => return self.failed(index, &why),
                Step::Back { right } => return self.back(index, right),
            }
        }
    }

    #[inline]
    fn back(&mut self, index: usize, right: bool) {
        let now = self.meter.now();
        let peer = &mut self.peers[index];
        peer.in_flight = false;
        let started = peer.started;
        self.meter.sample.round_trip(now.saturating_sub(started), self.size);
        if !right {
            self.meter.sample.wrong += 1;
        }
        match &mut self.schedule {
            None => self.begin(index, now),
            Some(schedule) => {
                schedule.due.push(std::cmp::Reverse((started + schedule.interval, index)));
            }
        }
    }

    /// A stream that failed ends; a datagram socket tries again when its message counts as lost.
    fn failed(&mut self, index: usize, why: &str) {
        let number = index + 1;
        self.meter.sample.error(|| format!("connection {number}: {why}"));
        let peer = &mut self.peers[index];
        if !self.datagrams {
            peer.alive = false;
            peer.in_flight = false;
            self.wait.forget(&peer.fd);
            self.alive -= 1;
        }
    }

    /// A datagram whose reply is overdue is sent no more; a stream whose reply is, has ended.
    fn give_up_lost(&mut self, now: u64) {
        for index in 0..self.peers.len() {
            let peer = &self.peers[index];
            if !peer.in_flight || now.saturating_sub(peer.started) < self.timeout {
                continue;
            }
            if !self.datagrams {
                self.failed(index, "no reply in time");
                continue;
            }
            self.meter.sample.lost += 1;
            let started = self.peers[index].started;
            match &self.schedule {
                None => self.begin(index, now),
                // What was due meanwhile is due still.
                Some(schedule) => self.begin(index, started + schedule.interval),
            }
        }
    }

    /// Messages that the schedule had due and that are not back: the latencies do not have them.
    fn count_unfinished(&mut self) {
        let Some(schedule) = &self.schedule else { return };
        let now = self.meter.now();
        let overdue = |since: u64| now.saturating_sub(since) / schedule.interval.max(1) + 1;
        let waiting = schedule.due.iter().map(|entry| entry.0.0);
        let in_flight = self.peers.iter().filter(|peer| peer.in_flight).map(|peer| peer.started);
        let due = waiting.chain(in_flight).filter(|since| *since <= now);
        self.meter.sample.unfinished = due.map(overdue).sum();
    }

    fn finish(mut self) -> Sample {
        self.meter.stop();
        self.meter.sample
    }
}
