//! The activators: this program's own, systemd's, and the older super-servers.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::process::Command;

use socket_activate_echo::address::Address;
use socket2::{Domain, SockAddr, Socket, Type};

use crate::kit::{Dir, Process, clean, program, program_path};

/// Every kind of socket that this machine's kernel has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Tcp4,
    Tcp6,
    TcpDual,
    Mptcp,
    Udp4,
    Udp6,
    UdpDual,
    UnixStream,
    UnixAbstract,
    UnixDatagram,
    UnixSeqpacket,
}

impl Kind {
    pub(crate) const ALL: [Self; 11] = [
        Self::Tcp4,
        Self::Tcp6,
        Self::TcpDual,
        Self::Mptcp,
        Self::Udp4,
        Self::Udp6,
        Self::UdpDual,
        Self::UnixStream,
        Self::UnixAbstract,
        Self::UnixDatagram,
        Self::UnixSeqpacket,
    ];

    pub(crate) fn is_datagram(self) -> bool {
        matches!(self, Self::Udp4 | Self::Udp6 | Self::UdpDual | Self::UnixDatagram)
    }

    /// The address for our activator, which takes port 0.
    pub(crate) fn address(self, dir: &Dir) -> String {
        let path = dir.path("s").display().to_string();
        match self {
            Self::Tcp4 => "tcp:127.0.0.1:0".to_owned(),
            Self::Tcp6 => "tcp:[::1]:0".to_owned(),
            Self::TcpDual => "tcp:[::]:0".to_owned(),
            Self::Mptcp => "mptcp:127.0.0.1:0".to_owned(),
            Self::Udp4 => "udp:127.0.0.1:0".to_owned(),
            Self::Udp6 => "udp:[::1]:0".to_owned(),
            Self::UdpDual => "udp:[::]:0".to_owned(),
            Self::UnixStream => format!("unix:{path}"),
            Self::UnixAbstract => format!("unix:@{path}"),
            Self::UnixDatagram => format!("unix-dgram:{path}"),
            Self::UnixSeqpacket => format!("unix-seqpacket:{path}"),
        }
    }

    /// The arguments of systemd-socket-activate(1) and the address that clients use; `None` where
    /// it has no such socket.
    fn systemd(self, dir: &Dir) -> Option<(Vec<String>, String)> {
        let path = dir.path("s").display().to_string();
        let (flag, listen, address) = match self {
            Self::Mptcp => return None,
            Self::Tcp4 | Self::Udp4 => {
                let addr = unused_port(self.is_datagram(), Ipv4Addr::LOCALHOST.into()).to_string();
                (None, addr.clone(), addr)
            }
            Self::Tcp6 | Self::Udp6 => {
                let addr = unused_port(self.is_datagram(), Ipv6Addr::LOCALHOST.into()).to_string();
                (None, addr.clone(), addr)
            }
            Self::TcpDual | Self::UdpDual => {
                let addr = unused_port(self.is_datagram(), Ipv6Addr::UNSPECIFIED.into());
                (None, addr.port().to_string(), addr.to_string())
            }
            Self::UnixStream | Self::UnixDatagram => (None, path.clone(), path),
            Self::UnixAbstract => (None, format!("@{path}"), format!("@{path}")),
            Self::UnixSeqpacket => (Some("--seqpacket"), path.clone(), path),
        };
        let flag = if self.is_datagram() { Some("--datagram") } else { flag };
        let mut arguments: Vec<_> = flag.map(str::to_owned).into_iter().collect();
        arguments.extend(["-l".to_owned(), listen]);
        let ours = self.address(dir);
        let scheme = ours.split(':').next().unwrap_or_default();
        Some((arguments, format!("{scheme}:{address}")))
    }
}

/// An address whose port nobody has just now: systemd-socket-activate(1) does not take port 0.
fn unused_port(datagram: bool, ip: IpAddr) -> SocketAddr {
    let addr = SocketAddr::new(ip, 0);
    let r#type = if datagram { Type::DGRAM } else { Type::STREAM };
    let socket = Socket::new(Domain::for_address(addr), r#type, None).expect("a socket");
    socket.bind(&addr.into()).expect("bind");
    socket.local_addr().ok().and_then(|addr| addr.as_socket()).expect("an address")
}

/// A way to hand a socket over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Activator {
    pub(crate) who: Who,
    pub(crate) accept: bool,
    pub(crate) inetd: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Who {
    Ours,
    Systemd,
    Xinetd,
    /// tcpserver(1) of ucspi-tcp.
    Tcpserver,
    /// unixserver(1) of ucspi-unix.
    Unixserver,
    /// s6-ipcserver of s6.
    S6,
}

impl Who {
    /// The program, unless it is ours.
    pub(crate) fn tool(self) -> Option<&'static str> {
        match self {
            Self::Ours => None,
            Self::Systemd => Some("systemd-socket-activate"),
            Self::Xinetd => Some("xinetd"),
            Self::Tcpserver => Some("tcpserver"),
            Self::Unixserver => Some("unixserver"),
            Self::S6 => Some("s6-ipcserver"),
        }
    }
}

impl Activator {
    /// Starts it with the server as its command, and waits until it listens. `None` where it
    /// cannot do that: only ours has Multipath TCP, and datagrams have no connections.
    pub(crate) fn start(self, kind: Kind) -> Option<Active> {
        if self.accept && kind.is_datagram() {
            return None;
        }
        match self.who {
            Who::Ours => Some(self.ours(kind)),
            Who::Systemd => self.systemd(kind, &[program_path()]),
            Who::Xinetd => self.xinetd(kind),
            Who::Tcpserver | Who::Unixserver | Who::S6 => self.ucspi(kind),
        }
    }

    fn flags(self) -> impl Iterator<Item = &'static str> {
        let flags = [(self.accept, "--accept"), (self.inetd, "--inetd")];
        flags.into_iter().filter_map(|(given, flag)| given.then_some(flag))
    }

    fn ours(self, kind: Kind) -> Active {
        let dir = Dir::new();
        let mut command = program();
        command.arg("activate").args(self.flags()).args(["-l", &kind.address(&dir)]);
        Active::ours(dir, &mut command)
    }

    /// systemd-socket-activate(1) with a command, and flags before it.
    pub(crate) fn systemd(self, kind: Kind, command: &[&str]) -> Option<Active> {
        for _ in 0..ATTEMPTS {
            let dir = Dir::new();
            let (arguments, address) = kind.systemd(&dir)?;
            let mut activate = clean("systemd-socket-activate");
            activate.args(self.flags()).args(arguments).args(command);
            let process = Process::start(&mut activate);
            // Somebody else may have taken the port in between.
            if process.stderr_line("Listening on").is_some() {
                let address = address.parse().expect("an address");
                return Some(Active { process, address, dir });
            }
        }
        panic!("{self:?} does not start with {kind:?}");
    }

    /// xinetd(8): `wait = yes` hands over the listening socket, `wait = no` each connection, as
    /// standard input, output and error. It leaves a server that waits behind when it ends, so
    /// setpriv(1) ends that too.
    fn xinetd(self, kind: Kind) -> Option<Active> {
        let flag = match kind {
            Kind::Tcp4 | Kind::Udp4 => "IPv4",
            Kind::Tcp6 | Kind::TcpDual | Kind::Udp6 | Kind::UdpDual => "IPv6",
            _ => return None,
        };
        for _ in 0..ATTEMPTS {
            let dir = Dir::new();
            let scheme = if kind.is_datagram() { "udp" } else { "tcp" };
            let (_, address) = kind.systemd(&dir)?;
            let address: Address = address.parse().expect("an address");
            let addr = address.resolve().expect("an address").remove(0).as_socket()?;
            let (ip, port) = (addr.ip(), addr.port());
            let (socket_type, wait) = (
                if kind.is_datagram() { "dgram" } else { "stream" },
                if self.accept { "no" } else { "yes" },
            );
            let (user, server) = (rustix::process::getuid().as_raw(), program_path());
            let file = dir.path("xinetd.conf");
            let service = format!(
                "service echo-test
                 {{
                     type = UNLISTED
                     socket_type = {socket_type}
                     protocol = {scheme}
                     bind = {ip}
                     port = {port}
                     flags = {flag}
                     wait = {wait}
                     user = {user}
                     server = /usr/bin/setpriv
                     server_args = --pdeathsig TERM {server}
                     cps = 10000 1
                 }}
                 "
            );
            std::fs::write(&file, service).expect("write");
            let mut command = clean("xinetd");
            command.args(["-dontfork", "-filelog", "/dev/stderr", "-f"]).arg(file);
            let process = Process::start(command.arg("-pidfile").arg(dir.path("pid")));
            // Somebody else may have taken the port in between.
            if process.stderr_line("Started working: 1 available service").is_some() {
                return Some(Active { process, address, dir });
            }
        }
        panic!("{self:?} does not start with {kind:?}");
    }

    /// The UCSPI servers: each connection is standard input and output of a server of its own.
    fn ucspi(self, kind: Kind) -> Option<Active> {
        let dir = Dir::new();
        let mut command = clean(self.who.tool()?);
        match (self.who, kind) {
            (Who::Tcpserver, Kind::Tcp4) => command.args(["-1", "-RHl0", "127.0.0.1", "0"]),
            (Who::Unixserver, Kind::UnixStream) => command.arg("-v").arg(dir.path("s")),
            (Who::S6, Kind::UnixStream) => command.arg("-1").arg(dir.path("s")),
            _ => return None,
        };
        let process = Process::start(command.arg(program_path()));
        // Each prints a line once it listens; tcpserver's is the port.
        let said = process.stdout_line("");
        let said = said.unwrap_or_else(|| panic!("not ready: {}", process.describe()));
        let address = match kind {
            Kind::Tcp4 => format!("tcp:127.0.0.1:{said}"),
            _ => kind.address(&dir),
        };
        let address = address.parse().expect("an address");
        Some(Active { process, address, dir })
    }
}

/// How often a port is tried that somebody else may take before it is bound.
const ATTEMPTS: usize = 5;

/// An activator, or the server that took its place, and where it listens.
pub(crate) struct Active {
    pub(crate) process: Process,
    pub(crate) address: Address,
    pub(crate) dir: Dir,
}

impl Active {
    /// Our activator with the server as its command.
    pub(crate) fn server(address: &str) -> Self {
        Self::ours(Dir::new(), program().args(["activate", "-l", address]))
    }

    /// The same for a new socket of this kind.
    pub(crate) fn of(kind: Kind) -> Self {
        let dir = Dir::new();
        let address = kind.address(&dir);
        Self::ours(dir, program().args(["activate", "-l", &address]))
    }

    /// Our activator with `serve` and its flags as the command.
    pub(crate) fn serve(kind: Kind, flags: &[&str]) -> Self {
        let dir = Dir::new();
        let mut command = program();
        command.args(["activate", "-l", &kind.address(&dir), "--", program_path(), "serve"]);
        Self::ours(dir, command.args(flags))
    }

    /// A command that runs our activator with one address.
    pub(crate) fn ours(dir: Dir, command: &mut Command) -> Self {
        let process = Process::start(command);
        let line = process.stderr_line("listening: ");
        let line = line.unwrap_or_else(|| panic!("no address: {}", process.describe()));
        assert!(process.stderr_line("waiting for").is_some(), "{}", process.describe());
        let address = line.rsplit(' ').next().unwrap_or_default();
        let address = address.parse().unwrap_or_else(|error| panic!("{line}: {error}"));
        Self { process, address, dir }
    }

    /// A server that was started in another way.
    pub(crate) fn at(process: Process, address: &str) -> Self {
        Self { process, address: address.parse().expect("an address"), dir: Dir::new() }
    }

    /// The address where a client connects.
    pub(crate) fn sockaddr(&self) -> SockAddr {
        self.address.to_client().resolve().expect("an address").remove(0)
    }
}
