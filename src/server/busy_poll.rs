//! Whether to look for the next event for a while before sleeping.

#[cfg(test)]
mod tests;

use std::time::Duration;

use super::processors;

/// Whether a worker that has nothing to do looks for the next event for a while before it sleeps.
///
/// A wake-up costs tens of microseconds, most of the time of a small round trip. Looking costs up to
/// one whole processor while there are clients.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum BusyPoll {
    /// Poll while recent polling found work and nobody else needs the processor; never while idle,
    /// and never where there is only one processor or less than one to use.
    #[default]
    Auto,
    /// Always sleep at once.
    Off,
    /// Look for this long each time.
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

/// Whether to look before sleeping, judged by how often that found something recently.
///
/// No time decides, because none means the same on every processor: what is counted is looks, of a
/// few system calls each, and what tells that the processor is needed is that somebody else ran.
pub(super) struct Spin {
    busy_poll: BusyPoll,
    /// From 0 to [`CREDIT_MAX`]: how much work looking has found recently. Looking goes on while there is
    /// some, and is tried again now and then when there is none.
    credit: u32,
    /// How many waits to sleep through before looking is tried again, and how many are left.
    pause: u32,
    pause_left: u32,
    /// How many events looking has found.
    found: u32,
}

/// What looking has come to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seen {
    /// How often it has looked, and for how long.
    pub(super) looks: u32,
    pub(super) time: Duration,
    /// Whether the last look has found an event.
    pub(super) found: bool,
    /// Whether anybody else has had this processor since the first look.
    pub(super) others_ran: bool,
}

/// How often to look. A look is four system calls, and lasts about 0.4 µs on one processor and 1.2
/// on another; a wake-up, which is what looking saves, is as much slower there.
const LOOKS_MAX: u32 = 128;
const CREDIT_MAX: u32 = 8;
const PAUSE_FIRST: u32 = 4;
/// The longest pause where nothing was found: looking in vain costs little.
const PAUSE_MAX: u32 = 1024;
/// The longest pause where somebody else needs the processor: a look can cost a whole time slice.
const PAUSE_SHARED_MAX: u32 = 16 * 1024;
/// The CPU quota is read after this many events: a server that answers one client and is done never
/// pays for that.
const FOUND_BEFORE_QUOTA: u32 = 64;
/// And again each time after this many, because it can be changed while the server runs.
const FOUND_BETWEEN_QUOTAS: u32 = 64 * 1024;

impl Spin {
    pub(super) fn new(busy_poll: BusyPoll) -> Self {
        let credit = CREDIT_MAX / 2;
        Self { busy_poll, credit, pause: PAUSE_FIRST, pause_left: 0, found: 0 }
    }

    /// Whether to look before the next sleep.
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

    /// Whether to go on looking after what was seen.
    pub(super) fn goes_on(&mut self, seen: &Seen) -> bool {
        match self.busy_poll {
            BusyPoll::Off => false,
            BusyPoll::For(longest) => !seen.found && seen.time < longest,
            BusyPoll::Auto => {
                // An event that came while somebody else ran would have come asleep as well.
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
        let reads_quota = self.found % FOUND_BETWEEN_QUOTAS == FOUND_BEFORE_QUOTA;
        if reads_quota && !processors::one_may_be_busy() {
            self.busy_poll = BusyPoll::Off;
        }
    }

    /// Sleeps through some waits if there is no credit left, each time through more of them.
    fn rest(&mut self, longest: u32) {
        if self.credit == 0 {
            self.pause_left = self.pause;
            self.pause = (self.pause * 2).min(longest);
        }
    }
}
