//! Who has an address that cannot be bound: from /proc/net to an inode, from there to a process.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;

use crate::activation::Ancestor;
use crate::address::{Address, Host, Inet, UnixName};

/// The processes that hold the address, as far as this user may see them.
pub(super) fn of(address: &Address) -> Vec<Ancestor> {
    let inodes = match address {
        Address::Inet(inet, host, port) => inet_inodes(*inet, host, *port),
        Address::Unix(_, name) => unix_inodes(name),
        // The kernel lists vsock sockets only through netlink.
        Address::Vsock(..) | Address::VsockMux(..) => Vec::new(),
    };
    if inodes.is_empty() { Vec::new() } else { processes(&inodes) }
}

fn inet_inodes(inet: Inet, host: &Host, port: u16) -> Vec<u64> {
    let wanted = match host {
        Host::V4(ip) => IpAddr::V4(*ip),
        Host::V6(ip, _) => IpAddr::V6(*ip),
        Host::Name(_) => return Vec::new(),
    };
    let tables: [&str; 2] = match inet {
        Inet::Tcp | Inet::Mptcp => ["tcp", "tcp6"],
        Inet::Udp => ["udp", "udp6"],
        Inet::Udplite => ["udplite", "udplite6"],
        Inet::Sctp | Inet::SctpSeqpacket => return Vec::new(),
    };
    let mut inodes = Vec::new();
    for table in tables {
        let text = fs::read_to_string(Path::new("/proc/net").join(table)).unwrap_or_default();
        let rows = text.lines().skip(1).filter_map(parse_inet);
        inodes.extend(
            rows.filter(|row| row.port == port && excludes(row.ip, wanted)).map(|row| row.inode),
        );
    }
    inodes
}

/// Whether a socket on `held` keeps another one from `wanted`: the same address, or a wildcard.
fn excludes(held: IpAddr, wanted: IpAddr) -> bool {
    let is_wildcard = |ip: IpAddr, other: IpAddr| match ip {
        IpAddr::V4(ip) => ip.is_unspecified() && other.is_ipv4(),
        IpAddr::V6(ip) => ip.is_unspecified(),
    };
    held == wanted || is_wildcard(held, wanted) || is_wildcard(wanted, held)
}

struct InetRow {
    ip: IpAddr,
    port: u16,
    inode: u64,
}

/// A row of proc_net_tcp(5): ` 0: 0100007F:0BB8 00000000:0000 0A … inode`. The kernel prints each
/// 32-bit word of the address as a number of its own byte order.
fn parse_inet(line: &str) -> Option<InetRow> {
    let fields: Vec<_> = line.split_ascii_whitespace().collect();
    let (ip, port) = fields.get(1)?.split_once(':')?;
    let word = |index: usize| -> Option<[u8; 4]> {
        Some(u32::from_str_radix(ip.get(8 * index..8 * index + 8)?, 16).ok()?.to_ne_bytes())
    };
    let ip = if ip.len() == 8 {
        IpAddr::V4(Ipv4Addr::from(word(0)?))
    } else {
        let mut bytes = [0; 16];
        for (index, bytes) in bytes.chunks_exact_mut(4).enumerate() {
            bytes.copy_from_slice(&word(index)?);
        }
        let ip = Ipv6Addr::from(bytes);
        ip.to_ipv4_mapped().map_or(IpAddr::V6(ip), IpAddr::V4)
    };
    let port = u16::from_str_radix(port, 16).ok()?;
    Some(InetRow { ip, port, inode: fields.get(9)?.parse().ok()? })
}

/// The rows of proc_net_unix(5) with the name: `ffff… 00000002 00000000 00010000 0001 01 23 /path`.
fn unix_inodes(name: &UnixName) -> Vec<u64> {
    let wanted = match name {
        UnixName::Path(path) => path.to_string_lossy().into_owned(),
        UnixName::Abstract(name) => format!("@{}", String::from_utf8_lossy(name)),
    };
    let table = fs::read("/proc/net/unix").unwrap_or_default();
    let table = String::from_utf8_lossy(&table);
    let rows = table.lines().filter_map(parse_unix);
    rows.filter(|(_, name)| *name == wanted).map(|(inode, _)| inode).collect()
}

/// The columns are aligned with spaces; the name is the rest of the line and may have some too.
fn parse_unix(line: &str) -> Option<(u64, &str)> {
    const COLUMNS_BEFORE_INODE: usize = 6;
    let mut rest = line;
    for _ in 0..COLUMNS_BEFORE_INODE {
        rest = rest.trim_start().split_once(' ')?.1;
    }
    let (inode, name) = rest.trim_start().split_once(' ')?;
    Some((inode.parse().ok()?, name))
}

/// The processes that have one of the sockets open. One user does not see another's.
fn processes(inodes: &[u64]) -> Vec<Ancestor> {
    let links: Vec<_> = inodes.iter().map(|inode| format!("socket:[{inode}]")).collect();
    let has_one = |pid: u32| {
        let fds = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
        fds.filter_map(|fd| fs::read_link(fd.path()).ok())
            .any(|link| links.iter().any(|wanted| link.as_os_str() == wanted.as_str()))
    };
    let proc = fs::read_dir("/proc").into_iter().flatten().flatten();
    proc.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|&pid| has_one(pid))
        .filter_map(Ancestor::of)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_of_this_process_are_found() {
        use std::net::{TcpListener, UdpSocket};
        use std::os::unix::net::{UnixDatagram, UnixListener};
        let dir = tempfile::tempdir().expect("a temporary directory");
        let tcp4 = TcpListener::bind("127.0.0.1:0").expect("bind");
        let tcp6 = TcpListener::bind("[::]:0").expect("bind");
        let udp4 = UdpSocket::bind("0.0.0.0:0").expect("bind");
        let (stream, dgram) = (dir.path().join("a b"), dir.path().join("d"));
        let _stream = UnixListener::bind(&stream).expect("bind");
        let _dgram = UnixDatagram::bind(&dgram).expect("bind");
        let port = |addr: std::io::Result<std::net::SocketAddr>| addr.expect("an address").port();
        for address in [
            format!("tcp:127.0.0.1:{}", port(tcp4.local_addr())),
            format!("tcp:0.0.0.0:{}", port(tcp4.local_addr())),
            format!("tcp:[::]:{}", port(tcp6.local_addr())),
            format!("tcp:127.0.0.1:{}", port(tcp6.local_addr())),
            format!("udp:127.0.0.1:{}", port(udp4.local_addr())),
            format!("unix:{}", stream.display()),
            format!("unix-dgram:{}", dgram.display()),
        ] {
            let holders = of(&address.parse().expect("parses"));
            let pids: Vec<_> = holders.iter().map(|process| process.pid).collect();
            assert!(pids.contains(&std::process::id()), "{address}: {pids:?}");
        }
    }

    #[test]
    fn rows_of_the_kernel() {
        let row = parse_inet(
            "   1: 0000000000000000FFFF00000100007F:0BB8 00000000000000000000000000000000:0000 0A \
             00000000:00000000 00:00000000 00000000     0        0 4711 1 0 100 0 0 10 0",
        )
        .filter(|_| cfg!(target_endian = "little"));
        if let Some(row) = row {
            assert_eq!((row.ip, row.port, row.inode), ([127, 0, 0, 1].into(), 3000, 4711));
        }
        assert!(parse_inet("  sl  local_address rem_address").is_none());
        let row = "00000000040e0875: 00000003 00000000 00000000 0001 03  1509 /a b";
        assert_eq!(parse_unix(row), Some((1509, "/a b")));
        let unnamed = "00000000040e0875: 00000003 00000000 00000000 0001 03  1509";
        assert_eq!(parse_unix(unnamed), None);
    }
}
