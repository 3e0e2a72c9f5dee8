//! The one error type of the program and the exit statuses that it maps to.

use std::fmt;
use std::io;

use crate::text::Escaped;

/// What a failure was about. Each kind has one exit status, listed in `--help` and in the manual.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// Something failed that no other kind names, for example a system call in the event loop.
    Other,
    /// The command line is wrong.
    Usage,
    /// The activation environment (`LISTEN_FDS` and its companions) is missing or wrong.
    Environment,
    /// An inherited file descriptor is not a socket that can be served.
    Descriptor,
    /// An address cannot be bound.
    Bind,
    /// An address cannot be reached: refused, no such path, permission denied, name not resolved.
    Connect,
    /// Nothing, or not everything, came back in time.
    NoReply,
    /// Something came back that is not what was sent.
    WrongReply,
    /// The command to run cannot be executed.
    Exec,
}

impl ErrorKind {
    /// Every kind, in the order of the exit statuses.
    pub const ALL: [Self; 9] = [
        Self::Other,
        Self::Usage,
        Self::Environment,
        Self::Descriptor,
        Self::Bind,
        Self::Connect,
        Self::NoReply,
        Self::WrongReply,
        Self::Exec,
    ];

    /// The exit status of a run that ended with an error of this kind.
    ///
    /// 127 is what a shell reports for a command that cannot be executed.
    pub const fn exit_status(self) -> u8 {
        match self {
            Self::Other => 1,
            Self::Usage => 2,
            Self::Environment => 3,
            Self::Descriptor => 4,
            Self::Bind => 5,
            Self::Connect => 6,
            Self::NoReply => 7,
            Self::WrongReply => 8,
            Self::Exec => 127,
        }
    }

    /// The meaning of the exit status, as `--help` prints it.
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::Other => "a system call failed, or another error",
            Self::Usage => "the command line is wrong",
            Self::Environment => {
                "no sockets were handed over, or LISTEN_FDS and its companions are wrong"
            }
            Self::Descriptor => "an inherited file descriptor cannot be served",
            Self::Bind => "an address cannot be bound",
            Self::Connect => "an address cannot be reached",
            Self::NoReply => "no reply in time",
            Self::WrongReply => "the reply differs from what was sent",
            Self::Exec => "the command cannot be executed",
        }
    }
}

/// A failure: its kind, what was attempted on what, what came back, and what to change.
#[derive(Debug)]
pub struct Error {
    kind: ErrorKind,
    message: String,
    source: Option<io::Error>,
    remedy: Option<String>,
}

/// The result of everything in this crate that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error that says what was attempted and on what, for example `bind tcp:127.0.0.1:3000`.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), source: None, remedy: None }
    }

    /// Adds what the kernel answered.
    #[must_use]
    pub fn because(mut self, source: impl Into<io::Error>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Adds what the user can change, as an imperative sentence without a period.
    #[must_use]
    pub fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = Some(remedy.into());
        self
    }

    /// The same failure as one of `kind`: a name that is not resolved is one of the verb that
    /// asked for it.
    #[must_use]
    pub fn of_kind(mut self, kind: ErrorKind) -> Self {
        self.kind = kind;
        self
    }

    /// What the failure was about.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// What the kernel answered, if the failure came from a system call.
    pub fn io(&self) -> Option<&io::Error> {
        self.source.as_ref()
    }
}

/// Joins `io::Error` values with what was attempted: `recv(fd).context("receive on fd 3")?`.
pub trait Context<T> {
    /// Turns the error into one of kind [`ErrorKind::Other`] that says what was attempted.
    fn context(self, attempted: impl Into<String>) -> Result<T>;
}

impl<T, E: Into<io::Error>> Context<T> for std::result::Result<T, E> {
    fn context(self, attempted: impl Into<String>) -> Result<T> {
        self.map_err(|error| Error::new(ErrorKind::Other, attempted).because(error))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Each part may have a name in it that somebody else chose.
        write!(f, "{}", Escaped::new(&self.message))?;
        if let Some(source) = &self.source {
            write!(f, ": {}", Errno(source))?;
        }
        if let Some(remedy) = &self.remedy {
            write!(f, "; {}", Escaped::new(remedy))?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_ref().map(|source| source as _)
    }
}

/// Shows an I/O error without the `(os error 13)` that the standard library appends.
pub struct Errno<'a>(pub &'a io::Error);

impl fmt::Display for Errno<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.0.to_string();
        Escaped::new(text.split(" (os error").next().unwrap_or(&text)).fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_statuses_are_distinct_and_never_success() {
        let mut seen = Vec::new();
        for kind in ErrorKind::ALL {
            assert!(kind.exit_status() != 0, "{kind:?}");
            assert!(!seen.contains(&kind.exit_status()), "{kind:?} shares its exit status");
            seen.push(kind.exit_status());
        }
    }

    #[test]
    fn display_has_attempt_answer_and_remedy() {
        let error = Error::new(ErrorKind::Bind, "bind tcp:127.0.0.1:1")
            .because(io::Error::from_raw_os_error(libc::EACCES))
            .remedy("choose a port above 1023");
        assert_eq!(
            error.to_string(),
            "bind tcp:127.0.0.1:1: Permission denied; choose a port above 1023"
        );
    }

    #[test]
    fn display_is_one_line_whatever_is_in_it() {
        let error = Error::new(ErrorKind::Bind, "bind \x1b")
            .because(io::Error::other("a\nb"))
            .remedy("stop \u{9b}");
        assert_eq!(error.to_string(), r"bind \x1b: a\x0ab; stop \xc2\x9b");
    }
}
