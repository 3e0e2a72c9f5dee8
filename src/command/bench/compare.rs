//! Rounds against several servers, and what they say together.
//!
//! The speed of a machine that is shared, or warm, changes from minute to minute: with `--compare`
//! the servers take turns, and the figure is the ratio within each turn.

use hdrhistogram::Histogram;

use super::meter::Sample;
use super::progress::Progress;
use super::settings::{Load, Settings};
use super::target::Target;
use crate::error::Result;

/// All rounds against one server.
pub(super) struct Rounds {
    /// The server.
    pub(super) target: Target,
    /// One for each round.
    pub(super) samples: Vec<Sample>,
}

/// The middle of several values, and how far they lie apart.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub(super) struct Spread {
    pub(super) median: f64,
    pub(super) min: f64,
    pub(super) max: f64,
}

/// Runs all rounds: in turns to compare, otherwise one server after the other.
pub(super) fn interleave(
    targets: &[Target],
    settings: &Settings,
    progress: &mut Progress,
) -> Result<Vec<Rounds>> {
    let mut all: Vec<_> = targets
        .iter()
        .map(|target| Rounds { target: target.clone(), samples: Vec::new() })
        .collect();
    let (rounds, count) = (settings.rounds, targets.len());
    for step in 0..rounds * count {
        let (round, at) = if settings.compare {
            (step / count, step % count)
        } else {
            (step % rounds, step / rounds)
        };
        progress.round(|| format!("{} {}/{rounds}", targets[at].name, round + 1));
        let sample = super::round(&targets[at], settings, progress)?;
        all[at].samples.push(sample);
    }
    Ok(all)
}

impl Rounds {
    /// The spread of a figure over the rounds; `None` if a round does not have it.
    pub(super) fn spread(&self, figure: impl Fn(&Sample) -> Option<f64>) -> Option<Spread> {
        Spread::of(self.samples.iter().map(figure).collect::<Option<_>>()?)
    }

    /// The spread of the ratios of a figure to that of `base` in the same turn.
    pub(super) fn ratio(
        &self,
        base: &Self,
        figure: impl Fn(&Sample) -> Option<f64>,
    ) -> Option<Spread> {
        let pairs = self.samples.iter().zip(&base.samples);
        let ratios = pairs.map(|(ours, base)| Some(figure(ours)? / figure(base)?));
        Spread::of(ratios.collect::<Option<_>>()?)
    }

    /// The sum of a count over the rounds.
    pub(super) fn sum(&self, count: impl Fn(&Sample) -> u64) -> u64 {
        self.samples.iter().map(count).sum()
    }

    /// The latencies of all rounds together; `None` if there are none.
    pub(super) fn latencies(&self) -> Option<Histogram<u64>> {
        let mut all = self.samples.first()?.latency_ns.clone();
        for sample in &self.samples[1..] {
            all.add(&sample.latency_ns).ok()?;
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
        let middle = values.len() / 2;
        let median = if values.len() % 2 == 1 {
            values[middle]
        } else {
            (values[middle - 1] + values[middle]) / 2.0
        };
        Some(Self { median, min, max })
    }
}

/// The figure that a kind of load is about.
pub(super) fn figure(load: Load) -> fn(&Sample) -> Option<f64> {
    match load {
        Load::PingPong | Load::Flood => |sample| Some(sample.per_second()),
        Load::Bulk => |sample| Some(sample.bytes_per_second()),
        Load::Idle => |sample| sample.memory.map(|memory| memory.per_connection()),
    }
}

/// Nanoseconds of the server's CPU time for each message or, for bulk, for each MiB.
pub(super) fn cpu_each(load: Load) -> fn(&Sample) -> Option<f64> {
    match load {
        Load::Bulk => |sample| {
            let mebibytes = sample.bytes as f64 / f64::from(1 << 20);
            Some(sample.cpu?.nanoseconds as f64 / mebibytes)
        },
        Load::Idle => |_| None,
        Load::PingPong | Load::Flood => {
            |sample| Some(sample.cpu?.nanoseconds as f64 / sample.round_trips as f64)
        }
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
