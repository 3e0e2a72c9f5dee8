//! Waits for events: asleep, or polling for a short while if polling found work recently.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::io::Errno;

use super::busy_poll::{Polling, Seen, Spin};
use super::token::Token;
use crate::error::{Context, Result};
use crate::sys::usage;

/// How many events one wait can return.
const EVENTS_MAX: usize = 256;

pub(super) struct Poller {
    epoll: OwnedFd,
    events: Vec<Event>,
    spin: Spin,
}

impl Poller {
    pub(super) fn new(busy_poll: Polling) -> Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC).context("create an epoll instance")?;
        let events = Vec::with_capacity(EVENTS_MAX);
        Ok(Self { epoll, events, spin: Spin::new(busy_poll) })
    }

    /// Registers a descriptor whose registration never changes.
    pub(super) fn add(&self, fd: impl AsFd, token: Token, flags: EventFlags) -> io::Result<()> {
        Ok(epoll::add(&self.epoll, fd, EventData::new_u64(token.into()), flags)?)
    }

    pub(super) fn remove(&self, fd: impl AsFd) -> io::Result<()> {
        Ok(epoll::delete(&self.epoll, fd)?)
    }

    /// Waits for events, at most until `until`. Returns how many there are.
    ///
    /// # Errors
    ///
    /// Those of epoll_wait(2), except `EINTR`.
    pub(super) fn wait(&mut self, until: Wait) -> io::Result<usize> {
        let deadline = match until {
            Wait::Not => return self.look(),
            Wait::Until(instant) => Some(instant),
            Wait::Forever => None,
        };
        if self.spin.begins() && self.look_for_a_while(deadline)? > 0 {
            return Ok(self.events.len());
        }
        let left = deadline.map(|instant| instant.saturating_duration_since(Instant::now()));
        self.sleep(left.map(to_timespec).as_ref())
    }

    pub(super) fn event(&self, index: usize) -> (Token, EventFlags) {
        let event = &self.events[index];
        (event.data.u64().into(), event.flags)
    }

    fn look(&mut self) -> io::Result<usize> {
        self.sleep(Some(&Timespec { tv_sec: 0, tv_nsec: 0 }))
    }

    fn look_for_a_while(&mut self, deadline: Option<Instant>) -> io::Result<usize> {
        // An event that is already there says nothing about polling.
        if self.look()? > 0 {
            return Ok(self.events.len());
        }
        let start = Instant::now();
        // If a system call filter refuses getrusage(2), assume that another thread ran.
        let switches = usage::involuntary_switches().ok();
        for looks in 1.. {
            // The peer that we wait for may need this processor.
            rustix::thread::sched_yield();
            let others_ran = switches.is_none() || usage::involuntary_switches().ok() != switches;
            let found = self.look()?;
            let now = Instant::now();
            let is_due = deadline.is_some_and(|deadline| deadline <= now);
            let seen = Seen { looks, time: now - start, found: found > 0, others_ran };
            if !self.spin.goes_on(&seen) || is_due {
                break;
            }
        }
        Ok(self.events.len())
    }

    fn sleep(&mut self, timeout: Option<&Timespec>) -> io::Result<usize> {
        self.events.clear();
        match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut self.events), timeout) {
            Ok(_) | Err(Errno::INTR) => Ok(self.events.len()),
            Err(error) => Err(error.into()),
        }
    }
}

/// What a socket waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Interest {
    Readable,
    Writable,
    /// Nothing that the kernel reports: it waits for a time.
    Nothing,
}

/// A socket whose interest changes, with the interest that epoll has. Nothing else remembers it.
#[derive(Debug)]
pub(super) struct Registration {
    token: Token,
    extra: EventFlags,
    told: Interest,
}

impl Registration {
    /// For a socket that is not yet in epoll. `extra` is added to all its flags.
    pub(super) fn new(token: Token, extra: EventFlags) -> Self {
        Self { token, extra, told: Interest::Nothing }
    }

    /// Updates epoll if the interest has changed.
    ///
    /// # Errors
    ///
    /// Those of epoll_ctl(2). Then the old interest stays registered.
    pub(super) fn tell(
        &mut self,
        poller: &Poller,
        fd: BorrowedFd<'_>,
        interest: Interest,
    ) -> io::Result<()> {
        let flags = match interest {
            Interest::Readable => EventFlags::IN,
            Interest::Writable => EventFlags::OUT,
            Interest::Nothing => EventFlags::empty(),
        };
        let data = EventData::new_u64(self.token.into());
        match (self.told, interest) {
            (told, wanted) if told == wanted => return Ok(()),
            // epoll reports errors even if nothing is asked for, so a socket without interest must
            // be removed.
            (_, Interest::Nothing) => epoll::delete(&poller.epoll, fd)?,
            (Interest::Nothing, _) => epoll::add(&poller.epoll, fd, data, flags | self.extra)?,
            _ => epoll::modify(&poller.epoll, fd, data, flags | self.extra)?,
        }
        self.told = interest;
        Ok(())
    }
}

/// How long a wait may last; the shortest wait is the smallest value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Wait {
    Not,
    Until(Instant),
    Forever,
}

impl From<Option<Instant>> for Wait {
    fn from(due: Option<Instant>) -> Self {
        due.map_or(Self::Forever, Self::Until)
    }
}

// epoll_wait(2) counts in milliseconds. Rounding down would cause a busy loop.
fn to_timespec(duration: Duration) -> Timespec {
    let millis = duration.as_nanos().div_ceil(1_000_000).min(i32::MAX as u128) as i64;
    Timespec { tv_sec: millis / 1000, tv_nsec: (millis % 1000) * 1_000_000 }
}
