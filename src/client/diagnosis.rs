//! The likely cause of each symptom and the next command to run. The table in `failure` tells
//! which is whose.

use crate::address::{Address, Cid, DEMO_PORT, Host, Inet, Style, UnixName};
use crate::text::Escaped;

pub(super) fn refused(address: &Address) -> String {
    let (list, stale) = match address {
        Address::Inet(..) if address.style() == Style::Datagram => ("`ss -lnu`", ""),
        Address::Inet(..) => ("`ss -lnt`", ""),
        Address::Vsock(..) => ("`ss -ln --vsock`", ""),
        Address::Unix(_, UnixName::Path(_)) | Address::VsockMux(UnixName::Path(_), _) => {
            ("`ss -lxn`", " (the file is left over from one that has ended)")
        }
        Address::Unix(..) | Address::VsockMux(..) => ("`ss -lxn`", ""),
    };
    let start = match address {
        Address::VsockMux(..) => "start the virtual machine".to_owned(),
        _ => start(address),
    };
    format!("nobody listens there{stale}: {start}; {list} shows who listens where")
}

pub(super) fn no_such_path(address: &Address) -> String {
    format!(
        "nobody has bound that path: {}; a name in the abstract namespace is written unix:@NAME",
        start(address)
    )
}

pub(super) fn permission_denied(address: &Address) -> String {
    match address {
        Address::Unix(_, UnixName::Path(path)) | Address::VsockMux(UnixName::Path(path), _) => {
            format!(
                "SocketMode=, SocketUser= and DirectoryMode= of the .socket unit set the modes \
                 that `namei -l {}` shows; where they allow it, SELinux does not: `ausearch -m \
                 avc -ts recent`",
                Escaped::new(path)
            )
        }
        _ => "a packet filter, a seccomp profile or SELinux forbids it: see `nft list ruleset` \
              and `ausearch -m avc -ts recent`"
            .into(),
    }
}

pub(super) fn wrong_type(address: &Address) -> String {
    let others = match address {
        Address::Unix(style, name) => [Style::Stream, Style::Datagram, Style::Seqpacket]
            .into_iter()
            .filter(|other| other != style)
            .map(|other| Address::Unix(other, name.clone()).to_string())
            .collect::<Vec<_>>()
            .join(" or "),
        _ => "another scheme".into(),
    };
    format!("the socket there is of another type: try {others}, see `ss -lxn`")
}

pub(super) fn not_resolved(address: &Address) -> String {
    match address {
        Address::Inet(_, Host::V6(_, Some(_)), _) => {
            "name an interface of `ip link`, or its number, after the %"
        }
        _ => {
            "check the spelling with `getent ahosts NAME`, or use a numeric address; with \
             --network=none no name server can be reached"
        }
    }
    .into()
}

pub(super) fn unreachable(_: &Address) -> String {
    "no route leads there: see `ip route` and `ip address`; with --network=none there is none on \
     purpose, and only the sockets that were handed over reach the outside"
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
        }
        Address::Unix(..) => {
            "the backlog is full because the server does not accept: see `ss -lxn`, columns \
             Recv-Q and Send-Q"
        }
        Address::VsockMux(..) => "the multiplexer does not answer: is the virtual machine running?",
        Address::Inet(..) => {
            "a packet filter drops it, the host is down, or the backlog is full: see `ss -lnt`, \
             columns Recv-Q and Send-Q"
        }
    }
    .into()
}

pub(super) fn mux_refused(_: &Address) -> String {
    "nothing listens on that port in the guest, or it is still booting: look at its console, try \
     --wait"
        .into()
}

pub(super) fn mux_garbled(_: &Address) -> String {
    "that is not a vsock multiplexer: if it echoes by itself, use unix: instead of vsock-mux:"
        .into()
}

pub(super) fn too_large(_: &Address) -> String {
    "choose a smaller --size, or a stream".into()
}

pub(super) fn no_reply(address: &Address) -> String {
    let datagram = match address {
        Address::Inet(..) if address.style() == Style::Datagram => {
            "; a packet filter may also drop the datagram or its reply"
        }
        Address::Unix(Style::Datagram, _) => {
            "; a server in a container may also be kept from answering by SELinux"
        }
        _ => "",
    };
    format!(
        "something holds the socket, but no service answers yet: its image may still be being \
         pulled, or it fails to start: see {}; a longer --timeout waits on{datagram}",
        journal(address)
    )
}

pub(super) fn stalled(address: &Address) -> String {
    format!(
        "the server stopped in the middle: one that does not read while it writes blocks on a \
         message larger than the buffers, so try a smaller --size; see {}",
        journal(address)
    )
}

pub(super) fn ended(address: &Address) -> String {
    format!(
        "the server ended the connection, or ended itself without accepting it: see {}; a unit \
         that hit its trigger limit needs `systemctl --user reset-failed`",
        journal(address)
    )
}

pub(super) fn truncated(_: &Address) -> String {
    "the server's receive buffer is smaller than the message: find the largest that comes back \
     with --size"
        .into()
}

pub(super) fn no_echo(_: &Address) -> String {
    "that server does not echo, or another one holds the address: see `ss -lntup` and `ss -lxp`"
        .into()
}

pub(super) fn failed(address: &Address) -> String {
    format!("see connect(2), send(2) and recv(2) for that error, and {}", journal(address))
}

/// Whether `activate` without `-l`, and the unit `echo@demo.socket`, would listen there.
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

fn start(address: &Address) -> String {
    if is_demo(address) {
        "start it with `systemctl --user start echo@demo.socket` or `socket-activate-echo activate`"
            .into()
    } else {
        format!(
            "start its .socket unit with `systemctl --user start NAME.socket`, or \
             `socket-activate-echo activate -l {address}`"
        )
    }
}

fn journal(address: &Address) -> &'static str {
    if is_demo(address) {
        "`journalctl --user -xeu echo@demo.service`"
    } else {
        "the server's log, `journalctl --user -xeu NAME.service`"
    }
}
