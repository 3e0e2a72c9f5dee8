//! The likely cause of a failure and the next command to run.

use super::{Failure, Symptom};
use crate::address::{Address, DEMO_PORT, Style, UnixName};

/// The cause and the command, as a clause that follows the failure's own text.
pub(super) fn remedy(failure: &Failure) -> String {
    let address = &failure.address;
    match failure.symptom {
        Symptom::Refused => refused(address),
        Symptom::NoSuchPath => format!(
            "nobody has bound that path: {}; a name in the abstract namespace is written unix:@NAME",
            start(address)
        ),
        Symptom::PermissionDenied => permission_denied(address),
        Symptom::WrongType => format!(
            "the socket there is of another type: try {}, see `ss -lxn`",
            other_styles(address)
        ),
        Symptom::NotResolved => match address {
            Address::Inet(_, crate::address::Host::V6(_, Some(_)), _) => {
                "name an interface of `ip link`, or its number, after the %".to_owned()
            }
            _ => "check the spelling with `getent ahosts NAME`, or use a numeric address; with \
                  --network=none no name server can be reached"
                .to_owned(),
        },
        Symptom::Unreachable => "no route leads there: see `ip route` and `ip address`; with \
                                 --network=none there is none on purpose, and only the sockets \
                                 that were handed over reach the outside"
            .to_owned(),
        Symptom::NoTransport => no_transport(address),
        Symptom::Unsupported => unsupported(address).to_owned(),
        Symptom::ConnectTimeout => connect_timeout(address).to_owned(),
        Symptom::MuxRefused => "nothing listens on that port in the guest, or it is still \
                                booting: look at its console, try --wait"
            .to_owned(),
        Symptom::MuxGarbled => "that is no vsock multiplexer: if it echoes by itself, use unix: \
                                instead of vsock-mux:"
            .to_owned(),
        Symptom::TooLarge => "choose a smaller --size, or a stream".to_owned(),
        Symptom::NoReply => no_reply(address),
        Symptom::Stalled => format!(
            "the server stopped in the middle: one that does not read while it writes blocks on a \
             message larger than the buffers, so try a smaller --size; see {}",
            journal(address)
        ),
        Symptom::Closed | Symptom::Reset => format!(
            "the server ended the connection, or ended itself without accepting it: see {}; a unit \
             that hit its trigger limit needs `systemctl --user reset-failed`",
            journal(address)
        ),
        Symptom::Truncated => "the server's receive buffer is smaller than the message: find the \
                               largest that comes back with --size"
            .to_owned(),
        Symptom::WrongBytes | Symptom::Surplus => "that server does not echo, or another one \
                                                   holds the address: see `ss -lntup` and \
                                                   `ss -lxp`"
            .to_owned(),
        Symptom::Failed => {
            format!("see connect(2), send(2) and recv(2) for that error, and {}", journal(address))
        }
    }
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
            .to_owned()
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

fn refused(address: &Address) -> String {
    let list = match address {
        Address::Inet(..) if address.style() == Style::Datagram => "`ss -lnu`",
        Address::Inet(..) => "`ss -lnt`",
        Address::Unix(..) | Address::VsockMux(..) => "`ss -lxn`",
        Address::Vsock(..) => "`ss -ln --vsock`",
    };
    let stale = match address {
        Address::Unix(_, UnixName::Path(_)) | Address::VsockMux(UnixName::Path(_), _) => {
            " (the file is left over from one that has ended)"
        }
        _ => "",
    };
    let start = match address {
        Address::VsockMux(..) => "start the virtual machine".to_owned(),
        _ => start(address),
    };
    format!("nobody listens there{stale}: {start}; {list} shows who listens where")
}

fn permission_denied(address: &Address) -> String {
    match address {
        Address::Unix(_, UnixName::Path(path)) | Address::VsockMux(UnixName::Path(path), _) => {
            format!(
                "SocketMode=, SocketUser= and DirectoryMode= of the .socket unit set the modes \
                 that `namei -l {}` shows; where they allow it, SELinux does not: `ausearch -m \
                 avc -ts recent`",
                path.display()
            )
        }
        _ => "a packet filter, a seccomp profile or SELinux forbids it: see `nft list ruleset` \
              and `ausearch -m avc -ts recent`"
            .to_owned(),
    }
}

fn other_styles(address: &Address) -> String {
    let Address::Unix(style, name) = address else { return "another scheme".to_owned() };
    let others: Vec<_> = [Style::Stream, Style::Datagram, Style::Seqpacket]
        .into_iter()
        .filter(|other| other != style)
        .map(|other| Address::Unix(other, name.clone()).to_string())
        .collect();
    others.join(" or ")
}

fn no_transport(address: &Address) -> String {
    match address {
        Address::Vsock(_, crate::address::Cid::LOCAL, _) => {
            "CID 1 needs it: `modprobe vsock_loopback`".to_owned()
        }
        Address::Vsock(_, crate::address::Cid::HOST, _) => {
            "CID 2 is the host of a virtual machine: inside one, `modprobe \
             vmw_vsock_virtio_transport`; outside, use vsock:local"
                .to_owned()
        }
        _ => "reaching a guest needs `modprobe vhost_vsock` and /dev/vhost-vsock on the host, or \
              vsock-mux:PATH:PORT where the hypervisor serves the guest's vsock in user space"
            .to_owned(),
    }
}

fn unsupported(address: &Address) -> &'static str {
    use crate::address::Inet;
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
}

fn connect_timeout(address: &Address) -> &'static str {
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
}

fn no_reply(address: &Address) -> String {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_failure_says_what_to_do_next() {
        for address in [
            "tcp:127.0.0.1:3000",
            "udp:[::1]:7",
            "mptcp:127.0.0.1:7",
            "sctp:127.0.0.1:7",
            "unix:/run/s",
            "unix-dgram:@s",
            "unix-seqpacket:/home/d/echo_stream_sock.demo",
            "vsock:local:3000",
            "vsock-seqpacket:host:3000",
            "vsock:20:3000",
            "vsock-mux:/tmp/v.sock:3000",
        ] {
            let address: Address = address.parse().unwrap();
            for symptom in Symptom::ALL {
                let remedy = Failure::new(symptom, &address, "x").remedy();
                assert!(!remedy.is_empty() && !remedy.ends_with('.'), "{address} {symptom}");
            }
        }
    }

    #[test]
    fn the_next_command_fits_the_address() {
        for (address, symptom, part) in [
            ("tcp:127.0.0.1:3000", Symptom::Refused, "systemctl --user start echo@demo.socket"),
            ("tcp:127.0.0.1:4000", Symptom::Refused, "activate -l tcp:127.0.0.1:4000"),
            ("tcp:127.0.0.1:4000", Symptom::Refused, "`ss -lnt`"),
            ("udp:127.0.0.1:4000", Symptom::Refused, "`ss -lnu`"),
            ("unix:/s", Symptom::Refused, "left over"),
            ("unix:@s", Symptom::NoSuchPath, "activate -l unix:@s"),
            ("unix:/s", Symptom::PermissionDenied, "namei -l /s"),
            ("unix:/s", Symptom::WrongType, "unix-dgram:/s or unix-seqpacket:/s"),
            ("vsock:local:1", Symptom::NoTransport, "modprobe vsock_loopback"),
            ("vsock:20:1", Symptom::NoTransport, "vhost_vsock"),
            ("sctp:127.0.0.1:1", Symptom::Unsupported, "modprobe sctp"),
            ("udp:127.0.0.1:3000", Symptom::NoReply, "journalctl --user -xeu echo@demo.service"),
            ("tcp:192.0.2.1:1", Symptom::Unreachable, "--network=none"),
            ("tcp:x:1", Symptom::NotResolved, "getent"),
        ] {
            let parsed: Address = address.parse().unwrap();
            let remedy = Failure::new(symptom, &parsed, "x").remedy();
            assert!(remedy.contains(part), "{address} {symptom}: {remedy}");
        }
    }
}
