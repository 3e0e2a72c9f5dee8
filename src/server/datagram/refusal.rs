//! Why a datagram is not answered.

use std::borrow::Cow;
use std::fmt;

/// Why a datagram is not answered.
#[derive(Debug)]
pub(super) struct Refusal {
    why: Cow<'static, str>,
    /// Whether it is more than a peer's everyday trouble: the log has it once for each socket.
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
