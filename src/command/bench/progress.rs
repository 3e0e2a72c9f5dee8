//! A progress bar on standard error, if that is a terminal.

use std::io::IsTerminal;

use indicatif::{ProgressBar, ProgressStyle};

/// How far all rounds are.
#[derive(Debug)]
pub(super) struct Progress {
    bar: Option<ProgressBar>,
    /// Milliseconds of the rounds that are done.
    done: u64,
}

impl Progress {
    /// A bar for `seconds` of work; none without a terminal, or if the output is for a program.
    pub(super) fn new(seconds: f64, quiet: bool) -> Self {
        let bar = (!quiet && std::io::stderr().is_terminal()).then(|| {
            let style = ProgressStyle::with_template("{msg:24} {bar:40} {percent:>3}% {eta} left");
            let bar = ProgressBar::new((seconds * 1000.0) as u64);
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            bar
        });
        Self { bar, done: 0 }
    }

    /// Says what the next round is about.
    pub(super) fn round(&self, what: impl FnOnce() -> String) {
        if let Some(bar) = &self.bar {
            bar.set_message(what());
        }
    }

    /// The round that runs is `now` nanoseconds old.
    pub(super) fn at(&self, now: u64) {
        if let Some(bar) = &self.bar {
            bar.set_position(self.done + now / 1_000_000);
        }
    }

    /// The round ended after `now` nanoseconds.
    pub(super) fn round_done(&mut self, now: u64) {
        self.done += now / 1_000_000;
    }

    /// Removes the bar.
    pub(super) fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
