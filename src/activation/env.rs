//! A pure parser of the activation environment, as sd_listen_fds(3) defines it.

use std::ffi::OsString;
use std::fmt;
use std::str::FromStr;

use crate::text::Escaped;

/// The first descriptor that is handed over: `SD_LISTEN_FDS_START`.
pub const LISTEN_FDS_START: i32 = 3;

/// The most descriptors that are accepted; systemd's own limit for one service is lower.
pub const LISTEN_FDS_MAX: usize = 65_536;

/// The name that sd_listen_fds(3) gives to a descriptor without one.
pub const UNKNOWN_NAME: &str = "unknown";

/// The variables of sd_listen_fds(3), as found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Environment {
    /// `LISTEN_PID`: the process that the descriptors are meant for.
    pub listen_pid: Option<OsString>,
    /// `LISTEN_PIDFDID`: the inode number of that process's pidfd (systemd 259); guards against a
    /// process id that was reused.
    pub listen_pidfdid: Option<OsString>,
    /// `LISTEN_FDS`: how many descriptors there are, from 3 on.
    pub listen_fds: Option<OsString>,
    /// `LISTEN_FDNAMES`: their names, joined by colons.
    pub listen_fdnames: Option<OsString>,
}

/// The process that reads the environment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Process {
    /// Its process id.
    pub pid: u32,
    /// The inode number of its pidfd, where the kernel has pidfs (6.9).
    pub pidfd_id: Option<u64>,
}

/// What is wrong with an activation environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EnvironmentError {
    /// Neither `LISTEN_PID` nor `LISTEN_FDS` is set: nobody activated this process.
    NotSet,
    /// One of the two is set, the other is not.
    Missing {
        /// The variable that is set, with its value.
        present: (&'static str, String),
        /// The variable that is not set.
        absent: &'static str,
    },
    /// A variable is not a number of its range: for `LISTEN_FDS`, 1 to [`LISTEN_FDS_MAX`].
    NotANumber {
        /// The variable.
        variable: &'static str,
        /// Its value.
        value: String,
    },
    /// `LISTEN_PID` names another process.
    OtherPid {
        /// The process that it names.
        listen_pid: u32,
        /// This process.
        pid: u32,
    },
    /// `LISTEN_PID` names this process, but `LISTEN_PIDFDID` does not: the process id was reused.
    OtherPidfd {
        /// The inode number that it names.
        listen_pidfdid: u64,
        /// The inode number of this process.
        pidfd_id: u64,
    },
    /// The number of names in `LISTEN_FDNAMES` differs from `LISTEN_FDS`.
    NameCount {
        /// The value of `LISTEN_FDNAMES`.
        value: String,
        /// How many names it has.
        names: usize,
        /// How many descriptors there are.
        fds: usize,
    },
}

impl Environment {
    /// Reads the variables through `lookup`.
    pub fn from_lookup(lookup: impl Fn(&str) -> Option<OsString>) -> Self {
        Self {
            listen_pid: lookup("LISTEN_PID"),
            listen_pidfdid: lookup("LISTEN_PIDFDID"),
            listen_fds: lookup("LISTEN_FDS"),
            listen_fdnames: lookup("LISTEN_FDNAMES"),
        }
    }

    /// Reads the variables of this process.
    pub fn of_this_process() -> Self {
        Self::from_lookup(|name| std::env::var_os(name))
    }

    /// Whether a handover is announced: `LISTEN_PID` or `LISTEN_FDS` is set.
    pub fn is_set(&self) -> bool {
        self.listen_pid.is_some() || self.listen_fds.is_some()
    }

    /// The names of the descriptors 3, 4, and so on that the environment hands over to `process`.
    /// Without `LISTEN_FDNAMES`, each name is [`UNKNOWN_NAME`].
    ///
    /// # Errors
    ///
    /// The environment does not follow sd_listen_fds(3). If for example `LISTEN_PID` names another
    /// process, that function returns 0 and no error; this one returns the reason.
    pub fn handover(&self, process: Process) -> Result<Vec<String>, EnvironmentError> {
        let missing = |variable, value: &OsString, absent| EnvironmentError::Missing {
            present: (variable, value.to_string_lossy().into_owned()),
            absent,
        };
        match (&self.listen_pid, &self.listen_fds) {
            (Some(_), Some(_)) => {}
            (None, None) => return Err(EnvironmentError::NotSet),
            (Some(pid), None) => return Err(missing("LISTEN_PID", pid, "LISTEN_FDS")),
            (None, Some(fds)) => {
                // A wrong count is the more likely cause, so it is reported first.
                self.check_count()?;
                return Err(missing("LISTEN_FDS", fds, "LISTEN_PID"));
            }
        }
        self.check_pid(process)?;
        self.check_pidfd(process)?;
        let count = self.check_count()?;
        self.check_names(count)?;
        // The count was checked, so it is small enough to allocate.
        Ok(match &self.listen_fdnames {
            Some(value) => value.to_string_lossy().split(':').map(str::to_owned).collect(),
            None => vec![UNKNOWN_NAME.to_owned(); count],
        })
    }

    /// Checks only `LISTEN_PID`. This check and those below accept a variable that is not set.
    ///
    /// # Errors
    ///
    /// It is not a process id, or is that of another process.
    pub fn check_pid(&self, process: Process) -> Result<(), EnvironmentError> {
        let Some(value) = &self.listen_pid else { return Ok(()) };
        let listen_pid: u32 = number("LISTEN_PID", value)?;
        if listen_pid != process.pid {
            return Err(EnvironmentError::OtherPid { listen_pid, pid: process.pid });
        }
        Ok(())
    }

    /// Checks only `LISTEN_PIDFDID`.
    ///
    /// # Errors
    ///
    /// It is not a number or, if the kernel has pidfs, is that of another process.
    pub fn check_pidfd(&self, process: Process) -> Result<(), EnvironmentError> {
        let Some(value) = &self.listen_pidfdid else { return Ok(()) };
        let listen_pidfdid: u64 = number("LISTEN_PIDFDID", value)?;
        match process.pidfd_id {
            Some(pidfd_id) if pidfd_id != listen_pidfdid => {
                Err(EnvironmentError::OtherPidfd { listen_pidfdid, pidfd_id })
            }
            _ => Ok(()),
        }
    }

    /// The count of `LISTEN_FDS`, which is 0 if it is not set.
    ///
    /// # Errors
    ///
    /// It is not a number from 1 to [`LISTEN_FDS_MAX`].
    pub fn check_count(&self) -> Result<usize, EnvironmentError> {
        let Some(value) = &self.listen_fds else { return Ok(0) };
        match number("LISTEN_FDS", value)? {
            count if (1..=LISTEN_FDS_MAX).contains(&count) => Ok(count),
            _ => Err(not_a_number("LISTEN_FDS", value)),
        }
    }

    /// Checks that `LISTEN_FDNAMES` has a name for each of `count` descriptors.
    ///
    /// # Errors
    ///
    /// It has another number of names.
    pub fn check_names(&self, count: usize) -> Result<(), EnvironmentError> {
        let Some(value) = &self.listen_fdnames else { return Ok(()) };
        let value = value.to_string_lossy();
        let names = value.split(':').count();
        if names != count {
            return Err(EnvironmentError::NameCount { value: value.into(), names, fds: count });
        }
        Ok(())
    }
}

fn number<T: FromStr>(variable: &'static str, value: &OsString) -> Result<T, EnvironmentError> {
    value.to_string_lossy().parse().map_err(|_| not_a_number(variable, value))
}

fn not_a_number(variable: &'static str, value: &OsString) -> EnvironmentError {
    EnvironmentError::NotANumber { variable, value: value.to_string_lossy().into_owned() }
}

impl fmt::Display for EnvironmentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotSet => f.write_str(
                "no sockets were passed: LISTEN_PID and LISTEN_FDS are not set and standard \
                 input is not a socket",
            ),
            Self::Missing { present: (variable, value), absent } => {
                write!(f, "{variable}={} is set but {absent} is not", Escaped::new(value))
            }
            Self::NotANumber { variable: "LISTEN_FDS", value }
                if is_digits(value.strip_prefix('-').unwrap_or(value)) =>
            {
                write!(
                    f,
                    "LISTEN_FDS={value} is not a count of file descriptors: expected 1 or more, \
                     {LISTEN_FDS_MAX} at most"
                )
            }
            Self::NotANumber { variable, value } if is_digits(value) => {
                write!(f, "{variable}={value} is too large")
            }
            Self::NotANumber { variable, value } => {
                write!(f, "{variable}={} is not a number", Escaped::new(value))
            }
            Self::OtherPid { listen_pid, pid } => write!(
                f,
                "LISTEN_PID={listen_pid} is another process, this one is {pid}: the sockets are \
                 not for it"
            ),
            Self::OtherPidfd { listen_pidfdid, pidfd_id } => write!(
                f,
                "LISTEN_PIDFDID={listen_pidfdid} is another process, this one has {pidfd_id}: an \
                 earlier process had the same process id"
            ),
            Self::NameCount { value, names, fds } => {
                let value = Escaped::new(value);
                write!(f, "LISTEN_FDNAMES={value} has {names} name(s) but LISTEN_FDS={fds}")
            }
        }
    }
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

impl std::error::Error for EnvironmentError {}

impl EnvironmentError {
    /// What to change, as an imperative sentence.
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::NotSet => {
                "start this program through a .socket unit, systemd-socket-activate, or \
                 `socket-activate-echo activate`"
            }
            Self::Missing { .. } => {
                "set both or neither: a container engine or a wrapper has to pass on both"
            }
            Self::NotANumber { .. } => {
                "let the activator set it; `unset LISTEN_FDS LISTEN_PID` clears what a \
                 parent shell left behind"
            }
            Self::OtherPid { .. } => {
                "exec the program in place of the activated process: a wrapper that forks, such \
                 as a shell or --init, gives it another process id"
            }
            Self::OtherPidfd { .. } => {
                "unset the variables that the earlier process left behind, and start the service \
                 again"
            }
            Self::NameCount { .. } => {
                "give each file descriptor one name, joined by colons, or leave LISTEN_FDNAMES unset"
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the variables in `text`, separated by spaces, hand over to process 7.
    fn parse(text: &str, pidfd_id: Option<u64>) -> Result<Vec<String>, String> {
        let variables: Vec<_> = text.split(' ').filter_map(|part| part.split_once('=')).collect();
        let environment = Environment::from_lookup(|name| {
            variables.iter().find(|(key, _)| *key == name).map(|(_, value)| value.into())
        });
        environment.handover(Process { pid: 7, pidfd_id }).map_err(|error| error.to_string())
    }

    #[test]
    fn well_formed() {
        for (variables, names) in [
            ("LISTEN_PID=7 LISTEN_FDS=1", &["unknown"][..]),
            ("LISTEN_PID=7 LISTEN_FDS=2", &["unknown", "unknown"]),
            ("LISTEN_PID=7 LISTEN_FDS=2 LISTEN_FDNAMES=a:a", &["a", "a"]),
            ("LISTEN_PID=7 LISTEN_FDS=2 LISTEN_FDNAMES=:", &["", ""]),
            ("LISTEN_PID=7 LISTEN_FDS=1 LISTEN_PIDFDID=70", &["unknown"]),
        ] {
            let handed_over = parse(variables, Some(70)).unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(handed_over, names, "{variables}");
        }
        let stale_pidfd = "LISTEN_PID=7 LISTEN_FDS=1 LISTEN_PIDFDID=99";
        assert!(parse(stale_pidfd, None).is_ok(), "a kernel without pidfs cannot tell");
    }

    #[test]
    fn departures() {
        for (variables, error) in [
            ("", "no sockets were passed: "),
            ("LISTEN_FDS=1", "LISTEN_FDS=1 is set but LISTEN_PID is not"),
            ("LISTEN_PID=7", "LISTEN_PID=7 is set but LISTEN_FDS is not"),
            ("LISTEN_FDS=x", "LISTEN_FDS=x is not a number"),
            ("LISTEN_PID=7 LISTEN_FDS=x", "LISTEN_FDS=x is not a number"),
            ("LISTEN_PID=7 LISTEN_FDS=", "LISTEN_FDS= is not a number"),
            ("LISTEN_PID=7 LISTEN_FDS=\u{1b}c", r"LISTEN_FDS=\x1bc is not a number"),
            // The standard library reports the overflow before it sees that the rest is no digit.
            (
                "LISTEN_PID=7 LISTEN_FDS=99999999999999999999\u{1b}",
                r"LISTEN_FDS=99999999999999999999\x1b",
            ),
            ("LISTEN_PID=x LISTEN_FDS=1", "LISTEN_PID=x is not a number"),
            ("LISTEN_PID=99999999999 LISTEN_FDS=1", "LISTEN_PID=99999999999 is too large"),
            ("LISTEN_PID=7 LISTEN_FDS=-1", "LISTEN_FDS=-1 is not a count"),
            ("LISTEN_PID=7 LISTEN_FDS=0", "LISTEN_FDS=0 is not a count"),
            ("LISTEN_PID=7 LISTEN_FDS=65537", "LISTEN_FDS=65537 is not a count"),
            ("LISTEN_PID=7 LISTEN_FDS=99999999999999999999", "LISTEN_FDS=99999999999999999999 is"),
            ("LISTEN_PID=1 LISTEN_FDS=1", "LISTEN_PID=1 is another process, this one is 7: "),
            (
                "LISTEN_PID=7 LISTEN_FDS=1 LISTEN_PIDFDID=71",
                "LISTEN_PIDFDID=71 is another process, this one has 70: ",
            ),
            (
                "LISTEN_PID=7 LISTEN_FDS=1 LISTEN_FDNAMES=a:b",
                "LISTEN_FDNAMES=a:b has 2 name(s) but LISTEN_FDS=1",
            ),
        ] {
            let wrong = parse(variables, Some(70)).expect_err(variables);
            assert!(wrong.starts_with(error), "{variables}: {wrong}");
        }
    }
}
