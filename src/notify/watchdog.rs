//! Whether, and how often, the service manager wants a keep-alive: sd_watchdog_enabled(3).

use std::ffi::OsString;
use std::fmt;
use std::time::Duration;

use crate::text::Escaped;

/// The manager acts on us if no [`super::State::Watchdog`] comes for this long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Watchdog {
    /// `WatchdogSec=` of systemd.service(5).
    pub timeout: Duration,
}

/// A variable of sd_watchdog_enabled(3) that is not the number that it has to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WatchdogError {
    variable: &'static str,
    value: OsString,
}

impl Watchdog {
    /// The watchdog that the variables set for the process `pid`; `None` if there is none, or if
    /// it is meant for another process.
    ///
    /// # Errors
    ///
    /// `WATCHDOG_USEC` or `WATCHDOG_PID` is not a positive number.
    pub fn from_lookup(
        lookup: impl Fn(&str) -> Option<OsString>,
        pid: u32,
    ) -> Result<Option<Self>, WatchdogError> {
        let Some(value) = lookup("WATCHDOG_USEC") else { return Ok(None) };
        let timeout = match number("WATCHDOG_USEC", &value)? {
            // USEC_INFINITY, which is not a time either.
            u64::MAX => return Err(WatchdogError { variable: "WATCHDOG_USEC", value }),
            usec => Duration::from_micros(usec),
        };
        if let Some(value) = lookup("WATCHDOG_PID") {
            if number("WATCHDOG_PID", &value)? != u64::from(pid) {
                return Ok(None);
            }
        }
        Ok(Some(Self { timeout }))
    }

    /// The watchdog that the variables of this process set.
    ///
    /// # Errors
    ///
    /// As [`Watchdog::from_lookup`].
    pub fn from_env() -> Result<Option<Self>, WatchdogError> {
        Self::from_lookup(|name| std::env::var_os(name), std::process::id())
    }

    /// How often to send the keep-alive: every half of the timeout, as sd_watchdog_enabled(3)
    /// recommends.
    pub fn interval(self) -> Duration {
        self.timeout / 2
    }
}

fn number(variable: &'static str, value: &OsString) -> Result<u64, WatchdogError> {
    match value.to_str().and_then(|text| text.parse().ok()) {
        Some(number) if number > 0 => Ok(number),
        _ => Err(WatchdogError { variable, value: value.clone() }),
    }
}

impl fmt::Display for WatchdogError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let expected = match self.variable {
            "WATCHDOG_PID" => "a process id",
            _ => "a positive number of microseconds",
        };
        let (variable, value) = (self.variable, Escaped::new(&self.value));
        write!(f, "{variable}={value} is not {expected}; set WatchdogSec= in the unit, not this")
    }
}

impl std::error::Error for WatchdogError {}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(usec: Option<&str>, pid: Option<&str>) -> Result<Option<Watchdog>, String> {
        let lookup = |name: &str| match name {
            "WATCHDOG_USEC" => usec.map(OsString::from),
            "WATCHDOG_PID" => pid.map(OsString::from),
            _ => None,
        };
        Watchdog::from_lookup(lookup, 7).map_err(|error| error.to_string())
    }

    #[test]
    fn for_us_for_others_and_none() {
        let two = Ok(Some(Watchdog { timeout: Duration::from_secs(2) }));
        for (usec, pid, expected) in [
            (None, None, Ok(None)),
            (None, Some("7"), Ok(None)),
            (Some("2000000"), None, two.clone()),
            (Some("2000000"), Some("7"), two),
            (Some("2000000"), Some("8"), Ok(None)),
        ] {
            assert_eq!(parse(usec, pid), expected, "{usec:?} {pid:?}");
        }
        let watchdog = Watchdog { timeout: Duration::from_millis(3) };
        assert_eq!(watchdog.interval(), Duration::from_micros(1500));
    }

    #[test]
    fn what_is_not_a_number_says_so() {
        for usec in ["", "0", "-1", "x", "1s", "18446744073709551615", "18446744073709551616"] {
            let error = parse(Some(usec), None).expect_err(usec);
            let start = format!("WATCHDOG_USEC={usec} is not a positive");
            assert!(error.starts_with(&start), "{error}");
        }
        for pid in ["", "0", "x"] {
            let error = parse(Some("1"), Some(pid)).expect_err(pid);
            let start = format!("WATCHDOG_PID={pid} is not a process id");
            assert!(error.starts_with(&start), "{error}");
        }
    }
}
