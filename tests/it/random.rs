//! Random numbers with a seed, which is shown if the test fails.

use std::hash::{BuildHasher, RandomState};
use std::io::Write;
use std::time::Duration;

/// SplitMix64.
pub(crate) struct Random {
    state: u64,
    /// What repeats them; only the first one shows it.
    shown: Option<String>,
}

impl Random {
    /// The seed is the value of the variable, or a new one.
    pub(crate) fn from_env(variable: &str) -> Self {
        let seed = std::env::var(variable).ok().map(|seed| seed.parse().expect("a number"));
        let seed = seed.unwrap_or_else(|| RandomState::new().hash_one(variable));
        Self { state: seed, shown: Some(format!("{variable}={seed}")) }
    }

    /// Others for the thread `number`.
    pub(crate) fn fork(&self, number: usize) -> Self {
        let mut random = Self { state: self.state ^ ((number as u64 + 1) << 32), shown: None };
        random.next();
        random
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.state ^ (self.state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A short pause, often none: the shorter half of them is spread over all sizes.
    pub(crate) fn pause(&mut self) -> Duration {
        let longest = [0, 20, 200, 2000, 8000][(self.next() % 5) as usize];
        Duration::from_micros(self.next() % (longest + 1))
    }
}

impl Drop for Random {
    fn drop(&mut self) {
        if let Some(shown) = self.shown.as_ref().filter(|_| std::thread::panicking()) {
            let _ = writeln!(std::io::stderr(), "the same pauses again: {shown}");
        }
    }
}
