//! Why a reply is not sent.

use std::borrow::Cow;
use std::fmt;

/// Why a reply is not sent.
#[derive(Debug)]
pub(super) enum Unsent {
    /// Its receiver is not ready, or memory or a descriptor was missing: it is sent later.
    NotNow,
    /// It will never be sent.
    Refused(Refusal),
}

/// Why a datagram is not answered.
#[derive(Debug)]
pub(super) struct Refusal {
    why: Cow<'static, str>,
    /// Whether it is unusual: it is then logged, once for each socket.
    pub(super) is_told: bool,
}

impl Refusal {
    pub(super) fn new(is_told: bool, why: impl Into<Cow<'static, str>>) -> Self {
        Self { why: why.into(), is_told }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.why)
    }
}
