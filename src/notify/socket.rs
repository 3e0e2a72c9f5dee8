//! A pure parser of `NOTIFY_SOCKET`, as sd_notify(3) defines it.

use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt;

use super::variable::VariableError;
use crate::address::{Cid, Style, UnixName};

/// The schemes of sd_notify(3) over vsock, with the socket type of each.
const VSOCK_SCHEMES: [(&str, Option<Style>); 4] = [
    ("vsock", None),
    ("vsock-stream", Some(Style::Stream)),
    ("vsock-dgram", Some(Style::Datagram)),
    ("vsock-seqpacket", Some(Style::Seqpacket)),
];

/// Where the service manager listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotifySocket {
    /// `/path` or `@abstract`: a datagram socket of this machine.
    Unix(UnixName),
    /// `vsock:CID:PORT`: the manager is outside of this VM.
    Vsock(VsockTarget),
}

/// The vsock address of a service manager.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VsockTarget {
    /// The machine.
    pub cid: Cid,
    /// The port.
    pub port: u32,
    /// The socket type that `vsock-stream:`, `vsock-dgram:` or `vsock-seqpacket:` asks for; `None`
    /// for the first one that the transport has.
    pub style: Option<Style>,
}

impl NotifySocket {
    /// Parses the value of `NOTIFY_SOCKET`.
    ///
    /// # Errors
    ///
    /// A value that sd_notify(3) does not define.
    pub fn parse(value: &OsStr) -> Result<Self, VariableError> {
        match value.as_bytes() {
            [b'/', ..] => unix_path(value),
            [b'@', name @ ..] => unix_abstract(name),
            _ => vsock(value),
        }
        .map_err(|reason| VariableError {
            variable: "NOTIFY_SOCKET",
            value: value.to_owned(),
            reason,
        })
    }
}

fn unix_path(value: &OsStr) -> Result<NotifySocket, &'static str> {
    if value.len() > UnixName::LEN_MAX {
        return Err("is longer than the 107 bytes that a unix socket's path can have");
    }
    Ok(NotifySocket::Unix(UnixName::Path(value.into())))
}

fn unix_abstract(name: &[u8]) -> Result<NotifySocket, &'static str> {
    match name.len() {
        0 => Err("has no name after the @"),
        1..=UnixName::LEN_MAX => Ok(NotifySocket::Unix(UnixName::Abstract(name.to_vec()))),
        _ => Err("is longer than the 107 bytes that an abstract unix socket's name can have"),
    }
}

fn vsock(value: &OsStr) -> Result<NotifySocket, &'static str> {
    const FORMS: &str = "is not an address: expected /PATH, @NAME, vsock:CID:PORT, \
                         vsock-stream:CID:PORT, vsock-dgram:CID:PORT or vsock-seqpacket:CID:PORT";
    let (scheme, rest) = value.to_str().and_then(|text| text.split_once(':')).ok_or(FORMS)?;
    let &(_, style) = VSOCK_SCHEMES.iter().find(|(name, _)| *name == scheme).ok_or(FORMS)?;
    let (cid, port) = rest.split_once(':').ok_or(FORMS)?;
    let cid = match cid {
        "" | "-1" => Cid::ANY,
        "hypervisor" => Cid(0),
        cid => cid.parse().map_err(|_| {
            "has no valid CID: expected a number, local, host or \
                                        hypervisor"
        })?,
    };
    if cid == Cid::ANY {
        return Err("means any CID: give the receiver's, for example host");
    }
    let port = port.parse().map_err(|_| {
        "has no valid port: expected a number from 0 to \
                                         4294967294"
    })?;
    if port == libc::VMADDR_PORT_ANY {
        return Err("means any port: give the receiver's");
    }
    Ok(NotifySocket::Vsock(VsockTarget { cid, port, style }))
}

impl fmt::Display for NotifySocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(name) => name.fmt(f),
            Self::Vsock(VsockTarget { cid, port, style }) => {
                let scheme = VSOCK_SCHEMES.iter().find(|(_, asked)| asked == style);
                let scheme = scheme.map_or("vsock", |(scheme, _)| scheme);
                write!(f, "{scheme}:{cid}:{port}")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(value: &str) -> Result<NotifySocket, String> {
        NotifySocket::parse(OsStr::new(value)).map_err(|error| error.to_string())
    }

    #[test]
    fn every_form() {
        let vsock = |cid, style| NotifySocket::Vsock(VsockTarget { cid, port: 9, style });
        for (value, socket) in [
            ("/run/n", NotifySocket::Unix(UnixName::Path("/run/n".into()))),
            ("/a b:c%d", NotifySocket::Unix(UnixName::Path("/a b:c%d".into()))),
            ("@n", NotifySocket::Unix(UnixName::Abstract(b"n".to_vec()))),
            ("@/a@b", NotifySocket::Unix(UnixName::Abstract(b"/a@b".to_vec()))),
            ("vsock:2:9", vsock(Cid::HOST, None)),
            ("vsock:host:9", vsock(Cid::HOST, None)),
            ("vsock:local:9", vsock(Cid::LOCAL, None)),
            ("vsock:hypervisor:9", vsock(Cid(0), None)),
            ("vsock:77:9", vsock(Cid(77), None)),
            ("vsock-stream:2:9", vsock(Cid::HOST, Some(Style::Stream))),
            ("vsock-dgram:2:9", vsock(Cid::HOST, Some(Style::Datagram))),
            ("vsock-seqpacket:2:9", vsock(Cid::HOST, Some(Style::Seqpacket))),
        ] {
            assert_eq!(parse(value).as_ref(), Ok(&socket), "{value}");
        }
    }

    #[test]
    fn what_is_not_an_address_says_why() {
        let long = "x".repeat(UnixName::LEN_MAX);
        for (value, reason) in [
            ("".to_owned(), "is not an address"),
            ("run/n".to_owned(), "is not an address"),
            ("tcp:127.0.0.1:1".to_owned(), "is not an address"),
            ("vsock".to_owned(), "is not an address"),
            ("vsock:2".to_owned(), "is not an address"),
            ("@".to_owned(), "no name after the @"),
            (format!("/{long}"), "107 bytes"),
            (format!("@{long}x"), "107 bytes"),
            ("vsock::9".to_owned(), "any CID"),
            ("vsock:any:9".to_owned(), "any CID"),
            ("vsock:-1:9".to_owned(), "any CID"),
            ("vsock:4294967295:9".to_owned(), "any CID"),
            ("vsock:x:9".to_owned(), "no valid CID"),
            ("vsock:2:".to_owned(), "no valid port"),
            ("vsock:2:x".to_owned(), "no valid port"),
            ("vsock:2:4294967295".to_owned(), "any port"),
            ("vsock:2:4294967296".to_owned(), "no valid port"),
        ] {
            let error = parse(&value).expect_err(&value);
            assert!(error.starts_with(&format!("NOTIFY_SOCKET={value} ")), "{error}");
            assert!(error.contains(reason), "{value}: {error}");
        }
        assert!(parse(&format!("@{long}")).is_ok(), "the longest abstract name");
        assert!(parse(&format!("/{}", &long[1..])).is_ok(), "the longest path");
    }

    proptest! {
        #[test]
        fn no_value_panics_and_what_is_taken_round_trips(
            scheme in "(/|@|vsock(-stream|-dgram|-seqpacket)?:)?",
            rest in "[0-9]{1,10}:[0-9]{1,10}|[ -~]{0,24}",
        ) {
            if let Ok(socket @ NotifySocket::Vsock(_)) = parse(&(scheme + &rest)) {
                prop_assert_eq!(parse(&socket.to_string()), Ok(socket));
            }
        }
    }
}
