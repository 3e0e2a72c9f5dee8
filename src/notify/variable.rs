//! What is wrong with a variable of the environment.

use std::ffi::OsString;
use std::fmt;

use crate::text::Escaped;

/// A variable that the service manager sets, with a value that sd_notify(3) and
/// sd_watchdog_enabled(3) do not define.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VariableError {
    pub(super) variable: &'static str,
    pub(super) value: OsString,
    pub(super) reason: &'static str,
}

impl fmt::Display for VariableError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={} {}", self.variable, Escaped::new(&self.value), self.reason)
    }
}

impl std::error::Error for VariableError {}
