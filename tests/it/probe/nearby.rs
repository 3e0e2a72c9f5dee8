//! What `probe` finds out about an address that fails: what listens close to it, what else is at
//! its path, and which process holds the socket.

use std::net::UdpSocket;
use std::os::unix::net::UnixListener;
use std::path::Path;

use socket2::{Domain, SockAddr, Socket, Type};

use super::{probe, servers, verdict};
use crate::activate::activate;
use crate::kit::{self, Dir, Process};

/// The address that the only failure says to use instead.
#[track_caller]
fn instead(address: &str) -> Option<String> {
    let finished = probe(&[address, "--timeout", "5"]).expect_code(6);
    let remedy = finished.stderr.trim_end().rsplit("; ").next()?;
    let found = remedy.strip_prefix("use ")?.strip_suffix(", which listens")?;
    Some(found.to_owned())
}

/// A TCP socket that takes one IP version only.
fn listener(ip: &str) -> (Socket, u16) {
    let ip: std::net::IpAddr = ip.parse().expect("an address");
    let domain = if ip.is_ipv4() { Domain::IPV4 } else { Domain::IPV6 };
    let socket = Socket::new(domain, Type::STREAM, None).expect("socket(2)");
    if ip.is_ipv6() {
        socket.set_only_v6(true).expect("IPV6_V6ONLY");
    }
    socket.bind(&SockAddr::from(std::net::SocketAddr::new(ip, 0))).expect("bind");
    socket.listen(16).expect("listen");
    let port = socket.local_addr().expect("a name").as_socket().expect("IP").port();
    (socket, port)
}

#[test]
fn the_same_port_of_another_host_or_protocol_is_found() {
    for (ip, asked, found) in [
        ("::1", "tcp:127.0.0.1", "tcp:[::1]"),
        ("::", "tcp:127.0.0.1", "tcp:[::1]"),
        ("::1", "udp:[::1]", "tcp:[::1]"),
        ("127.0.0.1", "tcp:[::1]", "tcp:127.0.0.1"),
        ("0.0.0.0", "tcp:[::1]", "tcp:127.0.0.1"),
        ("127.0.0.1", "tcp:127.0.0.2", "tcp:127.0.0.1"),
        ("0.0.0.0", "udp:127.0.0.3", "tcp:127.0.0.3"),
        ("127.0.0.1", "mptcp:[::1]", "mptcp:127.0.0.1"),
    ] {
        let is_found = |_| {
            let (_socket, port) = listener(ip);
            let finished = probe(&[&format!("{asked}:{port}")]);
            let remedy = format!("; use {found}:{port}, which listens\n");
            finished.stderr.ends_with(&remedy) || finished.stdout.contains("unsupported")
        };
        // A test beside this one may have the port too.
        assert!((0..3).any(is_found), "{asked} is refused, and {ip} listens");
    }
}

#[test]
fn a_udp_socket_with_a_peer_is_no_server() {
    let is_right = |_| {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("bind");
        let port = socket.local_addr().expect("a name").port();
        let asked = format!("tcp:127.0.0.1:{port}");
        let before = instead(&asked);
        socket.connect("127.0.0.1:1").expect("connect");
        before == Some(format!("udp:127.0.0.1:{port}")) && instead(&asked).is_none()
    };
    // A test beside this one may have the port too.
    assert!((0..3).any(is_right));
}

#[test]
fn the_same_name_of_another_type_or_as_a_path_is_found() {
    let dir = Dir::new();
    let name = |name: &str| dir.path(name).display().to_string();
    let at_name = |name: &str| SockAddr::unix(format!("\0{name}")).expect("a name");
    let path = name("path");
    // What others choose is shown as an address that can be typed.
    let hostile = format!("{path}\x1b[31m\n x");
    let shown = format!("{path}\\x1b[31m\\x0a x");
    let in_abstract = Socket::new(Domain::UNIX, Type::DGRAM, None).expect("socket(2)");
    in_abstract.bind(&at_name(&hostile)).expect("bind");
    let short = format!("sae-{}", std::process::id());
    let of_file_name = Socket::new(Domain::UNIX, Type::STREAM, None).expect("socket(2)");
    of_file_name.bind(&at_name(&short)).expect("bind");
    of_file_name.listen(16).expect("listen");
    let _path = UnixListener::bind(&path).expect("bind");
    for (asked, found) in [
        (format!("unix:@{shown}"), format!("unix-dgram:@{shown}")),
        (format!("unix-seqpacket:@{shown}"), format!("unix-dgram:@{shown}")),
        (format!("unix:{shown}"), format!("unix-dgram:@{shown}")),
        (format!("unix:@{path}"), format!("unix:{path}")),
        (format!("unix-dgram:@{path}"), format!("unix:{path}")),
        (format!("unix:{}", name(&short)), format!("unix:@{short}")),
    ] {
        assert_eq!(instead(&asked), Some(found), "{asked}");
    }
}

/// Somebody who follows the advice gets an answer.
#[test]
fn the_address_that_is_found_works() {
    let dir = Dir::new();
    let path = dir.path("s").display().to_string();
    let datagrams = servers::datagram(|datagram| vec![datagram.to_vec()]);
    servers::stream(Path::new(&path), servers::echo);
    let (_, port) = datagrams.rsplit_once(':').expect("a port");
    for asked in [format!("tcp:[::1]:{port}"), format!("unix:@{path}")] {
        let found = instead(&asked).expect("a neighbour");
        let finished = probe(&[&found]).expect_code(0);
        assert_eq!(verdict(&finished, &found), "echoed");
        let json = probe(&["--json", &asked]).expect_code(6);
        let document: serde_json::Value = serde_json::from_str(&json.stdout).expect("JSON");
        assert_eq!(document["results"][0]["remedy"], format!("use {found}, which listens"));
    }
}

#[test]
fn what_is_no_socket_is_named() {
    let dir = Dir::new();
    let file = dir.path("file");
    std::fs::write(&file, "").expect("write");
    std::fs::create_dir(dir.path("folder")).expect("mkdir");
    std::os::unix::fs::symlink("/nowhere/x", dir.path("link")).expect("symlink");
    let mode = rustix::fs::Mode::RWXU;
    let fifo = dir.path("fifo");
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, mode, 0)
        .expect("mknod");
    for (name, what) in [
        ("file", "a regular file is there, not a socket: use another path, or remove it"),
        ("folder", "a directory is there, not a socket: use another path\n"),
        ("fifo", "a FIFO is there"),
        ("link", "a symbolic link that leads to no file is there"),
        ("file/s", "/file is not a directory: check the path"),
        ("none/s", "/none does not exist: check the path"),
    ] {
        for scheme in ["unix", "unix-dgram"] {
            let address = format!("{scheme}:{}", dir.path(name).display());
            let finished = probe(&[&address]).expect_code(6).expect_stderr(&[what]);
            assert!(!finished.stderr.contains("activate -l"), "{}", finished.describe());
        }
    }
}

#[test]
fn who_holds_the_socket_is_named() {
    let own = format!("(pid {})", std::process::id());
    let dir = Dir::new();
    let holds = format!("{own} holds the socket, but does not answer: see what it prints");
    let stream = servers::stream(&dir.path("s"), servers::wait_for_end);
    let datagram = servers::datagram(|_| vec![]);
    for address in [&stream, &datagram] {
        let finished = probe(&[address, "--timeout", "0.5"]).expect_code(7);
        let finished = finished.expect_stderr(&[&holds]);
        assert!(!finished.stderr.contains("systemctl"), "{}", finished.describe());
    }
    let path = dir.path("activated").display().to_string();
    let address = format!("unix:{path}");
    let silent = ["sh", "-c", "cat >/dev/null"];
    let flags = [&["--accept", "--inetd", "-l", &address][..], &silent].concat();
    let activator = Process::start(&mut activate(&flags));
    activator.stderr_line("waiting for").expect("it listens");
    let part = format!(
        "socket-activate-echo (pid {}) holds the socket, but the command that it starts does not \
         answer: see the terminal",
        activator.pid().as_raw_nonzero()
    );
    let finished = probe(&[&address, "--timeout", "0.5"]).expect_code(7);
    finished.expect_stderr(&[&part]);
    activator.terminate();
}

/// In a network namespace whose only way out leads to nobody, and that keeps silent about it.
#[test]
fn silence_over_udp_proves_nothing() {
    let test = "silence_over_udp_proves_nothing";
    // A bridge without ports takes every packet and passes none on.
    let bridge = "ip link add name void type bridge && ip link set void up &&
                  ip addr add 192.0.2.1/24 dev void &&
                  ip neigh add 192.0.2.2 lladdr 02:00:00:00:00:01 dev void";
    let Some(mut command) = kit::unshare("--net", bridge, &["ip"], test) else { return };
    let script = format!("{bridge} && exec \"$0\" probe --timeout 1.5 udp:192.0.2.2:3000");
    let finished = kit::run(command.args(["sh", "-c", &script, kit::program_path()]));
    let parts = [
        "waiting for the first reply for 1 s, up to 1.5 s: the service may be starting, or no server",
        "no reply within 1.5 s; nothing came back, and UDP does not tell why",
        "`ss -lnu`",
    ];
    let finished = finished.expect_code(7).expect_stderr(&parts);
    assert!(!finished.stderr.contains("holds"), "{}", finished.describe());
}

/// A name whose first address is not the one where the server is.
#[test]
fn every_address_of_a_name_is_tried() {
    let test = "every_address_of_a_name_is_tried";
    let dir = Dir::new();
    let hosts = dir.path("hosts");
    std::fs::write(&hosts, "::1 two.test\n127.0.0.1 two.test\n").expect("write");
    let server = servers::datagram(|datagram| vec![datagram.to_vec()]);
    let (_, port) = server.rsplit_once(':').expect("a port");
    let address = format!("udp:two.test:{port}");
    let bench = ["bench", "--duration", "0.1", "--warmup", "0", "--rounds", "1"];
    for verb in [&["probe"][..], &bench] {
        let bind = "mount --bind /etc/hosts /etc/hosts";
        let Some(mut command) = kit::unshare("--mount", bind, &["mount"], test) else { return };
        let script = "mount --bind \"$1\" /etc/hosts && shift && exec \"$0\" \"$@\"";
        command.args(["sh", "-c", script, kit::program_path()]);
        let finished = kit::run(command.arg(&hosts).args(verb).arg(&address)).expect_code(0);
        assert!(!finished.stderr.contains("refused"), "{}", finished.describe());
    }
}

#[test]
fn advice_that_failures_share_comes_once_and_after_the_table() {
    let addresses = ["tcp:127.0.0.1:1", "tcp:127.0.0.1:2", "unix:@nobody-there"];
    let finished = probe(&addresses).expect_code(6);
    let lines: Vec<_> = finished.stderr.lines().collect();
    assert_eq!(lines.len(), 4, "{}", finished.describe());
    assert!(lines[0].ends_with("connect to tcp:127.0.0.1:1: Connection refused"), "{}", lines[0]);
    assert!(lines[1].ends_with("connect to tcp:127.0.0.1:2: Connection refused"), "{}", lines[1]);
    let advice = "for these 2 addresses: nobody listens there: start its .socket unit";
    assert!(lines[2].contains(advice) && lines[2].contains("-l ADDRESS`"), "{}", lines[2]);
    assert!(lines[3].contains("unix:@nobody-there: Connection refused; nobody"), "{}", lines[3]);
}
