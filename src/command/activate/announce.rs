//! Prints at the start where the sockets are, and how to connect to them. It goes to standard
//! error, because standard output belongs to the command.

use std::os::unix::ffi::OsStrExt;

use super::reach::Reach;
use crate::activation::LISTEN_FDS_START;
use crate::activator::{Bound, Target};
use crate::address::{Address, Host, Style, UnixName};
use crate::cli::ActivateArgs;
use crate::text::{self, quote};

/// Prints where `sockets` are, and how to connect to each from this machine. It omits commands that
/// cannot work here.
pub(super) fn announce(sockets: &[Bound], is_demo_set: bool, args: &ActivateArgs) {
    let has_socat = Target::find(&["socat"], Vec::new()).is_ok();
    let mut to_probe = String::new();
    for (number, socket) in sockets.iter().enumerate() {
        let place = match (args.accept, args.inetd) {
            (true, _) => "each connection to".to_owned(),
            (false, true) => "standard input".to_owned(),
            (false, false) => fd(number, socket),
        };
        log::info!("listening: {place} {socket}");
        match Reach::of(socket) {
            Reach::At(address) => {
                if let Some(command) = socat(&address).filter(|_| has_socat) {
                    log::info!("  try: echo hello | {command}");
                }
                to_probe += &format!(" {}", quote(address.to_string()));
            }
            Reach::NeedsVsockLoopback => log::info!(
                "  clients on this machine need the vsock loopback transport: `modprobe \
                 vsock_loopback`"
            ),
            Reach::Nobody => {}
        }
    }
    if !to_probe.is_empty() {
        // Without addresses, `probe` tests the demo set.
        let addresses = if is_demo_set { "" } else { &to_probe };
        log::info!("  try: {} probe{addresses}", this_program());
    }
    match (args.accept, args.now) {
        (true, _) => log::info!("waiting for connections"),
        (false, true) => {}
        (false, false) if args.restart => {
            log::info!("waiting for connections and datagrams; the sockets are held here");
        }
        (false, false) => log::info!("waiting for the first connection or datagram"),
    }
}

/// Logs that the command runs now, and why: `traffic` is the index of the socket with traffic.
pub(super) fn running(
    target: &Target,
    sockets: &[Bound],
    traffic: Option<usize>,
    args: &ActivateArgs,
) {
    let command = command_line(target);
    match traffic.and_then(|number| Some((number, sockets.get(number)?))) {
        None => log::info!("running {command} at once"),
        Some((_, socket)) if args.inetd => log::info!("traffic on {socket}: running {command}"),
        Some((number, socket)) => {
            log::info!("traffic on {}: running {command}", fd(number, socket));
        }
    }
}

/// The command line of the program, cut at its end if it is very long.
fn command_line(target: &Target) -> String {
    const CHARS_MAX: usize = 200;
    let words = std::iter::once(&target.arg0).chain(&target.arguments);
    let line = words.map(quote).collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(CHARS_MAX) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

/// The form of a descriptor in every message.
fn fd(number: usize, socket: &Bound) -> String {
    format!("fd {} ({})", number + LISTEN_FDS_START as usize, socket.name())
}

fn this_program() -> String {
    std::env::args_os().next().map_or_else(|| "socket-activate-echo".to_owned(), quote)
}

/// The socat command for the address; `None` if socat does not have such a socket.
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
    const CLIENT: &str = ".client";
    let (r#abstract, name) = match name {
        UnixName::Path(path) => (false, path.as_os_str().as_bytes()),
        UnixName::Abstract(name) => (true, name.as_slice()),
    };
    let name = std::str::from_utf8(name).ok()?;
    // These end an address of socat, or need its quoting, or are not shown unchanged.
    if name.contains([':', ',', '!', '"', '\'', '\\']) || name.contains(text::is_obeyed) {
        return None;
    }
    // The client of a datagram socket needs its own name, which is longer.
    if style == Style::Datagram && name.len() + CLIENT.len() > UnixName::LEN_MAX {
        return None;
    }
    let kind = if r#abstract { "abstract" } else { "unix" };
    Some(match style {
        Style::Stream => format!("{kind}-connect:{name}"),
        // Type 5 is SOCK_SEQPACKET.
        Style::Seqpacket => format!("{kind}-connect:{name},type=5"),
        // The reply goes to the sender's address, so the client needs one.
        Style::Datagram => format!("{kind}-sendto:{name},bind={name}{CLIENT}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn socat_has_an_address_for_most() {
        let too_long = format!("unix-dgram:/{}", "x".repeat(100));
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
            (&too_long, None),
        ] {
            let parsed = address.parse().expect("parses");
            assert_eq!(socat(&parsed).as_deref(), command, "{address}");
        }
    }

    #[test]
    fn a_long_command_is_cut() {
        let long = "é".repeat(300);
        let target = Target::find(&["sh", "-c", &long], Vec::new()).expect("there is a shell");
        let line = command_line(&target);
        assert!(line.starts_with("sh -c 'é") && line.ends_with('…'), "{line}");
        assert_eq!(line.chars().count(), 201);
    }
}
