//! Everything that can go wrong between a client and an echo server, each with a name.

use std::fmt;
use std::io;

use crate::address::Address;
use crate::error::{Error, ErrorKind};

/// What was seen to go wrong. The name is stable: it is the verdict of a row and of the JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Symptom {
    /// Nobody listens: `ECONNREFUSED`, and over vsock `ECONNRESET` while connecting.
    Refused,
    /// The unix socket file does not exist.
    NoSuchPath,
    /// `EACCES` or `EPERM`.
    PermissionDenied,
    /// The unix socket is of another type: `EPROTOTYPE`.
    WrongType,
    /// The host name has no address, or the scope names no interface.
    NotResolved,
    /// No route, no such local address: `ENETUNREACH`, `EHOSTUNREACH`, `EADDRNOTAVAIL`.
    Unreachable,
    /// The kernel has no vsock transport that leads to the CID.
    NoTransport,
    /// The kernel does not have the family, type or protocol.
    Unsupported,
    /// No connection in time.
    ConnectTimeout,
    /// The multiplexer closed the connection instead of `OK PORT`.
    MuxRefused,
    /// The multiplexer answered something else than `OK PORT`.
    MuxGarbled,
    /// The message is larger than what one packet of the family, or its send buffer, takes.
    TooLarge,
    /// Nothing came back in time.
    NoReply,
    /// A part came back, then nothing more in time.
    Stalled,
    /// The peer ended the connection before everything came back.
    Closed,
    /// The peer reset the connection.
    Reset,
    /// A shorter message than was sent, equal as far as it goes.
    Truncated,
    /// What came back differs.
    WrongBytes,
    /// More came back than was sent.
    Surplus,
    /// Another error.
    Failed,
}

impl Symptom {
    /// Every symptom, in the order in which they can occur.
    pub const ALL: [Self; 20] = [
        Self::Refused,
        Self::NoSuchPath,
        Self::PermissionDenied,
        Self::WrongType,
        Self::NotResolved,
        Self::Unreachable,
        Self::NoTransport,
        Self::Unsupported,
        Self::ConnectTimeout,
        Self::MuxRefused,
        Self::MuxGarbled,
        Self::TooLarge,
        Self::NoReply,
        Self::Stalled,
        Self::Closed,
        Self::Reset,
        Self::Truncated,
        Self::WrongBytes,
        Self::Surplus,
        Self::Failed,
    ];

    /// The name, as it is printed.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::NoSuchPath => "no-such-path",
            Self::PermissionDenied => "permission-denied",
            Self::WrongType => "wrong-type",
            Self::NotResolved => "not-resolved",
            Self::Unreachable => "unreachable",
            Self::NoTransport => "no-transport",
            Self::Unsupported => "unsupported",
            Self::ConnectTimeout => "connect-timeout",
            Self::MuxRefused => "mux-refused",
            Self::MuxGarbled => "mux-garbled",
            Self::TooLarge => "too-large",
            Self::NoReply => "no-reply",
            Self::Stalled => "stalled",
            Self::Closed => "closed",
            Self::Reset => "reset",
            Self::Truncated => "truncated",
            Self::WrongBytes => "wrong-bytes",
            Self::Surplus => "surplus",
            Self::Failed => "failed",
        }
    }

    /// The kind of error that it is, and so the exit status.
    pub const fn kind(self) -> ErrorKind {
        match self {
            Self::Refused
            | Self::NoSuchPath
            | Self::PermissionDenied
            | Self::WrongType
            | Self::NotResolved
            | Self::Unreachable
            | Self::NoTransport
            | Self::Unsupported
            | Self::ConnectTimeout
            | Self::MuxRefused
            | Self::MuxGarbled => ErrorKind::Connect,
            Self::TooLarge => ErrorKind::Usage,
            Self::NoReply | Self::Stalled | Self::Closed | Self::Reset => ErrorKind::NoReply,
            Self::Truncated | Self::WrongBytes | Self::Surplus => ErrorKind::WrongReply,
            Self::Failed => ErrorKind::Other,
        }
    }

    /// Whether it may go away by itself once a server listens.
    pub const fn is_nobody_listens(self) -> bool {
        matches!(
            self,
            Self::Refused
                | Self::NoSuchPath
                | Self::NotResolved
                | Self::Unreachable
                | Self::NoTransport
                | Self::ConnectTimeout
                | Self::MuxRefused
        )
    }

    /// What an error of connect(2), or of the first send over a datagram socket, means there.
    pub fn of_connect(address: &Address, error: &io::Error) -> Self {
        let vsock = matches!(address, Address::Vsock(..));
        match error.raw_os_error() {
            Some(libc::ECONNREFUSED) => Self::Refused,
            // A vsock peer without a listener answers with a reset, see vsock(7).
            Some(libc::ECONNRESET) if vsock => Self::Refused,
            Some(libc::ENODEV) if vsock => Self::NoTransport,
            Some(libc::ENOENT | libc::ENOTDIR | libc::ELOOP) => Self::NoSuchPath,
            Some(libc::EACCES | libc::EPERM) => Self::PermissionDenied,
            Some(libc::EPROTOTYPE) => Self::WrongType,
            Some(libc::ENETUNREACH | libc::EHOSTUNREACH | libc::ENETDOWN) => Self::Unreachable,
            Some(libc::EADDRNOTAVAIL) => Self::Unreachable,
            Some(
                libc::EAFNOSUPPORT
                | libc::EPROTONOSUPPORT
                | libc::ESOCKTNOSUPPORT
                | libc::ENOPROTOOPT
                | libc::EOPNOTSUPP,
            ) => Self::Unsupported,
            Some(libc::ETIMEDOUT | libc::EAGAIN) => Self::ConnectTimeout,
            Some(libc::ECONNRESET | libc::EPIPE) => Self::Reset,
            None if error.kind() == io::ErrorKind::TimedOut => Self::ConnectTimeout,
            _ => Self::Failed,
        }
    }

    /// What an error of a send or receive on an established connection means there.
    pub fn of_exchange(address: &Address, error: &io::Error) -> Self {
        match error.raw_os_error() {
            Some(libc::EMSGSIZE) => Self::TooLarge,
            Some(libc::ECONNRESET | libc::EPIPE) => Self::Reset,
            // The peer's machine stopped acknowledging.
            Some(libc::ETIMEDOUT) => Self::Stalled,
            None if error.kind() == io::ErrorKind::TimedOut => Self::NoReply,
            _ => Self::of_connect(address, error),
        }
    }
}

impl fmt::Display for Symptom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A symptom, with what was attempted and what came back.
#[derive(Debug)]
pub struct Failure {
    /// What was seen.
    pub symptom: Symptom,
    /// Where it was seen.
    pub address: Address,
    /// What was attempted, and what was seen beyond the system call's error, in words.
    pub message: String,
    /// What the kernel answered, if a system call failed.
    pub source: Option<io::Error>,
}

impl Failure {
    /// A failure at `address` without an error of the kernel.
    pub fn new(symptom: Symptom, address: &Address, message: impl Into<String>) -> Self {
        Self { symptom, address: address.clone(), message: message.into(), source: None }
    }

    /// Adds what the kernel answered.
    #[must_use]
    pub fn because(mut self, source: impl Into<io::Error>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// The likely cause and the next command to run.
    pub fn remedy(&self) -> String {
        super::diagnosis::remedy(self)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        match &self.source {
            Some(source) => write!(f, ": {}", crate::error::Errno(source)),
            None => Ok(()),
        }
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        let remedy = failure.remedy();
        let error = Self::new(failure.symptom.kind(), failure.message).remedy(remedy);
        match failure.source {
            Some(source) => error.because(source),
            None => error,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_distinct() {
        let mut names: Vec<_> = Symptom::ALL.iter().map(|symptom| symptom.name()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Symptom::ALL.len());
    }

    #[test]
    fn errors_of_connect_have_a_symptom() {
        for (address, errno, symptom) in [
            ("tcp:127.0.0.1:1", libc::ECONNREFUSED, Symptom::Refused),
            ("tcp:127.0.0.1:1", libc::ECONNRESET, Symptom::Reset),
            ("vsock:20:1", libc::ECONNRESET, Symptom::Refused),
            ("vsock:20:1", libc::ENODEV, Symptom::NoTransport),
            ("vsock:20:1", libc::ETIMEDOUT, Symptom::ConnectTimeout),
            ("vsock-seqpacket:20:1", libc::ESOCKTNOSUPPORT, Symptom::Unsupported),
            ("sctp:127.0.0.1:1", libc::EPROTONOSUPPORT, Symptom::Unsupported),
            ("unix:/x", libc::ENOENT, Symptom::NoSuchPath),
            ("unix:/x", libc::EACCES, Symptom::PermissionDenied),
            ("unix:/x", libc::EPROTOTYPE, Symptom::WrongType),
            ("unix:/x", libc::EAGAIN, Symptom::ConnectTimeout),
            ("tcp:192.0.2.1:1", libc::ENETUNREACH, Symptom::Unreachable),
            ("tcp:[::1]:1", libc::EADDRNOTAVAIL, Symptom::Unreachable),
            ("tcp:127.0.0.1:1", libc::EMFILE, Symptom::Failed),
        ] {
            let address: Address = address.parse().unwrap();
            let error = io::Error::from_raw_os_error(errno);
            assert_eq!(Symptom::of_connect(&address, &error), symptom, "{address}: {error}");
        }
    }
}
