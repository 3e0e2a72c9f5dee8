//! Whether, and how often, the service manager wants a keep-alive: sd_watchdog_enabled(3).

use std::ffi::OsString;
use std::time::Duration;

use super::variable::VariableError;

/// The manager's watchdog: the service fails if it sends no [`super::State::Watchdog`] for this
/// long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Watchdog {
    /// `WatchdogSec=` of systemd.service(5).
    pub timeout: Duration,
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
    ) -> Result<Option<Self>, VariableError> {
        let Some(usec) = number(&lookup, "WATCHDOG_USEC", USEC_EXPECTED)? else { return Ok(None) };
        match number(&lookup, "WATCHDOG_PID", PID_EXPECTED)? {
            Some(other) if other != u64::from(pid) => Ok(None),
            _ => Ok(Some(Self { timeout: Duration::from_micros(usec) })),
        }
    }

    /// The watchdog that the variables of this process set.
    ///
    /// # Errors
    ///
    /// As [`Watchdog::from_lookup`].
    pub fn from_env() -> Result<Option<Self>, VariableError> {
        // Most services have no watchdog: this saves them a getpid(2).
        if std::env::var_os("WATCHDOG_USEC").is_none() {
            return Ok(None);
        }
        Self::from_lookup(|name| std::env::var_os(name), std::process::id())
    }

    /// How often to send the keep-alive: half of the timeout, as sd_watchdog_enabled(3) recommends.
    pub fn interval(self) -> Duration {
        self.timeout / 2
    }
}

const USEC_EXPECTED: &str = "is not a positive number of microseconds; set WatchdogSec= in the \
                             unit instead of this variable";
const PID_EXPECTED: &str = "is not a process id; set WatchdogSec= in the unit instead of this \
                            variable";

fn number(
    lookup: impl Fn(&str) -> Option<OsString>,
    variable: &'static str,
    reason: &'static str,
) -> Result<Option<u64>, VariableError> {
    let Some(value) = lookup(variable) else { return Ok(None) };
    match value.to_str().and_then(|text| text.parse().ok()) {
        // The largest is systemd's `USEC_INFINITY`, which is not a time.
        Some(number) if (1..u64::MAX).contains(&number) => Ok(Some(number)),
        _ => Err(VariableError { variable, value, reason }),
    }
}

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
