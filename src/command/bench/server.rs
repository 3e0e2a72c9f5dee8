//! The server's process, if it runs on this machine: who holds the socket, what it uses.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use socket2::SockAddr;

use super::settings::Settings;
use super::target::Target;
use crate::address::{Address, Inet, Style, UnixName};

/// The processes that serve an address.
#[derive(Debug)]
pub(super) struct Server {
    pids: Vec<u32>,
}

/// CPU time, user and system together.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cpu {
    /// Nanoseconds on a CPU, of all threads and children that are still there.
    pub(super) nanoseconds: u64,
}

impl Cpu {
    /// What was used since `start`.
    pub(super) fn since(self, start: Self) -> Self {
        Self { nanoseconds: self.nanoseconds.saturating_sub(start.nanoseconds) }
    }
}

impl Server {
    /// The server of `target`: the process that `--server-pid` names, or whoever holds the socket
    /// as far as `/proc` shows it. `None` on another machine or without the permission to look.
    pub(super) fn find(target: &Target, settings: &Settings) -> Option<Self> {
        if let Some(pid) = settings.server_pid {
            return Some(Self { pids: vec![pid] });
        }
        let inodes = match &target.address {
            Address::Inet(..) => inet_inodes(&target.address),
            Address::Unix(style, name) => unix_inodes(*style, name),
            Address::Vsock(..) | Address::VsockMux(..) => return None,
        };
        let mut pids = holders(&inodes);
        pids.retain(|pid| *pid != std::process::id());
        // A service manager keeps the socket that it hands over: only the last of a line of
        // processes that hold it serves it.
        let parents: BTreeSet<u32> = pids.iter().flat_map(|pid| ancestors(*pid)).collect();
        pids.retain(|pid| !parents.contains(pid));
        (!pids.is_empty()).then_some(Self { pids })
    }

    /// What its threads and the children that are still there have used so far.
    pub(super) fn cpu(&self) -> Option<Cpu> {
        let mut children = children();
        let mut nanoseconds = None;
        let mut rest = self.pids.clone();
        while let Some(pid) = rest.pop() {
            if let Some(used) = cpu_of(pid) {
                nanoseconds = Some(nanoseconds.unwrap_or(0) + used);
            }
            // Taken, so that numbers that were given anew while they were read make no circle.
            rest.extend(children.remove(&pid).into_iter().flatten());
        }
        nanoseconds.map(|nanoseconds| Cpu { nanoseconds })
    }

    /// Bytes of memory that are resident for it, and those of them that no file backs.
    pub(super) fn memory(&self) -> Option<(u64, u64)> {
        let mut sum = (0, 0);
        for pid in &self.pids {
            // The counters of /proc/PID/status lag behind by some pages for each CPU; this adds up
            // the page tables themselves.
            let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
            sum.0 += kilobytes(&text, "Rss:")? * 1024;
            sum.1 += kilobytes(&text, "Anonymous:")? * 1024;
        }
        Some(sum)
    }
}

fn kilobytes(text: &str, key: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(key))?;
    line.trim().trim_end_matches("kB").trim().parse().ok()
}

/// `/proc/PID/task/TID/schedstat` counts in nanoseconds, `/proc/PID/stat` in ticks of 10 ms.
fn cpu_of(pid: u32) -> Option<u64> {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).ok()?;
    let used = threads.flatten().filter_map(|thread| {
        let text = fs::read_to_string(thread.path().join("schedstat")).ok()?;
        text.split_whitespace().next()?.parse::<u64>().ok()
    });
    Some(used.sum())
}

fn processes() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

fn children() -> BTreeMap<u32, Vec<u32>> {
    let mut children = BTreeMap::<u32, Vec<u32>>::new();
    for pid in processes() {
        if let Some(parent) = parent(pid) {
            children.entry(parent).or_default().push(pid);
        }
    }
    children
}

fn parent(pid: u32) -> Option<u32> {
    let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
    parent_in(&stat)
}

/// The name in parentheses is whatever bytes the process chose, parentheses too.
fn parent_in(stat: &[u8]) -> Option<u32> {
    let end = stat.iter().rposition(|byte| *byte == b')')?;
    std::str::from_utf8(&stat[end + 1..]).ok()?.split_whitespace().nth(1)?.parse().ok()
}

fn ancestors(pid: u32) -> Vec<u32> {
    std::iter::successors(parent(pid), |pid| parent(*pid)).take_while(|pid| *pid != 0).collect()
}

fn holders(inodes: &BTreeSet<u64>) -> Vec<u32> {
    let links: BTreeSet<_> = inodes.iter().map(|inode| format!("socket:[{inode}]")).collect();
    let holds = |pid: &u32| {
        let fds = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
        fds.filter_map(|fd| fs::read_link(fd.path()).ok())
            .any(|link| link.to_str().is_some_and(|link| links.contains(link)))
    };
    if links.is_empty() { Vec::new() } else { processes().filter(holds).collect() }
}

fn inet_inodes(address: &Address) -> BTreeSet<u64> {
    let servers: Vec<_> = address.to_client().resolve().unwrap_or_default();
    let servers: Vec<_> = servers.iter().filter_map(SockAddr::as_socket).collect();
    /// The states of linux/tcp_states.h, which UDP's table uses too.
    const LISTENING: &str = "0A";
    const UNCONNECTED: &str = "07";
    let (tables, state) = match address {
        Address::Inet(Inet::Udp, ..) => (["/proc/net/udp", "/proc/net/udp6"], UNCONNECTED),
        Address::Inet(Inet::Udplite, ..) => {
            (["/proc/net/udplite", "/proc/net/udplite6"], UNCONNECTED)
        }
        _ => (["/proc/net/tcp", "/proc/net/tcp6"], LISTENING),
    };
    let mut inodes = BTreeSet::new();
    for table in tables {
        let text = fs::read_to_string(Path::new(table)).unwrap_or_default();
        for line in text.lines().skip(1) {
            let fields: Vec<_> = line.split_whitespace().collect();
            let &[_, local, _, socket_state, _, _, _, _, _, inode, ..] = fields.as_slice() else {
                continue;
            };
            let serves = |local| servers.iter().any(|server| serves(local, *server));
            if socket_state == state && socket_addr(local).is_some_and(serves) {
                inodes.extend(inode.parse::<u64>());
            }
        }
    }
    inodes
}

fn serves(local: SocketAddr, server: SocketAddr) -> bool {
    local.port() == server.port()
        && (local.ip().is_unspecified() || local.ip().to_canonical() == server.ip().to_canonical())
}

/// `0100007F:0BB8` and its IPv6 form: 32-bit words in the machine's own byte order.
fn socket_addr(text: &str) -> Option<SocketAddr> {
    let (ip, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let mut bytes = Vec::with_capacity(16);
    for at in (0..ip.len()).step_by(8) {
        let word = u32::from_str_radix(ip.get(at..at + 8)?, 16).ok()?;
        bytes.extend_from_slice(&word.to_ne_bytes());
    }
    let ip: IpAddr = match bytes.len() {
        4 => Ipv4Addr::from(<[u8; 4]>::try_from(bytes).ok()?).into(),
        16 => Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?).into(),
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

fn unix_inodes(style: Style, name: &UnixName) -> BTreeSet<u64> {
    let table = fs::read("/proc/net/unix").unwrap_or_default();
    let lines = table.split(|byte| *byte == b'\n').skip(1);
    lines.filter_map(|line| serving_inode(line, style, name)).collect()
}

/// The inode of a line of `/proc/net/unix` if it is of a socket of this name that clients can
/// reach. It is no text: a name is whatever bytes a process of this machine chose, and ends with
/// the line.
fn serving_inode(line: &[u8], style: Style, name: &UnixName) -> Option<u64> {
    /// `__SO_ACCEPTCON` of linux/net.h: the socket listens.
    const LISTENING: u32 = 1 << 16;
    let mut rest = line;
    let mut field = || {
        let start = rest.iter().position(|byte| *byte != b' ')?;
        let field = &rest[start..];
        let end = field.iter().position(|byte| *byte == b' ').unwrap_or(field.len());
        let (field, after) = field.split_at(end);
        rest = after;
        std::str::from_utf8(field).ok()
    };
    let [_, _, _, flags, _, _, inode] = std::array::from_fn(|_| field());
    let flags = u32::from_str_radix(flags?, 16).ok()?;
    let is_role = style == Style::Datagram || flags & LISTENING != 0;
    // One blank, and then the name with all of its own.
    (is_role && rest.strip_prefix(b" ")? == in_table(name)).then(|| inode?.parse().ok())?
}

/// The name as the kernel's table has it, with an at sign for each NUL.
fn in_table(name: &UnixName) -> Vec<u8> {
    match name {
        UnixName::Path(path) => path.as_os_str().as_bytes().to_vec(),
        UnixName::Abstract(name) => {
            let visible = name.iter().map(|byte| if *byte == 0 { b'@' } else { *byte });
            std::iter::once(b'@').chain(visible).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_endian = "little")]
    fn the_kernels_socket_addresses_are_read() {
        assert_eq!(socket_addr("0100007F:0BB8"), "127.0.0.1:3000".parse().ok());
        let v6 = "00000000000000000000000001000000:0BB8";
        assert_eq!(socket_addr(v6), "[::1]:3000".parse().ok());
        assert_eq!(socket_addr("nonsense"), None);
    }

    #[test]
    fn names_that_are_no_text_hide_no_socket() {
        let line = |flags: &str, name: &[u8]| {
            let fields = format!("0000000000000000: 00000002 00000000 {flags} 0001 01    77 ");
            [fields.as_bytes(), name].concat()
        };
        let listening = |name: &[u8]| line("00010000", name);
        let bytes = std::ffi::OsStr::from_bytes;
        for (line, style, name, inode) in [
            (listening(b"/run/s"), Style::Stream, UnixName::Path("/run/s".into()), Some(77)),
            (line("00000000", b"/run/s"), Style::Stream, UnixName::Path("/run/s".into()), None),
            (line("0", b"/run/s"), Style::Datagram, UnixName::Path("/run/s".into()), Some(77)),
            (listening(b"/a  b "), Style::Stream, UnixName::Path("/a  b ".into()), Some(77)),
            (listening(b"/a b "), Style::Stream, UnixName::Path("/a  b ".into()), None),
            (listening(b"/\xff"), Style::Stream, UnixName::Path(bytes(b"/\xff").into()), Some(77)),
            (listening(b"@\xff@"), Style::Stream, UnixName::Abstract(b"\xff\0".into()), Some(77)),
            (listening(b"@s"), Style::Stream, UnixName::Path("@s".into()), Some(77)),
            (listening(b""), Style::Stream, UnixName::Path("".into()), Some(77)),
            (b"0: 2 0 00010000 1 1 77".to_vec(), Style::Stream, UnixName::Path("".into()), None),
            (b"\xff \xfe".to_vec(), Style::Stream, UnixName::Path("/run/s".into()), None),
            (vec![], Style::Stream, UnixName::Path("/run/s".into()), None),
        ] {
            let shown = line.escape_ascii();
            assert_eq!(serving_inode(&line, style, &name), inode, "{shown} {name}");
        }
    }

    #[test]
    fn a_process_may_have_any_name() {
        for stat in [&b"7 (a) S 3 7"[..], b"7 (a) S 9) S 3 7", b"7 (\xff\n) S 3 7"] {
            assert_eq!(parent_in(stat), Some(3), "{}", stat.escape_ascii());
        }
        assert_eq!(parent_in(b"7 (a"), None);
    }

    #[test]
    fn our_own_cpu_time_and_memory_can_be_seen() {
        let this = Server { pids: vec![std::process::id()] };
        assert!(this.cpu().unwrap().nanoseconds > 0);
        let (resident, anonymous) = this.memory().unwrap();
        assert!(resident >= anonymous && anonymous > 0);
    }
}
