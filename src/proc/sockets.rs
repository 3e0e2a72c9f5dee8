//! The sockets of this network namespace, with their names and their inode numbers.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::diag;
use crate::address::{Address, Inet, UnixName};

/// A socket of whichever process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Socket {
    /// What it is bound to.
    pub local: Local,
    /// Whether clients can reach it: it listens, or is a datagram socket without a peer.
    pub serves: bool,
    /// The number by which [`holders`](super::holders) finds its processes.
    pub inode: u64,
}

/// The local name of a socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Local {
    /// An IP address and port. IPv4 is shown as such, also where the socket is one of IPv6.
    Ip(SocketAddr),
    /// A unix socket's path, as it was bound, or abstract name.
    Unix(UnixName),
}

/// The sockets of the family and the protocol of `address`, as far as the kernel tells: none of
/// vsock and SCTP, and unix sockets only where it has sock_diag(7) for them.
pub fn sockets_like(address: &Address) -> Vec<Socket> {
    /// The states of linux/tcp_states.h, which UDP's tables use too.
    const LISTENING: &str = "0A";
    const UNCONNECTED: &str = "07";
    let (tables, serving) = match address {
        Address::Inet(Inet::Tcp | Inet::Mptcp, ..) => (["tcp", "tcp6"], LISTENING),
        Address::Inet(Inet::Udp, ..) => (["udp", "udp6"], UNCONNECTED),
        Address::Inet(Inet::Udplite, ..) => (["udplite", "udplite6"], UNCONNECTED),
        Address::Unix(..) => return diag::named_sockets().unwrap_or_default(),
        Address::Inet(Inet::Sctp | Inet::SctpSeqpacket, ..)
        | Address::Vsock(..)
        | Address::VsockMux(..) => return Vec::new(),
    };
    let mut found = Vec::new();
    for table in tables {
        // Nobody chooses a text in these tables.
        let table = fs::read_to_string(format!("/proc/net/{table}")).unwrap_or_default();
        found.extend(table.lines().filter_map(|row| parse(row, serving)));
    }
    found
}

/// A row of proc_net_tcp(5): ` 0: 0100007F:0BB8 00000000:0000 0A … inode`.
fn parse(row: &str, serving: &str) -> Option<Socket> {
    let fields: Vec<_> = row.split_ascii_whitespace().collect();
    let &[_, local, _, state, _, _, _, _, _, inode, ..] = fields.as_slice() else { return None };
    let (ip, port) = local.split_once(':')?;
    let local = SocketAddr::new(ip_addr(ip)?, u16::from_str_radix(port, 16).ok()?);
    Some(Socket { local: Local::Ip(local), serves: state == serving, inode: inode.parse().ok()? })
}

/// The kernel prints each 32-bit word of an address as a number of its own byte order.
fn ip_addr(text: &str) -> Option<IpAddr> {
    let word = |at| u32::from_str_radix(text.get(at..at + 8)?, 16).ok().map(u32::to_ne_bytes);
    let words: Option<Vec<_>> = (0..text.len()).step_by(8).map(word).collect();
    let bytes = words?.concat();
    let v4 = <[u8; 4]>::try_from(&bytes[..]).map(|ip| Ipv4Addr::from(ip).into());
    let v6 = || <[u8; 16]>::try_from(&bytes[..]).map(|ip| Ipv6Addr::from(ip).to_canonical());
    v4.or_else(|_| v6()).ok()
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use proptest::prelude::*;

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
            let local = Local::Ip(SocketAddr::new(ip.to_canonical(), port));
            let socket = Socket { local, serves: state == 10, inode: inode.into() };
            prop_assert_eq!(parse(&row, "0A"), Some(socket));
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

    #[test]
    fn a_path_that_holds_a_row_of_the_table_is_one_socket() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let victim = dir.path().join("v");
        // Within the 108 bytes of a path there is room for a row that ends with `/v`.
        let forged = dir.path().join("\n0: 2 0 10000 1 1 4711 ");
        std::fs::create_dir(&forged).expect("a directory");
        let held = [victim, forged.join("v")].map(|path| {
            let socket = UnixListener::bind(&path).expect("bind");
            (Local::Unix(UnixName::Path(path)), socket)
        });
        let sockets = sockets_like(&"unix:/v".parse().expect("an address"));
        for (local, socket) in &held {
            let inode = rustix::fs::fstat(socket).expect("fstat").st_ino;
            let found: Vec<_> = sockets.iter().filter(|socket| socket.local == *local).collect();
            assert_eq!(found, [&Socket { local: local.clone(), serves: true, inode }]);
        }
        assert!(sockets.iter().all(|socket| socket.inode != 4711), "{sockets:?}");
    }
}
