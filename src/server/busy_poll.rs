//! Whether to look for the next event for a while before sleeping.

use std::time::Duration;

use super::processors;

/// Whether a worker that has nothing to do looks for the next event for a while before it sleeps.
///
/// A wake-up costs tens of microseconds, most of the time of a small round trip.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum BusyPoll {
    /// Look while looking has lately paid, and nobody else wants the processor; never while idle,
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

/// Whether to look before sleeping, from how that went lately.
pub(super) struct Spin {
    longest: Duration,
    is_fixed: bool,
    /// From 0 to [`CREDIT_MAX`]: how much looking has lately paid. Looking goes on while there is
    /// some, and is tried again now and then when there is none.
    credit: u32,
    /// How many waits to sleep through before looking is tried again, and how many are left.
    pause: u32,
    pause_left: u32,
    /// Events that looking found, until there are enough of them to ask for the quota.
    found: u32,
}

const LONGEST: Duration = Duration::from_micros(50);
const CREDIT_MAX: u32 = 8;
const PAUSE_FIRST: u32 = 4;
const PAUSE_MAX: u32 = 1024;
/// A look and a yield take less than this, unless the yield lets somebody else run. Then the
/// processor is needed, most likely by the peer, and sleeping gives it to them sooner.
const ALONE: Duration = Duration::from_nanos(1500);
/// After this many events the CPU quota is read: a server that answers one client and is done never
/// pays for that.
const FOUND_BEFORE_QUOTA: u32 = 64;

impl Spin {
    pub(super) fn new(busy_poll: BusyPoll) -> Self {
        let (longest, is_fixed) = match busy_poll {
            BusyPoll::Auto => (LONGEST, false),
            BusyPoll::Off => (Duration::ZERO, false),
            BusyPoll::For(longest) => (longest, true),
        };
        let credit = CREDIT_MAX / 2;
        Self { longest, is_fixed, credit, pause: PAUSE_FIRST, pause_left: 0, found: 0 }
    }

    pub(super) fn begins(&mut self) -> bool {
        if self.longest.is_zero() {
            return false;
        }
        if self.is_fixed || self.credit > 0 {
            return true;
        }
        self.pause_left = self.pause_left.saturating_sub(1);
        self.pause_left == 0
    }

    /// Looking has found an event.
    pub(super) fn paid(&mut self) {
        self.check_quota();
        self.credit = (self.credit + 1).min(CREDIT_MAX);
        self.pause = PAUSE_FIRST;
    }

    fn check_quota(&mut self) {
        if self.is_fixed || self.found == FOUND_BEFORE_QUOTA {
            return;
        }
        self.found += 1;
        if self.found == FOUND_BEFORE_QUOTA && !processors::one_may_be_busy() {
            self.longest = Duration::ZERO;
        }
    }

    /// Looking has taken `total`, the last look `last`, and found nothing. Returns whether to sleep.
    pub(super) fn gives_up(&mut self, last: Duration, total: Duration) -> bool {
        let is_alone = last < ALONE;
        if is_alone && total < self.longest {
            return false;
        }
        self.failed();
        !self.is_fixed || total >= self.longest
    }

    /// Looking has found nothing, or has kept somebody else from running.
    fn failed(&mut self) {
        self.credit = self.credit.saturating_sub(1);
        if self.credit == 0 {
            self.pause_left = self.pause;
            self.pause = (self.pause * 2).min(PAUSE_MAX);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looking_stops_when_it_does_not_pay_and_is_tried_again_ever_more_rarely() {
        let mut spin = Spin::new(BusyPoll::Auto);
        let (mut waits, mut looks) = (0, Vec::new());
        while waits < 10_000 {
            if spin.begins() {
                looks.push(waits);
                spin.failed();
            }
            waits += 1;
        }
        assert_eq!(looks[..5], [0, 1, 2, 3, 7]);
        assert!(looks.len() < 24, "{looks:?}");
        assert!(looks.windows(2).all(|pair| pair[1] - pair[0] <= PAUSE_MAX));
    }

    #[test]
    fn looking_goes_on_while_it_pays_more_often_than_not() {
        let mut spin = Spin::new(BusyPoll::For(LONGEST));
        spin.is_fixed = false;
        for _ in 0..1000 {
            assert!(spin.begins());
            spin.paid();
            assert!(spin.begins());
            spin.paid();
            assert!(spin.begins());
            spin.failed();
        }
    }

    #[test]
    fn words_and_numbers() {
        for (text, busy_poll) in [
            ("auto", Ok(BusyPoll::Auto)),
            ("off", Ok(BusyPoll::Off)),
            ("0", Ok(BusyPoll::Off)),
            ("50", Ok(BusyPoll::For(LONGEST))),
        ] {
            assert_eq!(text.parse(), busy_poll);
        }
        for text in ["", "on", "-1", "1.5"] {
            assert!(text.parse::<BusyPoll>().is_err(), "{text}");
        }
    }
}
