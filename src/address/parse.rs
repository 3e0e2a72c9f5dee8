//! From text to an [`Address`], and the escapes that make every unix socket name printable.

use std::fmt;
use std::os::unix::ffi::OsStringExt;
use std::str::FromStr;

use super::{Address, Cid, Host, Inet, KINDS, Kind, Style, Transport, UnixName, near};
use crate::text::{self, Escaped};

/// Why a text is not an address, and what to write instead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParseAddressError {
    what: String,
    rule: Option<String>,
    meant: Option<Box<Address>>,
}

impl ParseAddressError {
    /// The address that was probably meant.
    pub fn meant(&self) -> Option<&Address> {
        self.meant.as_deref()
    }
}

impl fmt::Display for ParseAddressError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Escaped::new(&self.what).fmt(f)?;
        match (&self.meant, &self.rule) {
            (Some(meant), _) => write!(f, ": write {meant}"),
            (None, Some(rule)) => write!(f, ": {}", Escaped::new(rule)),
            (None, None) => Ok(()),
        }
    }
}

impl std::error::Error for ParseAddressError {}

/// An error with what is wrong.
fn fail<T>(what: impl Into<String>) -> Result<T, ParseAddressError> {
    Err(ParseAddressError { what: what.into(), rule: None, meant: None })
}

/// An error with what is wrong and what the grammar requires.
fn fail_by<T>(rule: impl Into<String>, what: impl Into<String>) -> Result<T, ParseAddressError> {
    Err(ParseAddressError { what: what.into(), rule: Some(rule.into()), meant: None })
}

impl FromStr for Address {
    type Err = ParseAddressError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse(text).map_err(|error| {
            let meant = near::guess(text).and_then(|guess| parse(&guess).ok());
            ParseAddressError { meant: meant.map(Box::new), ..error }
        })
    }
}

fn parse(text: &str) -> Result<Address, ParseAddressError> {
    let kind = text.split_once(':').map(|(scheme, rest)| (scheme, rest, Kind::of_scheme(scheme)));
    match kind {
        Some((_, rest, Some(kind))) => match kind.transport {
            Transport::Inet(protocol) => inet(protocol, rest),
            Transport::Unix(style) => Ok(Address::Unix(style, unix_name(rest)?)),
            Transport::Vsock(style) => vsock(style, rest),
            Transport::VsockMux => {
                let (path, port) = split_port(rest, "path")?;
                Ok(Address::VsockMux(unix_name(path)?, vsock_port(port)?))
            }
        },
        // A scheme has none of these characters.
        Some((scheme, ..))
            if !scheme.is_empty()
                && !scheme.contains(['.', '/', '@', '[', '*'])
                && scheme != "localhost" =>
        {
            fail_by(schemes(), format!("`{scheme}` is not a scheme"))
        }
        _ => fail_by(schemes(), format!("`{text}` has no scheme")),
    }
}

fn schemes() -> String {
    let forms: Vec<_> = KINDS.iter().map(|kind| format!("{}:{}", kind.scheme, kind.form)).collect();
    format!("write one of {}", forms.join(", "))
}

fn inet(inet: Inet, rest: &str) -> Result<Address, ParseAddressError> {
    let (host, port) = split_port(rest, "host")?;
    let port = port.parse().or_else(|_| {
        fail_by("a port is a number from 0 to 65535", format!("`{port}` is not a port"))
    })?;
    Ok(Address::Inet(inet, parse_host(host)?, port))
}

/// Splits off the port at the end. Messages call the part before it `first`.
fn split_port<'a>(rest: &'a str, first: &str) -> Result<(&'a str, &'a str), ParseAddressError> {
    let form = format!("a {first}, a colon and a number are expected");
    match rest.rsplit_once(':') {
        Some(("", _)) => fail_by(form, format!("`{rest}` has no {first}")),
        Some(parts) => Ok(parts),
        None if !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_digit()) => {
            fail_by(form, format!("`{rest}` has no {first}"))
        }
        None => fail_by(form, format!("`{rest}` has no port")),
    }
}

fn parse_host(text: &str) -> Result<Host, ParseAddressError> {
    if let Some(inner) = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')) {
        let (ip, scope) = match inner.split_once('%') {
            Some((_, "")) => return fail(format!("`{text}` has no interface after the %")),
            Some((_, scope)) if scope.contains(is_in_no_name) => {
                return fail(format!("`{scope}` is not the name of an interface"));
            }
            Some((ip, scope)) => (ip, Some(scope.to_owned())),
            None => (inner, None),
        };
        return match ip.parse() {
            Ok(ip) => Ok(Host::V6(ip, scope)),
            Err(_) => fail(format!("`{ip}` is not an IPv6 address")),
        };
    }
    if text.contains([':', '[', ']']) {
        let rule = "an IPv6 address is written in brackets, [::1]";
        return fail_by(rule, format!("`{text}` is not a host"));
    }
    if let Ok(ip) = text.parse() {
        return Ok(Host::V4(ip));
    }
    // Without this, the resolver would look up an invalid IPv4 address, or the `*` of other
    // programs, as a name.
    if text == "*" || text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
        let rule = "write a name, an IPv4 address or [an IPv6 address]";
        return fail_by(rule, format!("`{text}` is not a host"));
    }
    if text.contains(is_in_no_name) {
        return fail(format!("`{text}` is not a host name"));
    }
    Ok(Host::Name(text.to_owned()))
}

/// Characters that host and interface names cannot have. The grammar cannot escape them there.
fn is_in_no_name(char: char) -> bool {
    char == ' ' || char == '/' || text::is_obeyed(char)
}

fn unix_name(text: &str) -> Result<UnixName, ParseAddressError> {
    let (is_abstract, escaped) = match text.strip_prefix('@') {
        Some(name) => (true, name),
        None => (false, text),
    };
    let name = unescape(escaped)?;
    if name.is_empty() {
        return fail("a unix socket needs a path or an @name");
    }
    if name.len() > UnixName::LEN_MAX {
        let rule = format!("the name of a unix socket has at most {} bytes", UnixName::LEN_MAX);
        return fail_by(rule, format!("`{text}` has {} bytes", name.len()));
    }
    if is_abstract {
        return Ok(UnixName::Abstract(name));
    }
    if name.contains(&0) {
        return fail_by("only an @name may have one", format!("`{text}` has a NUL byte"));
    }
    Ok(UnixName::Path(std::ffi::OsString::from_vec(name).into()))
}

fn vsock(style: Style, rest: &str) -> Result<Address, ParseAddressError> {
    let (cid, port) = split_port(rest, "CID")?;
    Ok(Address::Vsock(style, cid.parse()?, vsock_port(port)?))
}

impl FromStr for Cid {
    type Err = ParseAddressError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "any" => Ok(Self::ANY),
            "local" => Ok(Self::LOCAL),
            "host" => Ok(Self::HOST),
            number => number.parse().map(Self).or_else(|_| {
                fail_by("a CID is a number, any, local or host", format!("`{number}` is not a CID"))
            }),
        }
    }
}

fn vsock_port(text: &str) -> Result<u32, ParseAddressError> {
    let rule = "a vsock port is a number below 4294967296";
    text.parse().or_else(|_| fail_by(rule, format!("`{text}` is not a vsock port")))
}

/// Writes `name` as [`Escaped`] does, and escapes a backslash too, so that [`unescape`] returns
/// `name`.
pub(super) fn escape(name: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    text::escape(name, |char| char == '\\' || text::is_obeyed(char), f)
}

fn unescape(text: &str) -> Result<Vec<u8>, ParseAddressError> {
    let mut name = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('\\') {
        name.extend_from_slice(before.as_bytes());
        let digits = after
            .strip_prefix('x')
            .and_then(|hex| hex.get(..2))
            .filter(|hex| hex.bytes().all(|byte| byte.is_ascii_hexdigit()));
        match digits.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => name.push(byte),
            None => return fail(format!("`{text}` has a backslash that is not part of \\xNN")),
        }
        rest = &after[3..];
    }
    name.extend_from_slice(rest.as_bytes());
    Ok(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    // `any_address` makes these rarely.
    #[test]
    fn what_people_write_round_trips() {
        for text in [
            "tcp:127.0.0.1:3000",
            "tcp:[fe80::1%eth0]:3000",
            "tcp:localhost:0",
            "udp:[::ffff:127.0.0.1]:65535",
            "unix:/with:colon and space",
            "unix:relative",
            "unix:@a\\x00b\\x5c",
            "unix:/naïve 名",
            "unix:/\\x1b[31m\\x0a\\xc2\\x9b\\xe2\\x80\\xae\\xff",
            "vsock:any:3000",
            "vsock:local:3000",
            "vsock:host:4294967295",
            "vsock-mux:/tmp/v.sock:3000",
        ] {
            let address: Address = text.parse().unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(address.to_string(), text);
        }
    }

    #[test]
    fn errors_say_what_to_write() {
        let long = format!("unix:/{}", "x".repeat(107));
        for (text, part) in [
            ("", "has no scheme"),
            ("nothing", "has no scheme: write one of tcp:HOST:PORT, "),
            ("x y:z:3000", "`x y` is not a scheme: write one of "),
            ("http:x", "`http` is not a scheme: write tcp:x:80"),
            ("tcp:3000", "`3000` has no host: write tcp:127.0.0.1:3000"),
            ("tcp:", "`` has no port: a host, a colon and a number are expected"),
            ("tcp:host", "`host` has no port: a host, a colon and a number are expected"),
            ("tcp:127.0.0.1", "no port"),
            ("tcp:127.0.0.1:", "is not a port"),
            ("tcp:127.0.0.1:65536", "0 to 65535"),
            ("tcp:127.0.0.256:1", "is not a host"),
            ("tcp:::1:3000", "`::1` is not a host: write tcp:[::1]:3000"),
            ("tcp:::g:3000", "brackets"),
            ("tcp:[::1:3000", "brackets"),
            ("tcp:[::g]:3000", "not an IPv6 address"),
            ("tcp:[fe80::1%]:1", "no interface"),
            ("tcp::3000", "`:3000` has no host: write tcp:[::]:3000"),
            ("tcp:a b:3000", "not a host name"),
            ("tcp:a\u{1b}c:3000", "`a\\x1bc` is not a host name"),
            ("tcp:a\u{202e}c:3000", "`a\\xe2\\x80\\xaec` is not a host name"),
            ("tcp:[fe80::1%a\u{1b}]:3000", "not the name of an interface"),
            ("tcp:[fe80::1%../lo]:3000", "not the name of an interface"),
            ("\u{1b}c", "`\\x1bc` has no scheme"),
            ("unix:", "needs a path"),
            ("unix:@", "needs a path"),
            ("unix:/a\\n", "backslash"),
            ("unix:/a\\xé", "backslash"),
            ("unix:/a\\x+1", "backslash"),
            ("unix:/a\\x00", "NUL byte"),
            (&long, "at most 107"),
            ("vsock:3000", "`3000` has no CID: write vsock:any:3000"),
            ("vsock-mux:3000", "`3000` has no path"),
            ("vsock:here:3000", "is not a CID"),
            ("vsock:any:x", "vsock port"),
            ("vsock-mux:/tmp/v.sock", "no port"),
        ] {
            let error = text.parse::<Address>().expect_err(text).to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    /// Addresses in the form of other programs, and the address that each means.
    const NEAR: &[(&str, &str)] = &[
        ("80", "tcp:127.0.0.1:80"),
        (":80", "tcp:[::]:80"),
        ("*:4000", "tcp:[::]:4000"),
        ("0.0.0.0:80", "tcp:0.0.0.0:80"),
        ("127.0.0.1:80", "tcp:127.0.0.1:80"),
        ("localhost:80", "tcp:localhost:80"),
        ("echo-server:80", "tcp:echo-server:80"),
        ("[::1]:80", "tcp:[::1]:80"),
        ("::1:80", "tcp:[::1]:80"),
        ("[fe80::1%eth0]:80", "tcp:[fe80::1%eth0]:80"),
        ("tcp:4000", "tcp:127.0.0.1:4000"),
        ("udp:4000", "udp:127.0.0.1:4000"),
        ("tcp::4000", "tcp:[::]:4000"),
        ("tcp:*:4000", "tcp:[::]:4000"),
        ("tcp:::1:4000", "tcp:[::1]:4000"),
        ("tcp::::4000", "tcp:[::]:4000"),
        ("tcp://host:80/", "tcp:host:80"),
        ("tcp://[::1]:80", "tcp:[::1]:80"),
        ("http://localhost:3000/", "tcp:localhost:3000"),
        ("http://localhost/a:b/c", "tcp:localhost:80"),
        ("https://[::1]/", "tcp:[::1]:443"),
        ("HTTP://host", "tcp:host:80"),
        // socat
        ("tcp4:127.0.0.1:80", "tcp:127.0.0.1:80"),
        ("tcp6:[::1]:80", "tcp:[::1]:80"),
        ("udp4:127.0.0.1:80", "udp:127.0.0.1:80"),
        ("udp6:[::1]:80", "udp:[::1]:80"),
        ("tcp4:80", "tcp:127.0.0.1:80"),
        ("tcp6:80", "tcp:[::1]:80"),
        ("TCP:host:80", "tcp:host:80"),
        ("TCP4:host:80", "tcp:host:80"),
        ("TCP4-LISTEN:80,fork,reuseaddr", "tcp:127.0.0.1:80"),
        ("TCP-CONNECT:host:80", "tcp:host:80"),
        ("UDP4-SENDTO:host:80", "udp:host:80"),
        ("SCTP-CONNECT:host:80", "sctp:host:80"),
        ("UDP-LITE:host:80", "udplite:host:80"),
        ("UNIX-CONNECT:/p", "unix:/p"),
        ("UNIX-LISTEN:/p,fork", "unix:/p"),
        ("UNIX:/p", "unix:/p"),
        ("UNIX-SENDTO:/p", "unix-dgram:/p"),
        ("UNIX-RECVFROM:/p", "unix-dgram:/p"),
        ("ABSTRACT-CONNECT:n", "unix:@n"),
        ("abstract:n", "unix:@n"),
        ("ABSTRACT-SENDTO:n", "unix-dgram:@n"),
        ("VSOCK-CONNECT:1:3000", "vsock:local:3000"),
        ("VSOCK-CONNECT:20:3000", "vsock:20:3000"),
        ("VSOCK-LISTEN:3000", "vsock:any:3000"),
        // systemd
        ("vsock::4000", "vsock:any:4000"),
        ("vsock:4000", "vsock:any:4000"),
        ("vsock:-1:4000", "vsock:any:4000"),
        ("vsock:*:4000", "vsock:any:4000"),
        ("vsock-stream:2:4000", "vsock:host:4000"),
        ("/tmp/s", "unix:/tmp/s"),
        ("/tmp/a:b", "unix:/tmp/a:b"),
        ("./s", "unix:./s"),
        ("@name", "unix:@name"),
        // Go and others
        ("unixgram:/p", "unix-dgram:/p"),
        ("unix-datagram:/p", "unix-dgram:/p"),
        ("unix-stream:/p", "unix:/p"),
        ("unixpacket:/p", "unix-seqpacket:/p"),
        ("UNIX://p", "unix:p"),
        ("unixgram:///p", "unix-dgram:/p"),
        // Misspellings
        ("tpc:127.0.0.1:80", "tcp:127.0.0.1:80"),
        ("tcpp:127.0.0.1:80", "tcp:127.0.0.1:80"),
        ("unx:/p", "unix:/p"),
        ("unix-dgran:/p", "unix-dgram:/p"),
        ("vsok:any:80", "vsock:any:80"),
        // Characters that control a terminal stay escaped.
        ("/\u{1b}[31m", "unix:/\\x1b[31m"),
        ("UNIX:/\u{202e}", "unix:/\\xe2\\x80\\xae"),
    ];

    #[test]
    fn what_other_programs_take_is_told_as_one_address() {
        for &(typed, meant) in NEAR {
            let error = typed.parse::<Address>().expect_err(typed);
            let expected: Address = meant.parse().unwrap_or_else(|e| panic!("{meant}: {e}"));
            assert_eq!(error.meant(), Some(&expected), "{typed}: {error}");
            assert!(error.to_string().ends_with(&format!(": write {meant}")), "{typed}: {error}");
        }
        for typed in
            ["", "probe", "a:b:c:80", "x:/y", "tcp:host", "unix:", "80808", "vsock:-2:1", "http:"]
        {
            let error = typed.parse::<Address>().expect_err(typed);
            assert_eq!(error.meant(), None, "{typed}: {error}");
        }
        // These are addresses already.
        for text in ["vsock:4294967295:4000", "unix:///tmp/s"] {
            text.parse::<Address>().unwrap_or_else(|error| panic!("{text}: {error}"));
        }
    }

    fn any_host() -> impl Strategy<Value = Host> {
        prop_oneof![
            "[a-z][a-z0-9.-]{0,20}".prop_map(Host::Name),
            any::<[u8; 4]>().prop_map(|ip| Host::V4(ip.into())),
            (any::<[u8; 16]>(), proptest::option::of("[a-z0-9]{1,8}"))
                .prop_map(|(ip, scope)| Host::V6(ip.into(), scope)),
        ]
    }

    fn any_name() -> impl Strategy<Value = UnixName> {
        prop_oneof![
            proptest::collection::vec(1u8.., 1..100)
                .prop_map(|name| UnixName::Path(std::ffi::OsString::from_vec(name).into())),
            Just(UnixName::Path("@path".into())),
            proptest::collection::vec(any::<u8>(), 1..100).prop_map(UnixName::Abstract),
        ]
    }

    fn any_address() -> impl Strategy<Value = Address> {
        let kind = proptest::sample::select(&KINDS[..]);
        let parts = (kind, any_host(), any_name(), any::<u32>(), any::<u32>());
        parts.prop_map(|(kind, host, name, cid, port)| match kind.transport {
            Transport::Inet(inet) => Address::Inet(inet, host, port as u16),
            Transport::Unix(style) => Address::Unix(style, name),
            Transport::Vsock(style) => Address::Vsock(style, Cid(cid), port),
            Transport::VsockMux => Address::VsockMux(name, port),
        })
    }

    proptest! {
        #[test]
        fn display_then_parse_is_identity(address in any_address()) {
            prop_assert_eq!(address.to_string().parse::<Address>(), Ok(address));
        }

        #[test]
        fn parse_never_panics_and_what_it_takes_round_trips(text in "\\PC{0,40}") {
            let address = match text.parse::<Address>() {
                Ok(address) => Some(address),
                Err(error) => error.meant().cloned(),
            };
            if let Some(address) = address {
                prop_assert_eq!(address.to_string().parse::<Address>(), Ok(address));
            }
        }
    }
}
