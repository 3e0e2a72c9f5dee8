//! The likely cause of each symptom and the next command to run. The table in `failure` assigns
//! them to symptoms.

use std::path::Path;

use super::nearby::{self, Holder};
use super::unix_path;
use crate::address::{Address, Cid, DEMO_PORT, Host, Inet, Style, UnixName};
use crate::text::quote;

pub(super) fn refused(address: &Address) -> String {
    if let Some(other) = elsewhere(address) {
        return other;
    }
    let (list, stale) = match address {
        Address::Inet(..) if address.style() == Style::Datagram => ("`ss -lnu`", ""),
        Address::Inet(..) => ("`ss -lnt`", ""),
        Address::Vsock(..) => ("`ss -ln --vsock`", ""),
        Address::Unix(_, UnixName::Path(_)) | Address::VsockMux(UnixName::Path(_), _) => {
            ("`ss -lxn`", " (a server that has ended left its socket file behind)")
        }
        Address::Unix(..) | Address::VsockMux(..) => ("`ss -lxn`", ""),
    };
    match address {
        // Nothing here can bind the address of another machine.
        Address::Vsock(_, cid, port) if *cid != Cid::LOCAL => format!(
            "nobody listens there: start the server on that machine, for example with \
             `socket-activate-echo activate -l {}:any:{port}`",
            address.scheme()
        ),
        Address::VsockMux(..) => format!(
            "nobody listens there{stale}: start the virtual machine; {list} shows who listens where"
        ),
        Address::Inet(..) if !nearby::is_local(address) => format!(
            "nobody listens there, or a packet filter rejects it: start the server on that \
             machine, where {list} shows who listens where"
        ),
        _ if is_demo(address) => start_demo(),
        _ => format!(
            "nobody listens there{stale}: {}; {list} shows who listens where",
            start(address)
        ),
    }
}

pub(super) fn no_such_path(address: &Address) -> String {
    if let Some(other) = elsewhere(address) {
        return other;
    }
    match path(address).and_then(unix_path::missing_directory) {
        Some(missing) => format!("{missing}: check the path"),
        None if matches!(address, Address::VsockMux(..)) => {
            "nobody has bound that path: start the virtual machine: its hypervisor creates the \
             socket"
                .into()
        }
        None if is_demo(address) => start_demo(),
        None => format!(
            "nobody has bound that path: {}; a name in the abstract namespace is written unix:@NAME",
            start(address)
        ),
    }
}

/// What listens close to the address, or what else is at its path: then no server needs to be
/// started.
fn elsewhere(address: &Address) -> Option<String> {
    if let Some(neighbour) = nearby::neighbour(address) {
        return Some(format!("use {neighbour}, which listens"));
    }
    path(address).and_then(unix_path::not_a_socket)
}

pub(super) fn permission_denied(address: &Address) -> String {
    let Some(path) = path(address) else {
        return "a packet filter, a seccomp profile or a security module such as SELinux forbids \
                it: see `nft list ruleset` and `ausearch -m avc -ts recent`"
            .into();
    };
    if let Some(what) = unix_path::not_a_socket(path) {
        return what;
    }
    let path = quote(path);
    let units = "SocketMode=, SocketUser= and DirectoryMode= of the .socket unit set the modes";
    let modes = match Holder::of(address) {
        Holder::Systemd { .. } => format!("{units} that `namei -l {path}` shows"),
        Holder::Activator(process) | Holder::Process(process) => {
            format!("{process} holds the socket: set the modes that `namei -l {path}` shows")
        }
        Holder::Unknown => {
            format!("`namei -l {path}` shows the modes; if systemd holds the socket, {units}")
        }
    };
    format!("{modes}; if the modes allow it, SELinux may forbid it: `ausearch -m avc -ts recent`")
}

pub(super) fn wrong_type(address: &Address) -> String {
    let Address::Unix(style, name) = address else {
        return "the socket there is of another type: try another scheme".into();
    };
    let of_the_same_name = |other: &Address| matches!(other, Address::Unix(_, n) if n == name);
    if let Some(other) = nearby::neighbour(address).filter(of_the_same_name) {
        return format!("the socket there is of another type: use {other}");
    }
    let others = [Style::Stream, Style::Datagram, Style::Seqpacket].into_iter();
    let others = others.filter(|other| other != style);
    let others: Vec<_> =
        others.map(|other| Address::Unix(other, name.clone()).to_string()).collect();
    format!("the socket there is of another type: try {}, see `ss -lxn`", others.join(" or "))
}

pub(super) fn not_resolved(address: &Address) -> String {
    match address {
        Address::Inet(_, Host::V6(_, Some(_)), _) => {
            "write an interface that `ip link` lists, or its number, after the %"
        }
        _ => {
            "check the spelling with `getent ahosts NAME`, or use a numeric address; a container \
             with --network=none reaches no name server"
        }
    }
    .into()
}

pub(super) fn unreachable(address: &Address) -> String {
    match address {
        Address::Inet(_, Host::V6(ip, None), _) if ip.is_unicast_link_local() => {
            return format!("a link-local address needs its interface: write [{ip}%eth0]");
        }
        _ => {}
    }
    "no route leads there: see `ip route` and `ip address`; a container with --network=none has \
     none on purpose, and only the sockets that were passed to it reach the outside"
        .into()
}

pub(super) fn no_transport(address: &Address) -> String {
    match address {
        Address::Vsock(_, Cid::LOCAL, _) => "CID 1 needs it: `modprobe vsock_loopback`",
        Address::Vsock(_, Cid::HOST, _) => {
            "CID 2 is the host of a virtual machine: inside one, `modprobe \
             vmw_vsock_virtio_transport`; outside, use vsock:local"
        }
        _ => {
            "reaching a guest needs `modprobe vhost_vsock` and /dev/vhost-vsock on the host, or \
             vsock-mux:PATH:PORT where the hypervisor serves the guest's vsock in user space"
        }
    }
    .into()
}

pub(super) fn unsupported(address: &Address) -> String {
    match address {
        Address::Inet(Inet::Sctp | Inet::SctpSeqpacket, ..) => {
            "the kernel has no SCTP: `modprobe sctp`"
        }
        Address::Inet(Inet::Mptcp, ..) => {
            "the kernel has no MPTCP, or it is off: `sysctl net.mptcp.enabled=1`"
        }
        Address::Inet(..) => "the kernel has this IP version or protocol switched off",
        Address::Vsock(Style::Stream, ..) => {
            "the kernel has no AF_VSOCK: `modprobe vsock`; a seccomp profile may also forbid it"
        }
        Address::Vsock(..) => {
            "the vsock transport to that CID has only streams: use vsock:CID:PORT"
        }
        _ => "the kernel has no such socket",
    }
    .into()
}

pub(super) fn connect_timeout(address: &Address) -> String {
    match address {
        Address::Vsock(..) => {
            "no virtual machine with that CID answers: check guest-cid= of the hypervisor, or \
             wait until it has booted, with --wait"
                .into()
        }
        Address::Unix(..) => format!(
            "the backlog is full because {} does not accept: see `ss -lxn`, columns Recv-Q and \
             Send-Q",
            match Holder::of(address) {
                Holder::Process(process) => process,
                _ => "the server".into(),
            }
        ),
        Address::VsockMux(..) => {
            "the multiplexer does not answer: check that the virtual machine runs".into()
        }
        Address::Inet(..) => match Holder::of(address) {
            Holder::Process(process) => format!(
                "the backlog is full because {process} does not accept, or a packet filter drops \
                 the packets: see `ss -lnt`, columns Recv-Q and Send-Q"
            ),
            _ => "the host is down, a packet filter drops the packets, or the backlog is full: \
                  see `ss -lnt` on that host, columns Recv-Q and Send-Q"
                .into(),
        },
    }
}

pub(super) fn mux_refused(_: &Address) -> String {
    "nothing listens on that port in the guest, or the guest is still booting: look at its \
     console, or try --wait"
        .into()
}

pub(super) fn mux_garbled(_: &Address) -> String {
    "the socket is not a vsock multiplexer: for a plain echo server, use unix: instead of \
     vsock-mux:"
        .into()
}

pub(super) fn too_large(_: &Address) -> String {
    "choose a smaller --size, or a stream".into()
}

pub(super) fn no_reply(address: &Address) -> String {
    let is_datagram = address.style() == Style::Datagram;
    let filter = match address {
        _ if !is_datagram => "",
        Address::Unix(..) => "; a server in a container may also be kept from answering by SELinux",
        _ => "; a packet filter may also drop the datagram or its reply",
    };
    match Holder::of(address) {
        Holder::Process(process) => format!(
            "{process} holds the socket, but does not answer: see what it prints, on its terminal \
             or in its log; a longer --timeout waits longer{filter}"
        ),
        Holder::Activator(process) => format!(
            "{process} holds the socket, but the command that it starts does not answer: see the \
             terminal of that process, where the command also prints; a longer --timeout waits \
             longer{filter}"
        ),
        // A unix datagram socket was connected to a socket that a process holds. Over UDP, silence
        // proves nothing.
        Holder::Unknown if is_datagram && !matches!(address, Address::Unix(..)) => format!(
            "nothing came back, and {} does not tell why: perhaps no server listens, a packet \
             filter drops the datagram or its reply, a route is missing, or the service is still \
             starting: see `ss -lnu` on the server's machine, then {}; a longer --timeout waits \
             longer",
            if matches!(address, Address::Inet(..)) { "UDP" } else { "a vsock datagram" },
            log(address, &Holder::Unknown)
        ),
        holder => format!(
            "{} holds the socket, but no service answers yet: its image may still be downloading, \
             or it fails to start: see {}; a longer --timeout waits longer{filter}",
            if holder == Holder::Unknown { "something" } else { "systemd" },
            log(address, &holder)
        ),
    }
}

pub(super) fn stalled(address: &Address) -> String {
    format!(
        "the server stopped in the middle: try a smaller --size, because a server that does not \
         read while it writes blocks when the buffers are full; see {}",
        log(address, &Holder::of(address))
    )
}

pub(super) fn ended(address: &Address) -> String {
    let holder = Holder::of(address);
    let reset = match &holder {
        Holder::Activator(_) | Holder::Process(_) => "",
        Holder::Systemd { user: false } => {
            "; a unit that hit its trigger limit needs `systemctl reset-failed`"
        }
        Holder::Systemd { user: true } | Holder::Unknown => {
            "; a unit that hit its trigger limit needs `systemctl --user reset-failed`"
        }
    };
    format!(
        "the server closed the connection, or exited without accepting it: see {}{reset}",
        log(address, &holder)
    )
}

pub(super) fn truncated(_: &Address) -> String {
    "the server's receive buffer is probably smaller than the message: find the largest that comes \
     back with --size"
        .into()
}

pub(super) fn no_echo(address: &Address) -> String {
    match Holder::of(address) {
        Holder::Process(process) => {
            format!("the server does not echo: {process} holds the address")
        }
        Holder::Activator(process) => {
            format!("the command that {process} starts does not echo")
        }
        _ => "the server does not echo, or another server holds the address: see `ss -lntup` and \
              `ss -lxp`"
            .into(),
    }
}

pub(super) fn echoes(_: &Address) -> String {
    "--info needs a server with `serve --info NAME`, where NAME is the fd name of this socket"
        .into()
}

pub(super) fn no_info(address: &Address) -> String {
    format!(
        "{}; --info needs `serve --info NAME` there",
        no_echo(address).replace("echo", "answer")
    )
}

pub(super) fn failed(address: &Address) -> String {
    let log = log(address, &Holder::of(address));
    format!("see connect(2), send(2) and recv(2) for that error, and {log}")
}

fn path(address: &Address) -> Option<&Path> {
    match address {
        Address::Unix(_, UnixName::Path(path)) | Address::VsockMux(UnixName::Path(path), _) => {
            Some(path)
        }
        _ => None,
    }
}

/// Whether `activate` without `-l`, or the unit `echo@demo.socket`, would listen there.
fn is_demo(address: &Address) -> bool {
    match address {
        Address::Inet(_, _, port) => *port == DEMO_PORT,
        Address::Vsock(_, _, port) => *port == u32::from(DEMO_PORT),
        Address::Unix(_, UnixName::Path(path)) => {
            path.extension().is_some_and(|extension| extension == "demo")
        }
        Address::Unix(..) | Address::VsockMux(..) => false,
    }
}

fn start_demo() -> String {
    "nobody listens there: start the demo set with `systemctl --user start echo@demo.socket` or \
     `socket-activate-echo activate`"
        .into()
}

fn start(address: &Address) -> String {
    format!(
        "start its .socket unit with `systemctl --user start NAME.socket`, or \
         `socket-activate-echo activate -l {}`",
        quote(address.to_string())
    )
}

/// Where the server logs errors.
fn log(address: &Address, holder: &Holder) -> String {
    let unit = if is_demo(address) { "echo@demo" } else { "NAME" };
    let user = if *holder == (Holder::Systemd { user: false }) { "" } else { "--user " };
    let journal = format!("`journalctl {user}-xeu {unit}.service`");
    match holder {
        Holder::Systemd { .. } => journal,
        Holder::Activator(process) => {
            format!("the terminal of {process}, where the command also prints")
        }
        Holder::Process(process) => {
            format!("what {process} prints, on its terminal or in its log")
        }
        Holder::Unknown => format!("the server's log (if systemd started it: {journal})"),
    }
}
