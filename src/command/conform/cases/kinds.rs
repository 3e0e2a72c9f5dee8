//! Every kind of socket arrives as what was bound, and echoes.

use std::os::fd::AsFd;

use crate::activation::SocketKind;
use crate::activator::Bound;
use crate::address::Address;
use crate::client;
use crate::command::conform::case::{Case, Miss, Seen};
use crate::command::conform::clients::{Client, knock};
use crate::command::conform::engine::{Engine, INSPECT, SERVE};

/// The name of each case, and an address; `PATH` is a new path.
const KINDS: [(&str, &str); 18] = [
    ("type.tcp-ipv4", "tcp:127.0.0.1:0"),
    ("type.tcp-ipv6", "tcp:[::1]:0"),
    ("type.udp-ipv4", "udp:127.0.0.1:0"),
    ("type.udp-ipv6", "udp:[::1]:0"),
    ("type.unix", "unix:PATH"),
    ("type.unix-abstract", "unix:@PATH"),
    ("type.unix-dgram", "unix-dgram:PATH"),
    ("type.unix-seqpacket", "unix-seqpacket:PATH"),
    ("type.mptcp-ipv4", "mptcp:127.0.0.1:0"),
    ("type.mptcp-ipv6", "mptcp:[::1]:0"),
    ("type.sctp-ipv4", "sctp:127.0.0.1:0"),
    ("type.sctp-ipv6", "sctp:[::1]:0"),
    ("type.sctp-seqpacket-ipv4", "sctp-seqpacket:127.0.0.1:0"),
    ("type.sctp-seqpacket-ipv6", "sctp-seqpacket:[::1]:0"),
    ("type.udplite-ipv4", "udplite:127.0.0.1:0"),
    ("type.udplite-ipv6", "udplite:[::1]:0"),
    ("type.vsock", "vsock:any:4294967295"),
    ("type.vsock-seqpacket", "vsock-seqpacket:any:4294967295"),
];

pub(super) fn cases(engine: &Engine) -> Vec<Case<'_>> {
    let case = |(name, address)| {
        Case::new(
            name,
            "a socket of this kind arrives as what was bound, and its echo is what was sent",
            "sd_listen_fds(3), systemd.socket(5)",
            move || arrives(engine, address),
        )
    };
    KINDS.into_iter().map(case).collect()
}

fn arrives(engine: &Engine, address: &str) -> Seen {
    let address = resolve(engine, address)?;
    if matches!(address, Address::Vsock(..)) && !client::has_vsock_loopback() {
        return Err(Miss::Skip("this kernel has no vsock loopback transport".to_owned()));
    }
    let sockets = [engine.bind(&address, "one")?];
    // Kept: a client with the port of one that is gone would get its reply.
    let _knock = compare(engine, &sockets)?;
    let mut client = Client::new(&sockets[0], engine.timeout)?;
    let mut running = engine.start(&sockets, SERVE)?;
    client.echoed_by(&mut running)?;
    client.again(&mut running)?;
    Ok(format!("{} echoes", address.scheme()))
}

fn resolve(engine: &Engine, address: &str) -> Result<Address, Miss> {
    let path = engine.path();
    let address = address.replace("PATH", &path.to_string_lossy());
    address.parse().map_err(|error| Miss::Skip(format!("{address}: {error}")))
}

/// Compares what the kernel says about the socket here and inside. Returns the client whose traffic
/// started the engine.
fn compare(engine: &Engine, sockets: &[Bound; 1]) -> Result<Client, Miss> {
    let client = knock(&sockets[0], engine.timeout)?;
    let inspection = engine.inspect(sockets, INSPECT)?;
    let arrived = inspection.arrived()?;
    let [socket] = sockets;
    let Some(one) = arrived.iter().find(|one| one.is(socket)) else {
        let what: Vec<_> = arrived.iter().map(|one| one.what().to_owned()).collect();
        let what = if what.is_empty() { "nothing".to_owned() } else { super::list(&what) };
        return Err(Miss::Fail(format!("the socket did not arrive; instead: {what}")));
    };
    let kind = SocketKind::of(socket.as_fd())
        .map_err(|error| Miss::Skip(format!("look at {socket}: {error}")))?;
    let expected = [
        ("/socket/family", kind.family.to_string()),
        ("/socket/type", kind.type_name()),
        ("/socket/role", kind.role.to_string()),
    ];
    for (pointer, expected) in expected {
        let found = one.get(pointer).as_str().unwrap_or_default();
        if found != expected {
            return Err(Miss::Fail(format!("{pointer} is {found} inside, and {expected} here")));
        }
    }
    Ok(client)
}
