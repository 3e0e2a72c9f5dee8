//! Rounds against several servers, and their joint results.
//!
//! The speed of a shared or warm machine changes every minute. So with `--compare` the servers take
//! turns, and the result is the ratio within each turn.

use hdrhistogram::Histogram;
use indicatif::ProgressBar;

use super::meter::Sample;
use super::settings::{Load, Settings};
use super::target::Target;
use crate::error::Result;

/// All rounds against one server.
pub(super) struct Rounds {
    /// The server.
    pub(super) target: Target,
    /// The results of each round.
    pub(super) samples: Vec<Sample>,
}

/// The median of several values, and their range.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub(super) struct Spread {
    pub(super) median: f64,
    pub(super) min: f64,
    pub(super) max: f64,
}

/// A measured value of a round, if it has one.
pub(super) type Figure = fn(&Sample) -> Option<f64>;

/// How the reports describe a kind of load.
pub(super) struct About {
    /// Its name on the command line and in the document.
    pub(super) mode: &'static str,
    /// Its name in a sentence.
    pub(super) words: &'static str,
    /// Its main figure, and the unit of that.
    pub(super) figure: Figure,
    pub(super) unit: &'static str,
    /// The server's CPU time in nanoseconds, and for each of what.
    pub(super) cpu: Figure,
    pub(super) cpu_each: &'static str,
}

impl Load {
    pub(super) fn about(self) -> About {
        let (mode, words, figure, unit): (_, _, Figure, _) = match self {
            Self::PingPong => ("pingpong", "ping-pong", Sample::per_second, "round trips/s"),
            Self::Bulk => ("bulk", "bulk", Sample::bytes_per_second, "bytes/s"),
            Self::Flood => ("flood", "flood", Sample::per_second, "datagrams/s"),
            Self::Idle => ("idle", "idle", Sample::per_connection, "B/connection"),
        };
        let (cpu, cpu_each): (Figure, _) = match self {
            Self::Bulk => (Sample::cpu_per_mebibyte, "MiB"),
            Self::Idle => (|_| None, "message"),
            Self::PingPong | Self::Flood => (Sample::cpu_per_message, "message"),
        };
        About { mode, words, figure, unit, cpu, cpu_each }
    }
}

/// Runs all rounds with `run`: in turns to compare, otherwise one server after the other.
pub(super) fn interleave(
    targets: &[Target],
    settings: &Settings<'_>,
    progress: &ProgressBar,
    run: impl Fn(&Target) -> Result<Sample>,
) -> Result<Vec<Rounds>> {
    let rounds_of = |target: &Target| Rounds { target: target.clone(), samples: Vec::new() };
    let mut all: Vec<_> = targets.iter().map(rounds_of).collect();
    let (rounds, count) = (settings.rounds, targets.len());
    for step in 0..rounds * count {
        let (round, at) = if settings.args.compare {
            (step / count, step % count)
        } else {
            (step % rounds, step / rounds)
        };
        progress.set_message(format!("{} {}/{rounds}", targets[at].name, round + 1));
        all[at].samples.push(run(&targets[at])?);
    }
    Ok(all)
}

impl Rounds {
    /// The spread of a figure over the rounds; `None` if a round does not have it.
    pub(super) fn spread(&self, figure: impl Fn(&Sample) -> Option<f64>) -> Option<Spread> {
        Spread::of(self.samples.iter().map(figure).collect::<Option<_>>()?)
    }

    /// The spread of the ratios of a figure to that of `base` in the same turn.
    pub(super) fn ratio(&self, base: &Self, figure: Figure) -> Option<Spread> {
        let pairs = self.samples.iter().zip(&base.samples);
        let ratios = pairs.map(|(ours, base)| Some(figure(ours)? / figure(base)?));
        Spread::of(ratios.collect::<Option<_>>()?)
    }

    /// The sum of a count over the rounds.
    pub(super) fn sum(&self, count: impl Fn(&Sample) -> u64) -> u64 {
        self.samples.iter().map(count).sum()
    }

    /// The first error of all rounds, in words.
    pub(super) fn first_error(&self) -> Option<&str> {
        self.samples.iter().find_map(|sample| sample.first_error.as_deref())
    }

    /// The latencies of all rounds together; `None` if there are none.
    pub(super) fn latencies(&self) -> Option<Histogram<u64>> {
        let mut all = self.samples.first()?.latency_ns.0.clone();
        for sample in &self.samples[1..] {
            all.add(&sample.latency_ns.0).ok()?;
        }
        (!all.is_empty()).then_some(all)
    }
}

impl Spread {
    pub(super) fn of(mut values: Vec<f64>) -> Option<Self> {
        if values.iter().any(|value| !value.is_finite()) {
            return None;
        }
        values.sort_by(f64::total_cmp);
        let (&min, &max) = (values.first()?, values.last()?);
        // For an odd number of values, both are the middle one.
        let (low, high) = (values[(values.len() - 1) / 2], values[values.len() / 2]);
        Some(Self { median: (low + high) / 2.0, min, max })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_and_the_ends_are_kept() {
        let spread = |values: &[f64]| Spread::of(values.to_vec());
        assert_eq!(spread(&[3.0, 1.0, 2.0]), Some(Spread { median: 2.0, min: 1.0, max: 3.0 }));
        assert_eq!(spread(&[4.0, 1.0]), Some(Spread { median: 2.5, min: 1.0, max: 4.0 }));
        assert_eq!(spread(&[]), None);
        assert_eq!(spread(&[1.0, f64::NAN]), None);
    }
}
