//! What became of a case.

use std::time::{Duration, Instant};

use serde::Serialize;

use super::case::{Case, Miss, Verdict};
use super::expect::Expectation;

/// What became of a case.
#[derive(Debug, Serialize)]
pub(super) struct Finding {
    pub(super) name: String,
    pub(super) result: Verdict,
    /// What was seen.
    pub(super) reason: String,
    pub(super) source: &'static str,
    pub(super) explanation: &'static str,
    /// What `--expect` says about it.
    #[serde(skip)]
    pub(super) expectation: Expectation,
    pub(super) expected: bool,
    #[serde(rename = "duration_ms", serialize_with = "milliseconds")]
    pub(super) duration: Duration,
}

impl Finding {
    /// Runs the case.
    pub(super) fn of(case: &Case<'_>, expectation: Expectation) -> Self {
        let started = Instant::now();
        let (result, reason) = match (case.check)() {
            Ok(reason) => (Verdict::Pass, reason),
            Err(Miss::Fail(reason)) => (Verdict::Fail, reason),
            Err(Miss::Skip(reason)) => (Verdict::Skip, reason),
        };
        Self {
            name: case.name.clone(),
            result,
            // One line, whatever an engine prints: the reason is part of tables and protocols.
            reason: reason.split_whitespace().collect::<Vec<_>>().join(" "),
            source: case.source,
            explanation: case.explanation,
            expectation,
            expected: expectation.is_met_by(result),
            duration: started.elapsed(),
        }
    }

    pub(super) fn is_expected(&self) -> bool {
        self.expected
    }
}

fn milliseconds<S: serde::Serializer>(time: &Duration, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_u64(u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
}
