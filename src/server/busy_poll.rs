//! Whether to poll for the next event for a while before sleeping.

#[cfg(test)]
mod tests;

use std::time::Duration;

use super::processors;

/// Whether a worker without work polls for the next event for a while before it sleeps.
///
/// A wake-up takes tens of microseconds, which is most of a small round trip. While there are
/// clients, polling can use up to one whole processor.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum BusyPoll {
    /// Poll while recent polling found work and no other thread needs the processor. Never poll
    /// while idle, or with only one processor or a quota of less than one.
    #[default]
    Auto,
    /// Never poll.
    Off,
    /// Poll for this long before each sleep.
    For(Duration),
}

impl std::str::FromStr for BusyPoll {
    type Err = String;

    /// `auto`, `off`, or a number of microseconds.
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            "off" => Ok(Self::Off),
            _ => match text.parse() {
                Ok(0) => Ok(Self::Off),
                Ok(micros) => Ok(Self::For(Duration::from_micros(micros))),
                Err(_) => Err("auto, off or a number of microseconds is expected".to_owned()),
            },
        }
    }
}

/// How workers poll.
#[derive(Debug, Clone, Copy)]
pub(super) struct Polling {
    pub(super) busy_poll: BusyPoll,
    /// Whether a worker reads the CPU quota when it has found events.
    pub(super) reads_quota: bool,
}

impl BusyPoll {
    /// If no files can be read later, the quota of now counts.
    pub(super) fn without_files(self, is_confined: bool) -> Polling {
        let is_refused = is_confined && self == Self::Auto && !processors::one_may_be_busy();
        let busy_poll = if is_refused { Self::Off } else { self };
        Polling { busy_poll, reads_quota: !is_confined }
    }
}

impl From<BusyPoll> for Polling {
    fn from(busy_poll: BusyPoll) -> Self {
        Self { busy_poll, reads_quota: true }
    }
}

/// Decides whether to poll before sleeping, from how often that found work recently.
///
/// A time would mean something else on each processor. So polls are counted, each of a few system
/// calls, and the processor is needed elsewhere if another thread ran.
pub(super) struct Spin {
    busy_poll: BusyPoll,
    reads_quota: bool,
    /// From 0 to [`CREDIT_MAX`]: how much work recent polling has found. Polling goes on while
    /// there is credit. Without credit it is tried again now and then.
    credit: u32,
    /// How many waits sleep before polling is tried again, and how many of them are left.
    pause: u32,
    pause_left: u32,
    /// How many events polling has found.
    found: u32,
}

/// The result of polling so far.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seen {
    /// How many polls there were, and how long they took.
    pub(super) looks: u32,
    pub(super) time: Duration,
    /// Whether the last poll found an event.
    pub(super) found: bool,
    /// Whether another thread has had this processor since the first poll.
    pub(super) others_ran: bool,
}

/// How often to poll before a sleep. A poll is four system calls, and took 0.4 µs on one processor
/// and 1.2 µs on another; a wake-up, which polling saves, was slower in proportion.
const LOOKS_MAX: u32 = 128;
const CREDIT_MAX: u32 = 8;
const PAUSE_FIRST: u32 = 4;
/// The longest pause after polls that found nothing: they cost little.
const PAUSE_MAX: u32 = 1024;
/// The longest pause if another thread needs the processor: a poll can cost a whole time slice.
const PAUSE_SHARED_MAX: u32 = 16 * 1024;
/// The CPU quota is read after this many events, so that a server that answers only one client does
/// not need to read it.
const FOUND_BEFORE_QUOTA: u32 = 64;
/// It is read again after this many events, because it can change while the server runs.
const FOUND_BETWEEN_QUOTAS: u32 = 64 * 1024;

impl Spin {
    pub(super) fn new(polling: impl Into<Polling>) -> Self {
        let (credit, Polling { busy_poll, reads_quota }) = (CREDIT_MAX / 2, polling.into());
        Self { busy_poll, reads_quota, credit, pause: PAUSE_FIRST, pause_left: 0, found: 0 }
    }

    /// Whether to poll before the next sleep.
    pub(super) fn begins(&mut self) -> bool {
        match self.busy_poll {
            BusyPoll::Off => false,
            BusyPoll::For(_) => true,
            BusyPoll::Auto if self.credit > 0 => true,
            BusyPoll::Auto => {
                self.pause_left = self.pause_left.saturating_sub(1);
                self.pause_left == 0
            }
        }
    }

    /// Whether to poll again after `seen`.
    pub(super) fn goes_on(&mut self, seen: &Seen) -> bool {
        match self.busy_poll {
            BusyPoll::Off => false,
            BusyPoll::For(longest) => !seen.found && seen.time < longest,
            BusyPoll::Auto => {
                // An event that came while another thread ran would also have woken a sleeping
                // worker.
                if seen.others_ran {
                    self.credit = 0;
                    self.rest(PAUSE_SHARED_MAX);
                } else if seen.found {
                    self.paid();
                } else if seen.looks < LOOKS_MAX {
                    return true;
                } else {
                    self.credit = self.credit.saturating_sub(1);
                    self.rest(PAUSE_MAX);
                }
                false
            }
        }
    }

    fn paid(&mut self) {
        self.credit = (self.credit + 1).min(CREDIT_MAX);
        self.pause = PAUSE_FIRST;
        self.found = self.found.wrapping_add(1);
        let is_due = self.found % FOUND_BETWEEN_QUOTAS == FOUND_BEFORE_QUOTA;
        if is_due && self.reads_quota && !processors::one_may_be_busy() {
            self.busy_poll = BusyPoll::Off;
        }
    }

    /// Without credit, lets the next waits sleep: more of them each time.
    fn rest(&mut self, longest: u32) {
        if self.credit == 0 {
            self.pause_left = self.pause;
            self.pause = (self.pause * 2).min(longest);
        }
    }
}
