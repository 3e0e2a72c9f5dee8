//! The sockets of this network namespace, by their addresses.

use std::ffi::OsStr;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::ffi::OsStrExt;

use socket2::SockAddr;

use super::{Socket, diag};
use crate::address::{Address, KINDS, Kind, Style, Transport, UnixName};

/// The sockets that have `address`, or a wildcard address that includes it or is included in it.
/// None for vsock and SCTP, which the kernel does not list, and none for unix(7) if the kernel
/// lacks sock_diag(7) for it. All types of unix sockets share the paths; each type has its own
/// abstract names.
pub fn sockets_at(address: &Address) -> Vec<Socket> {
    if let Address::Unix(style, name) = address {
        let found = diag::sockets_of(std::slice::from_ref(name)).unwrap_or_default();
        let is_there = |found: &Style| found == style || matches!(name, UnixName::Path(_));
        return found.into_iter().filter(|found| is_there(&found.1)).map(|found| found.2).collect();
    }
    listed_at(address).map(|(_, socket)| socket).collect()
}

/// Those of them that clients of `address` reach: the kernel prefers a socket that has the address
/// itself to one of the wildcard address of its IP version, and that to one of `::`.
pub fn serving(address: &Address) -> Vec<Socket> {
    if let Address::Unix(..) = address {
        return sockets_at(address).into_iter().filter(|socket| socket.serves).collect();
    }
    let rank = |ip: IpAddr| (ip.is_unspecified(), ip.is_unspecified() && ip.is_ipv6());
    let found: Vec<_> = listed_at(address).filter(|(_, socket)| socket.serves).collect();
    let first = found.iter().map(|(held, _)| rank(held.ip())).min();
    let reached = found.into_iter().filter(|(held, _)| Some(rank(held.ip())) == first);
    reached.map(|(_, socket)| socket).collect()
}

fn listed_at(address: &Address) -> impl Iterator<Item = (SocketAddr, Socket)> {
    let resolved = address.resolve().unwrap_or_default();
    let wanted: Vec<_> = resolved.iter().filter_map(SockAddr::as_socket).collect();
    let port = wanted.first().map(SocketAddr::port);
    let listed = port.map(|port| listed(address.kind(), port)).unwrap_or_default();
    let is_there = move |held: SocketAddr| wanted.iter().any(|wanted| overlap(held, *wanted));
    listed.into_iter().filter(move |(held, _)| is_there(*held))
}

/// The addresses of reachable sockets that somebody may have meant by `address`: for IP the same
/// port; for unix(7) the same name with another type, or as a path instead of an abstract name and
/// vice versa. `address` may be one of them. None for vsock.
pub fn served_alike(address: &Address) -> Vec<Address> {
    match address {
        Address::Inet(_, _, port) => served_on_port(address.kind(), *port),
        Address::Unix(_, name) => {
            let names = alike(name);
            let found = diag::sockets_of(&names).unwrap_or_default().into_iter();
            let served = found.filter(|(_, _, socket)| socket.serves);
            served.map(|(name, style, _)| Address::Unix(style, name.clone())).collect()
        }
        Address::Vsock(..) | Address::VsockMux(..) => Vec::new(),
    }
}

/// Reads each table once, for `first` if it is the table of `first`: TCP and Multipath TCP share
/// one.
fn served_on_port(first: &'static Kind, port: u16) -> Vec<Address> {
    let mut kinds = vec![first];
    for kind in &KINDS {
        if kinds.iter().all(|other| other.proc_net != kind.proc_net) {
            kinds.push(kind);
        }
    }
    let mut found = Vec::new();
    for kind in kinds {
        let Transport::Inet(inet) = kind.transport else { continue };
        for (at, socket) in listed(kind, port) {
            if socket.serves {
                let at = SocketAddr::new(at.ip().to_canonical(), port);
                found.push(Address::from_ip(inet, at));
            }
        }
    }
    found
}

/// The name itself, and the name with a `@` added or removed in front.
fn alike(name: &UnixName) -> Vec<UnixName> {
    let mut names = vec![name.clone()];
    match name {
        UnixName::Path(path) => {
            let parts = [Some(path.as_os_str()), path.file_name()].into_iter().flatten();
            names.extend(parts.map(|part| UnixName::Abstract(part.as_bytes().to_vec())));
        }
        // A path cannot contain a NUL.
        UnixName::Abstract(name) if !name.contains(&0) => {
            names.push(UnixName::Path(OsStr::from_bytes(name).into()));
        }
        UnixName::Abstract(_) => {}
    }
    names
}

/// The sockets of a kind that have the port, with their addresses; none if the kernel does not list
/// the kind.
fn listed(kind: &Kind, port: u16) -> Vec<(SocketAddr, Socket)> {
    /// The states of linux/tcp_states.h, which UDP's tables use too.
    const LISTENING: &str = "0A";
    const UNCONNECTED: &str = "07";
    let serving = if kind.style == Style::Datagram { UNCONNECTED } else { LISTENING };
    let mut found = Vec::new();
    // A read gets a page at a time, and the kernel counts UDP sockets from the first one to find
    // the next page: if one of those was closed meanwhile, a row is passed over. So each table is
    // read twice.
    let tables = kind.proc_net.into_iter().flatten();
    for table in tables.clone().chain(tables) {
        // These tables contain no text that a user chose.
        let table = fs::read_to_string(format!("/proc/net/{table}")).unwrap_or_default();
        let rows = table.lines().filter_map(|row| parse(row, serving));
        for row in rows.filter(|(held, _)| held.port() == port) {
            if !found.contains(&row) {
                found.push(row);
            }
        }
    }
    found
}

fn overlap(one: SocketAddr, other: SocketAddr) -> bool {
    let takes_in = |wildcard: IpAddr, ip: IpAddr| {
        wildcard.is_unspecified() && (wildcard.is_ipv6() || ip.is_ipv4())
    };
    // An IPv6 socket can have an IPv4-mapped address.
    let [a, b] = [one, other].map(|address| address.ip().to_canonical());
    one.port() == other.port() && (a == b || takes_in(a, b) || takes_in(b, a))
}

/// A row of proc_net_tcp(5): ` 0: 0100007F:0BB8 00000000:0000 0A … inode`.
fn parse(row: &str, serving: &str) -> Option<(SocketAddr, Socket)> {
    let fields: Vec<_> = row.split_ascii_whitespace().collect();
    let &[_, local, _, state, _, _, _, _, _, inode, ..] = fields.as_slice() else { return None };
    let (ip, port) = local.split_once(':')?;
    let local = SocketAddr::new(ip_addr(ip)?, u16::from_str_radix(port, 16).ok()?);
    Some((local, Socket { serves: state == serving, inode: inode.parse().ok()? }))
}

/// The kernel prints each 32-bit word of an address as a number in native byte order.
fn ip_addr(text: &str) -> Option<IpAddr> {
    let word = |at| u32::from_str_radix(text.get(at..at + 8)?, 16).ok().map(u32::to_ne_bytes);
    let words: Option<Vec<_>> = (0..text.len()).step_by(8).map(word).collect();
    let bytes = words?.concat();
    let v4 = <[u8; 4]>::try_from(&bytes[..]).map(|ip| Ipv4Addr::from(ip).into());
    let v6 = || <[u8; 16]>::try_from(&bytes[..]).map(|ip| Ipv6Addr::from(ip).into());
    v4.or_else(|_| v6()).ok()
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, UdpSocket};
    use std::os::fd::{AsFd, BorrowedFd};
    use std::os::unix::net::{UnixDatagram, UnixListener};

    use proptest::prelude::*;
    use socket2::SockRef;

    use super::super::holders;
    use super::*;

    /// The address as the kernel prints it.
    fn printed(ip: IpAddr) -> String {
        let bytes = match ip {
            IpAddr::V4(ip) => ip.octets().to_vec(),
            IpAddr::V6(ip) => ip.octets().to_vec(),
        };
        let words = bytes.chunks_exact(4).map(|word| u32::from_ne_bytes(word.try_into().unwrap()));
        words.map(|word| format!("{word:08X}")).collect()
    }

    proptest! {
        #[test]
        fn a_row_is_read_as_it_was_printed(ip: IpAddr, port: u16, state: u8, inode: u32) {
            let row = format!(
                "{inode:4}: {}:{port:04X} {}:0000 {state:02X} 00000000:00000000 00:00000000 \
                 00000000     0        0 {inode} 1 0000000000000000 100 0 0 10 0",
                printed(ip),
                printed(ip),
            );
            let socket = Socket { serves: state == 10, inode: inode.into() };
            prop_assert_eq!(parse(&row, "0A"), Some((SocketAddr::new(ip, port), socket)));
        }

        #[test]
        fn any_text_is_read_without_a_panic(text: String, ip: String) {
            let _ = (parse(&text, "0A"), parse(&format!("0: {ip}:1 0:0 0A 0 0 0 0 0 0 7"), "0A"));
        }
    }

    #[test]
    fn what_is_no_row_is_none() {
        for row in ["  sl  local_address rem_address   st", "0: 0:1 0:0 0A 0 0 0 0 0 7", ""] {
            assert_eq!(parse(row, "0A"), None, "{row}");
        }
    }

    /// Each socket is found by its address and by the same port of the other hosts, and belongs to
    /// this process.
    fn are_found(sockets: &[(BorrowedFd<'_>, &[&str])]) {
        for (fd, others) in sockets {
            let own = Address::of_socket(fd).expect("it has a name").expect("an address");
            let same_port = |host: &&str| {
                let port = SockRef::from(&fd).local_addr().ok()?.as_socket()?.port();
                format!("{}:{host}:{port}", own.scheme()).parse().ok()
            };
            let inode = rustix::fs::fstat(fd).expect("fstat").st_ino;
            for address in others.iter().filter_map(same_port).chain([own.clone()]) {
                let found = sockets_at(&address);
                assert!(found.contains(&Socket { serves: true, inode }), "{address}: {found:?}");
                assert!(holders(&found).contains(&std::process::id()), "{address}");
            }
        }
    }

    #[test]
    fn sockets_of_the_internet_are_found_with_their_process() {
        let tcp4 = TcpListener::bind("127.0.0.1:0").expect("bind");
        let tcp6 = TcpListener::bind("[::]:0").expect("bind");
        let udp4 = UdpSocket::bind("0.0.0.0:0").expect("bind");
        are_found(&[
            (tcp4.as_fd(), &["0.0.0.0", "[::]"]),
            (tcp6.as_fd(), &["[::1]", "127.0.0.1"]),
            (udp4.as_fd(), &["127.0.0.1"]),
        ]);
    }

    #[test]
    fn unix_sockets_are_found_with_their_process() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let stream = UnixListener::bind(dir.path().join("a b")).expect("bind");
        // The path has a newline, and then a row of the kernel's table for the name `v`.
        let row = dir.path().join("\n0: 2 0 10000 1 1 4711 ");
        std::fs::create_dir(&row).expect("a directory");
        let dgram = UnixDatagram::bind(row.join("v")).expect("bind");
        are_found(&[(stream.as_fd(), &[]), (dgram.as_fd(), &[])]);
        assert_eq!(sockets_at(&"unix:/v".parse().expect("an address")), []);
    }

    #[test]
    fn a_path_leads_to_no_socket_whose_file_is_gone() {
        // On tmpfs the numbers of the files are those that the kernel has.
        let dir = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir());
        let path = dir.as_ref().expect("a temporary directory").path().join("s");
        let address = Address::Unix(Style::Stream, UnixName::Path(path.clone()));
        let _old = UnixListener::bind(&path).expect("bind");
        std::fs::remove_file(&path).expect("remove");
        assert_eq!((sockets_at(&address), served_alike(&address)), (vec![], vec![]));
        let _guard = crate::testing::without_other_processes();
        drop(UnixListener::bind(&path).expect("bind"));
        assert_eq!(sockets_at(&address), [], "the file is left over");
        std::fs::remove_file(&path).expect("remove");
        let new = UnixListener::bind(&path).expect("bind");
        let inode = rustix::fs::fstat(&new).expect("fstat").st_ino;
        assert_eq!(sockets_at(&address), [Socket { serves: true, inode }]);
    }

    #[test]
    fn the_socket_that_clients_reach_is_the_one_with_the_address() {
        let bind = |ip: &str, port: u16| {
            let at: SocketAddr = SocketAddr::new(ip.parse().expect("an address"), port);
            let domain = socket2::Domain::for_address(at);
            let socket = socket2::Socket::new(domain, socket2::Type::DGRAM, None).expect("socket");
            socket.set_reuse_address(true).expect("SO_REUSEADDR");
            socket.bind(&at.into()).map(|()| socket)
        };
        let loopback = bind("127.0.0.1", 0).expect("bind");
        let port = loopback.local_addr().expect("a name").as_socket().expect("IP").port();
        // Somebody else may have the port of the wildcard address.
        let all = ["0.0.0.0", "::"].map(|ip| bind(ip, port));
        let inode = |fd: &socket2::Socket| rustix::fs::fstat(fd).expect("fstat").st_ino;
        let at = |ip: &str| serving(&format!("udp:{ip}:{port}").parse().expect("an address"));
        let only = |fd| [Socket { serves: true, inode: inode(fd) }];
        assert_eq!(at("127.0.0.1"), only(&loopback));
        if let [Ok(v4), v6] = &all {
            assert_eq!(at("127.0.0.2"), only(v4));
            if let Ok(v6) = v6 {
                assert_eq!(at("[::1]"), only(v6));
            }
        }
    }
}
