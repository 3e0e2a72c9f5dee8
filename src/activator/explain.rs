//! Why an address cannot be bound, and what to do about it.

use std::io;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

use crate::address::{Address, Host, Inet, UnixName};
use crate::error::{Error, ErrorKind, MORE_DESCRIPTORS};
use crate::proc::{self, Process};
use crate::text::quote;

/// The system call that failed on the way to a bound socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Socket,
    Bind,
    Listen,
}

/// The error for an address that cannot be bound: what was attempted, what the kernel answered, and
/// which process has the address or what else prevents it.
pub(super) fn error(address: &Address, step: Step, error: io::Error) -> Error {
    let attempted = match step {
        Step::Socket => "create a socket for",
        Step::Bind => "bind",
        Step::Listen => "listen on",
    };
    let remedy = remedy(address, step, error.raw_os_error().unwrap_or(0));
    let message = format!("{attempted} {address}");
    Error::new(ErrorKind::Bind, message).because(error).remedy(remedy)
}

fn remedy(address: &Address, step: Step, errno: i32) -> String {
    match (errno, step) {
        (libc::EMFILE | libc::ENFILE, _) => MORE_DESCRIPTORS.into(),
        (libc::EADDRINUSE, _) => in_use(address),
        (_, Step::Socket) => no_such_socket(address).into(),
        (_, Step::Bind | Step::Listen) => match address {
            Address::Unix(_, UnixName::Path(path)) => path_remedy(errno, path),
            Address::Unix(..) => "choose another name".into(),
            Address::Inet(_, host, port) => inet_remedy(errno, host, *port),
            Address::Vsock(..) | Address::VsockMux(..) => vsock_remedy(errno).into(),
        },
    }
}

/// The remedy if the kernel has no such family or protocol, or a sandbox forbids it.
fn no_such_socket(address: &Address) -> &'static str {
    match address {
        Address::Inet(Inet::Sctp | Inet::SctpSeqpacket, ..) => {
            "load the kernel's SCTP with `modprobe sctp`, or leave this address out"
        }
        Address::Inet(Inet::Mptcp, ..) => {
            "use tcp: instead, or enable it: `sysctl net.mptcp.enabled=1` on a kernel with MPTCP"
        }
        Address::Inet(Inet::Udplite, ..) => "use udp: instead: this kernel has no UDP-Lite",
        Address::Inet(_, Host::V6(..), _) => {
            "use an IPv4 address: this kernel or sandbox (RestrictAddressFamilies=, seccomp) has \
             no IPv6"
        }
        Address::Vsock(..) | Address::VsockMux(..) => {
            "load the kernel's AF_VSOCK with `modprobe vsock`, or allow it in the sandbox \
             (RestrictAddressFamilies=, seccomp); datagram and seqpacket sockets need a transport \
             that supports them"
        }
        Address::Inet(..) | Address::Unix(..) => {
            "allow the address family in the sandbox (RestrictAddressFamilies=, seccomp)"
        }
    }
}

fn in_use(address: &Address) -> String {
    if let Address::Unix(_, UnixName::Path(path)) = address {
        if std::fs::symlink_metadata(path).is_ok_and(|file| !file.file_type().is_socket()) {
            return "choose another path: a file that is not a socket is there".into();
        }
    }
    let holders = proc::holders(&proc::sockets_at(address));
    let holders: Vec<_> = holders.into_iter().filter_map(Process::of).collect();
    if holders.iter().any(|process| process.pid == std::process::id()) {
        return "leave out one -l: another -l of this command has this address already ([::] \
                includes IPv4)"
            .into();
    }
    if holders.is_empty() {
        return "choose another address: a process that this user may not see has this one (`ss \
                -lnp` as root shows which)"
            .into();
    }
    let named: Vec<_> =
        holders.iter().map(|process| format!("{} (pid {})", process.name, process.pid)).collect();
    let named = named.join(" and ");
    format!("{named} has this address: stop that process, or choose another address")
}

fn path_remedy(errno: i32, path: &Path) -> String {
    let parent = match path.parent() {
        Some(parent) if parent != Path::new("") => parent.display().to_string(),
        _ => ".".into(),
    };
    match errno {
        libc::ENOENT => format!("create the directory: `mkdir -p {}`", quote(&parent)),
        libc::EACCES | libc::EPERM => {
            format!("choose another path: this user may not write in {parent}")
        }
        libc::EROFS => "choose a path on a file system that is not read-only".into(),
        libc::ENOTDIR | libc::ELOOP => format!("{parent} is not a directory: choose another path"),
        _ => "choose another path".into(),
    }
}

fn inet_remedy(errno: i32, host: &Host, port: u16) -> String {
    match (errno, host) {
        (libc::EACCES | libc::EPERM, _) => format!(
            "use port {} or higher (sysctl net.ipv4.ip_unprivileged_port_start); port {port} \
             needs CAP_NET_BIND_SERVICE",
            // ip(7): the first port that needs no capability.
            proc::sysctl("net/ipv4/ip_unprivileged_port_start").as_deref().unwrap_or("1024")
        ),
        (libc::EINVAL, Host::V6(ip, None)) if ip.is_unicast_link_local() => {
            format!("write the interface of the link-local address: [{ip}%eth0]")
        }
        (libc::EADDRNOTAVAIL | libc::EINVAL | libc::ENODEV, _) => {
            "use an address that `ip addr` lists, or 0.0.0.0 or [::] for all of them".into()
        }
        _ => "choose another address".into(),
    }
}

fn vsock_remedy(errno: i32) -> &'static str {
    match errno {
        libc::EACCES | libc::EPERM => {
            "use vsock port 1024 or higher; a lower one needs \
                                       CAP_NET_BIND_SERVICE"
        }
        libc::EADDRNOTAVAIL => "use vsock:any:PORT: this machine has another CID",
        _ => "load a vsock transport: `modprobe vsock_loopback` loads the local one",
    }
}
