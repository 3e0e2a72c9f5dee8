//! The one error type of the library, and the exit statuses of the program.

use std::fmt;
use std::io;

use crate::text::Escaped;

/// The kind of a failure. Each kind has one exit status, listed in `--help` and in the manual.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum ErrorKind {
    /// Something failed that no other kind names, for example a system call in the event loop.
    Other = 1,
    /// The command line is wrong.
    Usage = 2,
    /// The activation environment (`LISTEN_FDS` and its companions) is missing or wrong.
    Environment = 3,
    /// An inherited file descriptor is not a socket that a daemon can use.
    Descriptor = 4,
    /// An address cannot be bound.
    Bind = 5,
    /// An address cannot be reached: refused, no such path, permission denied, name not resolved.
    Connect = 6,
    /// Nothing, or not everything, came back in time.
    NoReply = 7,
    /// What came back differs from what was sent.
    WrongReply = 8,
    /// A program cannot be executed: the exit status that shells use for this.
    Exec = 127,
}

impl ErrorKind {
    /// Every kind with the meaning of its exit status, as `--help` prints it.
    pub const ALL: [(Self, &'static str); 9] = [
        (Self::Other, "a system call failed, or another error"),
        (Self::Usage, "the command line is wrong"),
        (Self::Environment, "no sockets were passed, or the LISTEN_* variables are wrong"),
        (Self::Descriptor, "an inherited file descriptor cannot be served"),
        (Self::Bind, "an address cannot be bound"),
        (Self::Connect, "an address cannot be reached"),
        (Self::NoReply, "no reply in time"),
        (Self::WrongReply, "the reply differs from what was sent"),
        (Self::Exec, "the command cannot be executed"),
    ];

    /// The exit status of a run that ended with an error of this kind.
    pub const fn exit_status(self) -> u8 {
        self as u8
    }
}

/// A failure: its kind, what was attempted on what, the cause, and what to change.
///
/// `Display` shows all of it in one line, including the causes of the cause. So
/// [`source`](std::error::Error::source) returns `None`: a program that prints the chain of sources
/// would repeat them. [`Error::cause`] returns the cause.
#[derive(Debug)]
pub struct Error {
    kind: ErrorKind,
    // Empty if the cause is a complete message.
    message: String,
    cause: Option<Box<dyn std::error::Error + Send + Sync>>,
    detail: Option<String>,
    remedy: Option<String>,
}

/// The remedy for a process that has reached its limit of descriptors.
pub(crate) const MORE_DESCRIPTORS: &str =
    "raise the descriptor limit: `ulimit -n` in a shell, LimitNOFILE= in a unit";

/// The result of everything in this crate that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error that says what was attempted and on what, for example `bind tcp:127.0.0.1:3000`.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), cause: None, detail: None, remedy: None }
    }

    /// An error whose cause is a complete message, for example about a value of `NOTIFY_SOCKET`.
    pub fn from_cause(
        kind: ErrorKind,
        cause: impl std::error::Error + Send + Sync + 'static,
    ) -> Self {
        Self { cause: Some(Box::new(cause)), ..Self::new(kind, "") }
    }

    /// Adds the error of the system call.
    #[must_use]
    pub fn because(self, cause: impl Into<io::Error>) -> Self {
        Self { cause: Some(Box::new(cause.into())), ..self }
    }

    /// Adds a detail, which is shown in parentheses.
    #[must_use]
    pub fn detail(self, detail: impl Into<String>) -> Self {
        Self { detail: Some(detail.into()), ..self }
    }

    /// Adds what the user can change, as an imperative sentence without a period.
    #[must_use]
    pub fn remedy(self, remedy: impl Into<String>) -> Self {
        Self { remedy: Some(remedy.into()), ..self }
    }

    /// Changes the kind. For example, an activator reports a name that is not resolved as
    /// [`ErrorKind::Bind`].
    #[must_use]
    pub fn of_kind(self, kind: ErrorKind) -> Self {
        Self { kind, ..self }
    }

    /// The kind of the failure.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The error that led to this one.
    pub fn cause(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.cause.as_deref().map(|cause| cause as _)
    }

    /// The error of the system call, if one failed.
    pub fn io(&self) -> Option<&io::Error> {
        self.cause()?.downcast_ref()
    }

    /// The error of the system call, for a caller that adds its own message; this whole error, if
    /// no system call failed.
    pub fn into_io(self) -> io::Error {
        match self.cause {
            Some(cause) if cause.is::<io::Error>() => {
                cause.downcast().map_or_else(io::Error::other, |error| *error)
            }
            cause => io::Error::other(Self { cause, ..self }),
        }
    }
}

/// Adds what was attempted to an `io::Error`: `recv(fd).context("receive on fd 3")?`.
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
        // Each part may contain a name from outside.
        let mut separator = match self.message.as_str() {
            "" => "",
            message => {
                Escaped::new(message).fmt(f)?;
                ": "
            }
        };
        let mut next = self.cause();
        while let Some(cause) = next {
            f.write_str(separator)?;
            match cause.downcast_ref() {
                Some(error) => Errno(error).fmt(f)?,
                None => Escaped::new(&cause.to_string()).fmt(f)?,
            }
            separator = ": ";
            next = cause.source();
        }
        if let Some(detail) = &self.detail {
            write!(f, " ({})", Escaped::new(detail))?;
        }
        if let Some(remedy) = &self.remedy {
            write!(f, "; {}", Escaped::new(remedy))?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {}

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
    fn display_is_one_line_with_the_whole_chain() {
        let bind = || Error::new(ErrorKind::Bind, "bind \x1b");
        let denied = || bind().because(rustix::io::Errno::ACCESS).remedy("choose \u{9b}");
        for (error, text) in [
            (bind(), r"bind \x1b"),
            (denied(), r"bind \x1b: Permission denied; choose \xc2\x9b"),
            (bind().because(io::Error::other("a\nb")), r"bind \x1b: a\x0ab"),
            (
                Error::from_cause(ErrorKind::Usage, fmt::Error).detail("typed"),
                "{fmt::Error} (typed)",
            ),
            (
                bind().because(io::Error::other(denied())),
                r"bind \x1b: bind \x1b: Permission denied; choose \xc2\x9b",
            ),
        ] {
            assert_eq!(error.to_string(), text.replace("{fmt::Error}", &fmt::Error.to_string()));
            assert!(std::error::Error::source(&error).is_none(), "{text}: it would be said twice");
        }
        // The kernel's answer keeps its number, and another cause its text.
        assert_eq!(denied().io().and_then(io::Error::raw_os_error), Some(libc::EACCES));
        assert_eq!(denied().into_io().raw_os_error(), Some(libc::EACCES));
        let cause = Error::from_cause(ErrorKind::Usage, fmt::Error);
        assert!(cause.cause().is_some_and(|cause| cause.is::<fmt::Error>()));
        assert_eq!(cause.into_io().to_string(), fmt::Error.to_string());
    }
}
