//! Who holds an address that failed, and what listens close to it, from the kernel's tables of this
//! network namespace. If the tables cannot be read, nothing is known.

use socket2::{SockAddr, Socket, Type};

use crate::address::{Address, Host, domain_of};
use crate::proc::{self, Process};

/// Who has the socket of an address open.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Holder {
    /// Nobody, or a process whose descriptors this process may not see.
    Unknown,
    /// A service manager, alone or with the service.
    Systemd {
        /// Whether it is the manager of a user, not of the system.
        user: bool,
    },
    /// A program that listens for another program and starts it: its name and id.
    Activator(String),
    /// Another process: its name and id.
    Process(String),
}

impl Holder {
    pub(super) fn of(address: &Address) -> Self {
        let socket = match address {
            Address::VsockMux(name, _) => Address::Unix(address.style(), name.clone()),
            address if is_local(address) => address.clone(),
            _ => return Self::Unknown,
        };
        let holders = proc::holders(&proc::serving(&socket)).into_iter();
        Self::among(holders.filter_map(Process::of).collect())
    }

    fn among(mut processes: Vec<Process>) -> Self {
        if let Some(manager) = processes.iter().find(|process| process.name == "systemd") {
            return Self::Systemd { user: manager.pid != 1 };
        }
        // The workers of a server have higher ids than the process that started them.
        processes.sort_by_key(|process| process.pid);
        match &processes[..] {
            [] => Self::Unknown,
            [process, others @ ..] => {
                // The kernel keeps 15 bytes of a name, which is too few for these.
                let (name, is_activator) = match process.name.as_str() {
                    "systemd-socket-" => ("systemd-socket-activate", true),
                    "socket-activate" => {
                        let verb = proc::argument(process.pid, 1);
                        ("socket-activate-echo", verb.as_deref() == Some(b"activate"))
                    }
                    name => (name, false),
                };
                let others = if others.is_empty() { "" } else { ", and others" };
                let shown = format!("{name} (pid {}{others})", process.pid);
                if is_activator { Self::Activator(shown) } else { Self::Process(shown) }
            }
        }
    }
}

/// A reachable address close to `address`, which is not reachable: on another host address of this
/// machine, over another protocol, or another type of unix socket.
pub(super) fn neighbour(address: &Address) -> Option<Address> {
    if !is_local(address) {
        return None;
    }
    let found = proc::served_alike(address).into_iter();
    let others = found.filter_map(|found| beside(address, found)).filter(|found| found != address);
    // Prefer one difference to two. For IP, prefer another host to another protocol; for unix(7),
    // prefer another type to another name.
    let difference = |other: &Address| match (address, other) {
        (Address::Inet(inet, host, _), Address::Inet(other, other_host, _)) => {
            2 * u8::from(inet != other) + u8::from(host != other_host)
        }
        (Address::Unix(style, name), Address::Unix(other, other_name)) => {
            2 * u8::from(name != other_name) + u8::from(style != other)
        }
        _ => u8::MAX,
    };
    others.min_by_key(difference)
}

/// `found` as a client connects to it; `None` if the table lacks a part of that.
fn beside(address: &Address, found: Address) -> Option<Address> {
    match (address, &found) {
        // The table does not have the scope.
        (_, Address::Inet(_, Host::V6(ip, _), _)) if ip.is_unicast_link_local() => None,
        // For a wildcard address, take the host that was asked for, if it has the same IP version:
        // the table does not tell whether [::] includes IPv4.
        (Address::Inet(_, host @ Host::V4(_), port), Address::Inet(inet, Host::V4(ip), _))
            if ip.is_unspecified() =>
        {
            Some(Address::Inet(*inet, host.clone(), *port))
        }
        (Address::Inet(_, host @ Host::V6(..), port), Address::Inet(inet, Host::V6(ip, _), _))
            if ip.is_unspecified() =>
        {
            Some(Address::Inet(*inet, host.clone(), *port))
        }
        _ => Some(found.to_client()),
    }
}

/// Whether the tables of this machine have the sockets of the address. A host name must be resolved
/// before.
pub(super) fn is_local(address: &Address) -> bool {
    match address {
        Address::Inet(_, Host::Name(_), _) | Address::Vsock(..) | Address::VsockMux(..) => false,
        Address::Unix(..) => true,
        Address::Inet(..) => address.resolve().is_ok_and(|found| found.iter().all(is_own)),
    }
}

/// Whether it is an address of this machine: only such an address can be bound. No packet is sent.
fn is_own(target: &SockAddr) -> bool {
    let Some(mut ip) = target.as_socket() else { return false };
    ip.set_port(0);
    let socket = Socket::new(domain_of(target), Type::DGRAM, None);
    socket.and_then(|socket| socket.bind(&ip.into())).is_ok()
}

/// Whether a reachable socket of this machine has the address.
pub(super) fn is_served(address: &Address) -> bool {
    is_local(address) && !proc::serving(address).is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_manager_is_named_before_its_service_and_the_first_process_before_others() {
        let user = Holder::Systemd { user: true };
        let process = |text: &str| Holder::Process(text.to_owned());
        let activator = "systemd-socket-activate (pid 4)".to_owned();
        for (processes, holder) in [
            (&[][..], Holder::Unknown),
            (&[(9, "serve"), (1, "systemd")], Holder::Systemd { user: false }),
            (&[(800, "systemd")], user),
            (&[(4, "systemd-socket-")], Holder::Activator(activator)),
            (&[(1, "catatonit")], process("catatonit (pid 1)")),
            (&[(9, "worker"), (8, "main")], process("main (pid 8, and others)")),
        ] {
            let of = |&(pid, name): &(u32, &str)| Process { pid, parent: 0, name: name.into() };
            assert_eq!(Holder::among(processes.iter().map(of).collect()), holder);
        }
    }

    #[test]
    fn only_what_can_be_bound_here_is_local() {
        for (address, expected) in [
            ("tcp:127.0.0.1:1", true),
            ("udp:127.9.9.9:1", true),
            ("unix:/s", true),
            ("tcp:192.0.2.1:1", false),
            ("tcp:localhost:1", false),
            ("vsock:3:1", false),
        ] {
            assert_eq!(is_local(&address.parse().unwrap()), expected, "{address}");
        }
    }
}
