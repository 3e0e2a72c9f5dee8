//! What is printed at the start: where the sockets are, and how to talk to them. It goes to standard
//! error, because standard output is the command's.

use std::os::unix::ffi::OsStrExt;

use crate::activation::LISTEN_FDS_START;
use crate::activator::Bound;
use crate::address::{Address, Host, Style, UnixName};
use crate::cli::ActivateArgs;
use crate::text;

/// Prints where `sockets` are, and how to probe those of `to_probe`: the demo set needs no names.
pub(super) fn announce(sockets: &[Bound], to_probe: &[Bound], args: &ActivateArgs) {
    for (socket, number) in sockets.iter().zip(LISTEN_FDS_START..) {
        let place = match (args.accept, args.inetd) {
            (true, _) => "each connection of".to_owned(),
            (false, true) => "standard input".to_owned(),
            (false, false) => format!("fd {number} ({})", socket.name()),
        };
        log::info!("listening: {place} {socket}");
        let address = socket.address().map(Address::to_client);
        if let Some(command) = address.and_then(|address| socat(&address)) {
            log::info!("  try: echo hello | {command}");
        }
    }
    log::info!("  try: {} probe{}", this_program(), probe_arguments(to_probe));
    let what = match (args.accept, args.now) {
        (true, _) => "waiting for connections",
        (false, true) => "running the command at once",
        (false, false) => "waiting for the first connection or datagram",
    };
    log::info!("{what}");
}

fn this_program() -> String {
    let name = std::env::args_os().next();
    name.map_or_else(|| "socket-activate-echo".to_owned(), |name| quote(&name.to_string_lossy()))
}

fn probe_arguments(sockets: &[Bound]) -> String {
    let addresses = sockets.iter().filter_map(Bound::address);
    addresses.map(|address| format!(" {}", quote(&address.to_client().to_string()))).collect()
}

/// The socat command that talks to the address; `None` where socat has no such socket.
fn socat(address: &Address) -> Option<String> {
    let target = match address {
        Address::Inet(_, host, port) => {
            let family = if matches!(host, Host::V6(..)) { "6" } else { "4" };
            format!("{}{family}:{host}:{port}", address.kind().socat?)
        }
        Address::Unix(style, name) => socat_unix(*style, name)?,
        Address::Vsock(Style::Stream, cid, port) => format!("vsock-connect:{}:{port}", cid.0),
        Address::Vsock(..) | Address::VsockMux(..) => return None,
    };
    Some(format!("socat - {}", quote(&target)))
}

fn socat_unix(style: Style, name: &UnixName) -> Option<String> {
    let (r#abstract, name) = match name {
        UnixName::Path(path) => (false, path.as_os_str().as_bytes()),
        UnixName::Abstract(name) => (true, name.as_slice()),
    };
    let name = std::str::from_utf8(name).ok()?;
    // These end an address of socat, or need its own quoting; or they are not shown as they are.
    if name.contains([':', ',', '!', '"', '\'', '\\']) || name.contains(text::is_obeyed) {
        return None;
    }
    let kind = if r#abstract { "abstract" } else { "unix" };
    Some(match style {
        Style::Stream => format!("{kind}-connect:{name}"),
        // Type 5 is SOCK_SEQPACKET.
        Style::Seqpacket => format!("{kind}-connect:{name},type=5"),
        // The reply goes to the sender's address, so that it needs one.
        Style::Datagram => format!("{kind}-sendto:{name},bind={name}.client"),
    })
}

/// The text as one word of a shell. Brackets are quoted too: some shells look for files there.
fn quote(text: &str) -> String {
    let plain = |char: char| char.is_ascii_alphanumeric() || "_-./:,@%+=".contains(char);
    if !text.is_empty() && text.chars().all(plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn socat_has_an_address_for_most() {
        for (address, command) in [
            ("tcp:127.0.0.1:3000", Some("socat - tcp4:127.0.0.1:3000")),
            ("mptcp:[::1]:3000", Some("socat - 'tcp6:[::1]:3000'")),
            ("udp:[::1]:3000", Some("socat - 'udp6:[::1]:3000'")),
            ("sctp:127.0.0.1:3000", Some("socat - sctp4:127.0.0.1:3000")),
            ("unix:/run/a b", Some("socat - 'unix-connect:/run/a b'")),
            ("unix:@a", Some("socat - abstract-connect:a")),
            ("unix-seqpacket:/s", Some("socat - unix-connect:/s,type=5")),
            ("unix-dgram:/s", Some("socat - unix-sendto:/s,bind=/s.client")),
            ("vsock:local:3000", Some("socat - vsock-connect:1:3000")),
            ("unix:/with:colon", None),
            ("unix:/with\\x1b", None),
            ("unix:@with\\x00", None),
            ("vsock-seqpacket:local:3000", None),
            ("udplite:127.0.0.1:3000", None),
        ] {
            let parsed = address.parse().expect("parses");
            assert_eq!(socat(&parsed).as_deref(), command, "{address}");
        }
    }

    #[test]
    fn quoted_for_a_shell() {
        assert_eq!(quote("it's"), r"'it'\''s'");
        assert_eq!(quote(""), "''");
    }
}
