//! The table of everything that can go wrong between a client and an echo server.

use std::fmt;
use std::io;

use socket2::SockAddr;

use super::diagnosis as say;
use crate::address::{Address, Host};
use crate::error::{Error, ErrorKind};

/// What went wrong. The name is stable: it is the verdict in a row and in the JSON.
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
    /// No route, no such local address: `ENETUNREACH`, `EHOSTUNREACH`, `EADDRNOTAVAIL`, `EINVAL`.
    Unreachable,
    /// The kernel has no vsock transport that leads to the CID.
    NoTransport,
    /// The kernel does not have the family, type or protocol.
    Unsupported,
    /// The connection was not established in time.
    ConnectTimeout,
    /// The multiplexer closed the connection instead of `OK PORT`.
    MuxRefused,
    /// The multiplexer's answer was not `OK PORT`.
    MuxGarbled,
    /// The message is larger than one packet of the family, or its send buffer, can carry.
    TooLarge,
    /// Nothing came back in time.
    NoReply,
    /// A part came back, and then nothing more in time.
    Stalled,
    /// The peer ended the connection before everything came back.
    Closed,
    /// The peer reset the connection.
    Reset,
    /// The message that came back is shorter, and equal as far as it goes.
    Truncated,
    /// What came back differs from what was sent.
    WrongBytes,
    /// More came back than was sent.
    Surplus,
    /// The server echoes a question that it should answer.
    Echoes,
    /// What came is no answer of `serve --info`.
    NoInfo,
    /// Another error.
    Failed,
}

/// The facts about a symptom: its name, its kind, whether it may end without a change once a server
/// listens, and its remedy.
type Row = (&'static str, ErrorKind, bool, fn(&Address) -> String);

impl Symptom {
    fn row(self) -> Row {
        use ErrorKind::{Connect, NoReply, Other, Usage, WrongReply};
        match self {
            Self::Refused => ("refused", Connect, true, say::refused),
            Self::NoSuchPath => ("no-such-path", Connect, true, say::no_such_path),
            Self::PermissionDenied => ("permission-denied", Connect, false, say::permission_denied),
            Self::WrongType => ("wrong-type", Connect, false, say::wrong_type),
            Self::NotResolved => ("not-resolved", Connect, true, say::not_resolved),
            Self::Unreachable => ("unreachable", Connect, true, say::unreachable),
            Self::NoTransport => ("no-transport", Connect, true, say::no_transport),
            Self::Unsupported => ("unsupported", Connect, false, say::unsupported),
            Self::ConnectTimeout => ("connect-timeout", Connect, true, say::connect_timeout),
            Self::MuxRefused => ("mux-refused", Connect, true, say::mux_refused),
            Self::MuxGarbled => ("mux-garbled", Connect, false, say::mux_garbled),
            Self::TooLarge => ("too-large", Usage, false, say::too_large),
            Self::NoReply => ("no-reply", NoReply, false, say::no_reply),
            Self::Stalled => ("stalled", NoReply, false, say::stalled),
            Self::Closed => ("closed", NoReply, false, say::ended),
            Self::Reset => ("reset", NoReply, false, say::ended),
            Self::Truncated => ("truncated", WrongReply, false, say::truncated),
            Self::WrongBytes => ("wrong-bytes", WrongReply, false, say::no_echo),
            Self::Surplus => ("surplus", WrongReply, false, say::no_echo),
            Self::Echoes => ("echoes", WrongReply, false, say::echoes),
            Self::NoInfo => ("no-info", WrongReply, false, say::no_info),
            Self::Failed => ("failed", Other, false, say::failed),
        }
    }

    /// The printed name.
    pub fn name(self) -> &'static str {
        self.row().0
    }

    /// The kind of error, and so the exit status.
    pub fn kind(self) -> ErrorKind {
        self.row().1
    }

    /// Whether it may end without a change once a server listens.
    pub fn is_nobody_listens(self) -> bool {
        self.row().2
    }

    /// The likely cause at `address` and the next command to run, as a clause that follows the
    /// failure's own text. It asks the kernel who holds the address now, and what listens close to
    /// it.
    pub fn remedy(self, address: &Address) -> String {
        self.row().3(address)
    }

    /// The symptom of an error of connect(2), or of the first send over a datagram socket.
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
            Some(libc::ENETUNREACH | libc::EHOSTUNREACH | libc::ENETDOWN | libc::EADDRNOTAVAIL) => {
                Self::Unreachable
            }
            // A blackhole route, or a link-local address without its interface.
            Some(libc::EINVAL) if matches!(address, Address::Inet(..)) => Self::Unreachable,
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

    /// The symptom of an error of a send or receive on an established connection.
    pub fn of_exchange(address: &Address, error: &io::Error) -> Self {
        match error.raw_os_error() {
            Some(libc::EMSGSIZE) => Self::TooLarge,
            Some(libc::ECONNRESET | libc::EPIPE) => Self::Reset,
            // The machine of the peer stopped acknowledging.
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
    /// What went wrong.
    pub symptom: Symptom,
    /// The address that was asked for.
    pub address: Box<Address>,
    /// For a host name, the address that was tried.
    tried: Option<Box<Address>>,
    /// What was attempted, what happened and what the kernel answered, without the remedy.
    error: Error,
}

impl Failure {
    /// A failure at `address` without an error of the kernel.
    pub fn new(symptom: Symptom, address: &Address, message: impl Into<String>) -> Self {
        let error = Error::new(symptom.kind(), message);
        Self { symptom, address: Box::new(address.clone()), tried: None, error }
    }

    /// For a host name, adds the address that was tried.
    pub(super) fn at(mut self, target: &SockAddr) -> Self {
        if let (Address::Inet(inet, Host::Name(_), _), Some(ip)) =
            (&*self.address, target.as_socket())
        {
            self.tried = Some(Box::new(Address::from_ip(*inet, ip)));
        }
        self
    }

    /// Adds the error of the system call.
    #[must_use]
    pub fn because(mut self, source: impl Into<io::Error>) -> Self {
        self.error = self.error.because(source);
        self
    }

    /// The error of the system call, if one failed.
    pub fn io(&self) -> Option<&io::Error> {
        self.error.io()
    }

    /// The likely cause and the next command to run.
    pub fn remedy(&self) -> String {
        self.symptom.remedy(self.tried.as_ref().unwrap_or(&self.address))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        let remedy = failure.remedy();
        failure.error.remedy(remedy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
            ("unix:/x", libc::EAGAIN, Symptom::ConnectTimeout),
            ("tcp:[::1]:1", libc::EADDRNOTAVAIL, Symptom::Unreachable),
            ("tcp:[fe80::1]:1", libc::EINVAL, Symptom::Unreachable),
            ("unix:/s", libc::EINVAL, Symptom::Failed),
            ("tcp:127.0.0.1:1", libc::EMFILE, Symptom::Failed),
        ] {
            let address: Address = address.parse().unwrap();
            let error = io::Error::from_raw_os_error(errno);
            assert_eq!(Symptom::of_connect(&address, &error), symptom, "{address}: {error}");
        }
    }

    /// Symptoms that tests/it/probe/faults.rs cannot cause, or cannot cause everywhere.
    #[test]
    fn the_next_command_fits_the_address() {
        for (address, symptom, part) in [
            ("unix:/none/s.demo", Symptom::Refused, "systemctl --user start echo@demo.socket"),
            ("unix:@s", Symptom::NoSuchPath, "activate -l unix:@s"),
            ("unix:/s", Symptom::PermissionDenied, "namei -l /s"),
            ("unix:/s", Symptom::WrongType, "unix-dgram:/s or unix-seqpacket:/s"),
            ("tcp:[fe80::1]:1", Symptom::Unreachable, "write [fe80::1%eth0]"),
            ("vsock-mux:/none:1", Symptom::NoSuchPath, "start the virtual machine"),
            ("tcp:192.0.2.1:1", Symptom::Refused, "start the server on that machine"),
            ("udp:192.0.2.1:1", Symptom::NoReply, "UDP does not tell"),
            ("udp:192.0.2.1:1", Symptom::NoReply, "if systemd started it: `journalctl --user"),
            ("vsock:20:1", Symptom::NoReply, "something holds the socket"),
            ("vsock-seqpacket:20:1", Symptom::Refused, "activate -l vsock-seqpacket:any:1`"),
            ("vsock:local:1", Symptom::NoTransport, "modprobe vsock_loopback"),
            ("vsock:20:1", Symptom::NoTransport, "vhost_vsock"),
            ("sctp:127.0.0.1:1", Symptom::Unsupported, "modprobe sctp"),
            ("unix:/none/s.demo", Symptom::NoReply, "journalctl --user -xeu echo@demo.service"),
        ] {
            let parsed: Address = address.parse().unwrap();
            let remedy = symptom.remedy(&parsed);
            assert!(remedy.contains(part), "{address} {symptom}: {remedy}");
        }
    }
}
