//! From text to an [`Address`], and the escapes that make every unix socket name printable.

use std::fmt;
use std::os::unix::ffi::OsStringExt;
use std::str::FromStr;

use super::{Address, Cid, Host, Inet, KINDS, Kind, Style, Transport, UnixName};
use crate::text::{self, Escaped};

/// Why a text is not an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParseAddressError(String);

impl fmt::Display for ParseAddressError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Escaped::new(&self.0).fmt(f)
    }
}

impl std::error::Error for ParseAddressError {}

fn fail<T>(message: impl Into<String>) -> Result<T, ParseAddressError> {
    Err(ParseAddressError(message.into()))
}

impl FromStr for Address {
    type Err = ParseAddressError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let Some((scheme, rest)) = text.split_once(':') else {
            return fail(no_scheme(text));
        };
        let Some(kind) = Kind::of_scheme(scheme) else {
            return fail(unknown_scheme(scheme, text));
        };
        match kind.transport {
            Transport::Inet(protocol) => inet(protocol, rest),
            Transport::Unix(style) => Ok(Self::Unix(style, unix_name(rest)?)),
            Transport::Vsock(style) => vsock(style, rest),
            Transport::VsockMux => {
                let (path, port) = split_port(rest)?;
                Ok(Self::VsockMux(unix_name(path)?, vsock_port(port)?))
            }
        }
    }
}

fn no_scheme(text: &str) -> String {
    if text.starts_with(['/', '@', '.']) {
        format!(
            "`{text}` has no scheme: write unix:{text}, unix-dgram:{text} or unix-seqpacket:{text}"
        )
    } else if text.bytes().all(|byte| byte.is_ascii_digit()) && !text.is_empty() {
        format!(
            "`{text}` has no scheme: write tcp:[::]:{text} for every address, or tcp:127.0.0.1:{text}"
        )
    } else {
        format!("`{text}` has no scheme: write one of {}", schemes())
    }
}

fn unknown_scheme(scheme: &str, text: &str) -> String {
    if scheme.contains('.') || text.starts_with('[') || scheme == "localhost" {
        return format!("`{text}` has no scheme: write tcp:{text} or udp:{text}");
    }
    format!("`{scheme}` is not a scheme: write one of {}", schemes())
}

fn schemes() -> String {
    let forms: Vec<_> = KINDS.iter().map(|kind| format!("{}:{}", kind.scheme, kind.form)).collect();
    forms.join(", ")
}

fn inet(inet: Inet, rest: &str) -> Result<Address, ParseAddressError> {
    let (host, port) = split_port(rest)?;
    let port = port
        .parse()
        .or_else(|_| fail(format!("`{port}` is not a port: it is a number from 0 to 65535")))?;
    Ok(Address::Inet(inet, parse_host(host)?, port))
}

fn split_port(rest: &str) -> Result<(&str, &str), ParseAddressError> {
    rest.rsplit_once(':').map_or_else(
        || fail(format!("`{rest}` has no port: a colon and a number belong at the end")),
        Ok,
    )
}

fn parse_host(text: &str) -> Result<Host, ParseAddressError> {
    if let Some(inner) = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')) {
        let (ip, scope) = match inner.split_once('%') {
            Some((_, "")) => return fail(format!("`{text}` ends its scope after the %")),
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
        return fail(format!(
            "`{text}` is not a host: an IPv6 address is written in brackets, [::1]"
        ));
    }
    if let Ok(ip) = text.parse() {
        return Ok(Host::V4(ip));
    }
    // Four numbers that are not an IPv4 address would otherwise be looked up as a name.
    if text.is_empty() || text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
        return fail(format!(
            "`{text}` is not a host: write a name, an IPv4 address or [an IPv6 address]"
        ));
    }
    if text.contains(is_in_no_name) {
        return fail(format!("`{text}` is not a host name"));
    }
    Ok(Host::Name(text.to_owned()))
}

/// What no name of a host or an interface has: the grammar has no escape for it there.
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
        return fail(format!(
            "`{text}` has {} bytes: the name of a unix socket has at most {}",
            name.len(),
            UnixName::LEN_MAX
        ));
    }
    if is_abstract {
        return Ok(UnixName::Abstract(name));
    }
    if name.contains(&0) {
        return fail(format!("`{text}` has a NUL byte: only an @name may have one"));
    }
    Ok(UnixName::Path(std::ffi::OsString::from_vec(name).into()))
}

fn vsock(style: Style, rest: &str) -> Result<Address, ParseAddressError> {
    let (cid, port) = split_port(rest)?;
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
                fail(format!("`{number}` is not a CID: a number, any, local or host"))
            }),
        }
    }
}

fn vsock_port(text: &str) -> Result<u32, ParseAddressError> {
    text.parse()
        .or_else(|_| fail(format!("`{text}` is not a vsock port: a number below 4294967296")))
}

/// Writes `name` so that [`unescape`] returns it and no byte of it can confuse a terminal: as
/// [`Escaped`] does, and a backslash escaped too.
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
            None => return fail(format!("`{text}` has a backslash that is not \\xNN")),
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

    // Those that `any_address` makes by chance, or hardly ever.
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
            ("3000", "tcp:[::]:3000"),
            ("/tmp/s", "unix:/tmp/s"),
            ("127.0.0.1:3000", "tcp:127.0.0.1:3000"),
            ("localhost:3000", "tcp:localhost:3000"),
            ("[::1]:3000", "tcp:[::1]:3000"),
            ("http:x", "`http` is not a scheme"),
            ("tcp:127.0.0.1", "no port"),
            ("tcp:127.0.0.1:", "is not a port"),
            ("tcp:127.0.0.1:65536", "0 to 65535"),
            ("tcp:127.0.0.256:1", "is not a host"),
            ("tcp:::1:3000", "brackets"),
            ("tcp:[::1:3000", "brackets"),
            ("tcp:[::g]:3000", "not an IPv6 address"),
            ("tcp:[fe80::1%]:1", "scope"),
            ("tcp::3000", "is not a host"),
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
            ("vsock:3000", "has no port"),
            ("vsock:here:3000", "is not a CID"),
            ("vsock:any:x", "vsock port"),
            ("vsock-mux:/tmp/v.sock", "no port"),
        ] {
            let error = text.parse::<Address>().expect_err(text).to_string();
            assert!(error.contains(part), "{text}: {error}");
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
            if let Ok(address) = text.parse::<Address>() {
                prop_assert_eq!(address.to_string().parse::<Address>(), Ok(address));
            }
        }
    }
}
