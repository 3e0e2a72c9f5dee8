//! A case: a question about an engine, and the answer.

use serde::Serialize;

/// What a check has found: a pass with what was seen, or a [`Miss`].
pub(super) type Seen = Result<String, Miss>;

/// Why a check is no pass.
#[derive(Debug, Clone)]
pub(super) enum Miss {
    /// What is different from what was handed over, or from the rule.
    Fail(String),
    /// Why it cannot be tried here.
    Skip(String),
}

/// One case.
pub(super) struct Case<'a> {
    /// A stable name.
    pub(super) name: String,
    /// What has to be so.
    pub(super) explanation: &'static str,
    /// Where that is written, or where it was found to be wrong.
    pub(super) source: &'static str,
    pub(super) check: Box<dyn Fn() -> Seen + 'a>,
}

impl<'a> Case<'a> {
    pub(super) fn new(
        name: impl Into<String>,
        explanation: &'static str,
        source: &'static str,
        check: impl Fn() -> Seen + 'a,
    ) -> Self {
        Self { name: name.into(), explanation, source, check: Box::new(check) }
    }
}

/// The result of a case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Verdict {
    Pass,
    Fail,
    Skip,
}

impl Verdict {
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Fail => "fail",
            Self::Skip => "skip",
        }
    }
}
