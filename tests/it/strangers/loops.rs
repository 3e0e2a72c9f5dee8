//! UDP: strangers who make one server answer itself, or another kind of server. Two of our own are
//! in `info::datagrams`.

use std::net::{SocketAddr, UdpSocket};
use std::os::fd::OwnedFd;

use rustix::process::{PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};

use socket2::{Domain, Protocol, Socket, Type};

use super::{expect_rest, is_root};
use crate::activators::{Active, Kind};
use crate::clients::{connect, messages};
use crate::handover::hand_over;
use crate::kit::{Dir, Process, clean, has_tool, program_path, run};

/// A socket that shares its address with another one, as systemd makes all datagram sockets.
fn shared(address: SocketAddr) -> UdpSocket {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP));
    let socket = socket.expect("a socket");
    socket.set_reuse_address(true).expect("SO_REUSEADDR");
    socket.bind(&address.into()).expect("bind");
    socket.into()
}

/// A duplicate of a socket of the server's: what is sent through it seems to come from the server,
/// as a forged datagram does.
pub(crate) fn of_server(process: &Process, number: i32) -> OwnedFd {
    let pidfd = pidfd_open(process.pid(), PidfdFlags::empty()).expect("pidfd_open(2)");
    pidfd_getfd(pidfd, number, PidfdGetfdFlags::empty()).expect("pidfd_getfd(2)")
}

fn set_on(from: &UdpSocket, to: SocketAddr) {
    for payload in [&b"for ever"[..], b"", b"and ever"] {
        from.send_to(payload, to).expect("send");
    }
}

/// Every local address is that of a socket that is bound to the wildcard.
#[test]
fn a_wildcard_socket_is_not_set_on_itself() {
    for (wildcard, from, to) in [
        ("0.0.0.0:0", "127.0.0.1", "127.0.0.2"),
        ("0.0.0.0:0", "127.0.0.1", "127.0.0.1"),
        ("[::]:0", "::1", "::1"),
        ("[::]:0", "::ffff:127.0.0.1", "::ffff:127.0.0.2"),
    ] {
        let socket = shared(wildcard.parse().expect("an address"));
        let port = socket.local_addr().expect("an address").port();
        let at = |ip: &str| SocketAddr::new(ip.parse().expect("an address"), port);
        let process = Process::start(&mut hand_over(socket, &["serve"]));
        answers(at(to));
        set_on(&shared(at(from)), at(to));
        expect_rest(&process);
        answers(at(to));
        process.terminate().expect_code(0);
    }
}

/// Whatever sends back what it gets, from the port of a service, is left alone before long.
#[test]
fn another_kind_of_echo_server_is_left_alone() {
    let active = Active::of(Kind::Udp4);
    let server = active.sockaddr().as_socket().expect("an IP address");
    let foreign = (20_000..30_000).find_map(|port| UdpSocket::bind(("127.0.0.1", port)).ok());
    let foreign = foreign.expect("a port below those of clients");
    foreign.set_read_timeout(Some(std::time::Duration::from_millis(500))).expect("a timeout");
    foreign.send_to(b"for ever", server).expect("send");
    let mut buffer = [0; 100];
    let mut rounds = 0_u32;
    while let Ok((len, from)) = foreign.recv_from(&mut buffer) {
        foreign.send_to(&buffer[..len], from).expect("send");
        rounds += 1;
        assert!(rounds < 1_000_000, "it goes on for ever");
    }
    assert!(
        active.process.stderr_line("the same bytes").is_some(),
        "{}",
        active.process.describe()
    );
    answers(server);
    active.process.terminate().expect_code(0);
}

/// A client that repeats itself as fast as it can is a client all the same.
#[test]
fn a_client_that_repeats_itself_is_answered() {
    let active = Active::of(Kind::Udp4);
    let socket = connect(&active.address, &active.dir);
    messages(&socket, &[64; 30_000]);
    active.process.terminate().expect_code(0);
}

fn answers(address: SocketAddr) {
    let address = format!("udp:{address}").parse().expect("an address");
    messages(&connect(&address, &Dir::new()), &[5, 0, 1400]);
}

/// A link that is slower than the server: its send buffer is full for a while. Two network
/// namespaces, with a queue between them that takes 20 Mbit/s.
#[test]
fn a_full_send_buffer_is_waited_for_and_not_asked_again_and_again() {
    let test = "a link that is slower than the server";
    if !is_root(test) || ["unshare", "nsenter", "ip", "tc"].iter().any(|tool| !has_tool(tool, test))
    {
        return;
    }
    let script = "ip link set lo up; exec \"$0\" activate -l udp:10.9.0.1:7000 --now";
    // The link comes up later: an address that is not there yet may be bound all the same.
    let script = format!("echo 1 > /proc/sys/net/ipv4/ip_nonlocal_bind; {script}");
    let mut command = clean("unshare");
    command.args(["--net", "sh", "-c", &script, program_path()]);
    let server = Process::start(&mut command);
    let pid = server.pid().as_raw_nonzero().to_string();
    assert!(server.stderr_line("udp:10.9.0.1:7000").is_some(), "{}", server.describe());
    let client = "set -e; server=$1; \
        ip link add va type veth peer name vb netns \"$server\"; \
        ip address add 10.9.0.2/24 dev va; ip link set va up; \
        nsenter -t \"$server\" -n sh -ec '\
            ip address add 10.9.0.1/24 dev vb; ip link set vb up; \
            tc qdisc add dev vb root tbf rate 20mbit burst 30kb latency 5s'; \
        \"$0\" bench --mode flood --size 1200 --duration 2 udp:10.9.0.1:7000";
    let mut flood = clean("unshare");
    flood.args(["--net", "sh", "-c", client, program_path(), &pid]);
    run(&mut flood);
    expect_rest(&server);
    server.terminate().expect_code(0);
}
