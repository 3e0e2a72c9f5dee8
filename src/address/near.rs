//! Guesses the address that an invalid text means: other programs write addresses in other forms.
//! The parser checks each guess.

use std::net::Ipv6Addr;

use super::{KINDS, Kind, Transport};

/// What other programs call the schemes, in lower case, without socat's `-CONNECT` and the like and
/// without the 4 or 6 of the IP version.
const OTHER_NAMES: &[(&str, &str)] = &[
    ("http", "tcp"),
    ("https", "tcp"),
    ("udp-lite", "udplite"),
    ("local", "unix"),
    ("unix-stream", "unix"),
    ("unixstream", "unix"),
    ("unixgram", "unix-dgram"),
    ("unix-datagram", "unix-dgram"),
    ("unixpacket", "unix-seqpacket"),
    ("vsock-stream", "vsock"),
    ("vsock-datagram", "vsock-dgram"),
];

/// The suffixes of socat's names, which say what socat does with the socket.
const SOCAT_STREAM: &[&str] = &["-connect", "-listen", "-client"];
const SOCAT_DATAGRAM: &[&str] = &["-sendto", "-recvfrom", "-recv"];

/// The address that `text` may mean. It is not always valid.
pub(super) fn guess(text: &str) -> Option<String> {
    let (scheme, rest) = match text.split_once(':').and_then(|(name, rest)| scheme(name, rest)) {
        Some(found) => found,
        None if text.starts_with(['/', '@', '.']) => return Some(format!("unix:{text}")),
        None => {
            (Scheme { kind: Kind::of_scheme("tcp")?, ip: Ip::Any, port: None }, text.to_owned())
        }
    };
    let rest = rest.strip_prefix("//").unwrap_or(&rest);
    let rest = match scheme.kind.transport {
        Transport::Inet(_) => host_and_port(rest, &scheme)?,
        Transport::Vsock(_) => cid_and_port(rest),
        Transport::Unix(_) | Transport::VsockMux => rest.to_owned(),
    };
    Some(format!("{}:{rest}", scheme.kind.scheme))
}

/// What the name in front of a colon means.
struct Scheme {
    kind: &'static Kind,
    ip: Ip,
    /// The default port.
    port: Option<u16>,
}

/// The IP version at the end of a name, as in `tcp6`.
#[derive(Clone, Copy)]
enum Ip {
    Any,
    V4,
    V6,
}

/// The scheme that `name` stands for, and what follows it in our grammar.
fn scheme(name: &str, rest: &str) -> Option<(Scheme, String)> {
    let name = name.to_ascii_lowercase();
    let strip = |ends: &[&str]| ends.iter().find_map(|end| name.strip_suffix(end));
    let (is_datagram, base) = match (strip(SOCAT_STREAM), strip(SOCAT_DATAGRAM)) {
        (Some(base), _) => (false, base),
        (_, Some(base)) => (true, base),
        _ => (false, name.as_str()),
    };
    // socat writes options after a comma.
    let is_socat = base != name || base == "abstract";
    let rest = if is_socat { rest.split(',').next()? } else { rest };
    let (base, rest) = match base.strip_prefix("abstract") {
        Some(end) => (format!("unix{end}"), format!("@{rest}")),
        None => (base.to_owned(), rest.to_owned()),
    };
    let (base, ip) = match (base.strip_suffix('4'), base.strip_suffix('6')) {
        (Some(base), _) => (base, Ip::V4),
        (_, Some(base)) => (base, Ip::V6),
        _ => (base.as_str(), Ip::Any),
    };
    let base = if base == "unix" && is_datagram { "unix-dgram" } else { base };
    let ours = OTHER_NAMES.iter().find(|(other, _)| *other == base).map_or(base, |(_, ours)| ours);
    let port = match base {
        "http" => Some(80),
        "https" => Some(443),
        _ => None,
    };
    let kind = Kind::of_scheme(ours).or_else(|| misspelt(ours))?;
    Some((Scheme { kind, ip, port }, rest))
}

/// The scheme that `name` misspells: one letter added, missing or wrong, or two swapped.
fn misspelt(name: &str) -> Option<&'static Kind> {
    let is_near = |kind: &&Kind| {
        let (ours, name) = (kind.scheme.as_bytes(), name.as_bytes());
        let same = ours.iter().zip(name).take_while(|(a, b)| a == b).count();
        let (ours, name) = (&ours[same..], &name[same..]);
        match (ours, name) {
            ([a, b, ours @ ..], [c, d, name @ ..]) if (a, b) == (d, c) && ours == name => true,
            ([_, o @ ..], [_, n @ ..]) => o == n || o == name || n == ours,
            ([_], []) | ([], [_]) => true,
            _ => false,
        }
    };
    // A shorter name resembles too many schemes.
    (name.len() > 2).then(|| KINDS.iter().find(is_near)).flatten()
}

/// `HOST:PORT` from the forms of other programs.
fn host_and_port(text: &str, scheme: &Scheme) -> Option<String> {
    let text = text.split('/').next()?;
    let is_port = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let (host, port) = match (text.rsplit_once(':'), scheme.port) {
        // A port alone means this machine. A wildcard address is always written out.
        _ if is_port => (if matches!(scheme.ip, Ip::V6) { "[::1]" } else { "127.0.0.1" }, text),
        (Some((host, port)), _) if !port.ends_with(']') => (host, port),
        (_, Some(port)) => return Some(format!("{text}:{port}")),
        (_, None) => return None,
    };
    let host = match (host, scheme.ip) {
        ("" | "*", Ip::V4) => "0.0.0.0".to_owned(),
        ("" | "*", _) => "[::]".to_owned(),
        (host, _) if host.parse::<Ipv6Addr>().is_ok() => format!("[{host}]"),
        (host, _) => host.to_owned(),
    };
    Some(format!("{host}:{port}"))
}

/// `CID:PORT` from systemd's and socat's forms of any CID.
fn cid_and_port(text: &str) -> String {
    match text.split_once(':') {
        None => format!("any:{text}"),
        Some(("" | "-1" | "*", port)) => format!("any:{port}"),
        Some(_) => text.to_owned(),
    }
}
