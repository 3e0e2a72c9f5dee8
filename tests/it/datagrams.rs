//! Datagrams: each is echoed whole, from the address that it was sent to.

use std::net::{Ipv6Addr, SocketAddr, UdpSocket};
use std::os::unix::net::UnixDatagram;

use crate::activators::{Active, Kind};
use crate::clients::{connect, messages, pattern};
use crate::kit::{DEADLINE, Dir, program_path, run, unshare_net};

#[test]
fn every_size_comes_back_whole() {
    // The largest of IPv4 is 65535 less 20 for its header and 8 for UDP's; IPv6 does not count its
    // header. A message over unix is bound by the sender's buffer, which the sender may raise: the
    // server has to send as much back.
    for (kind, sizes) in [
        (Kind::Udp4, &[0, 1, 1025, 9000, 65_507][..]),
        (Kind::Udp6, &[0, 1, 1025, 9000, 65_507, 65_527]),
        (Kind::UdpDual, &[0, 1, 1025, 9000, 65_507, 65_527]),
        (Kind::UnixDatagram, &[0, 1, 1025, 9000, 65_507, 200_000, 300_000, 400_000, 400_000]),
        (Kind::UnixSeqpacket, &[0, 1, 200_000, 300_000, 5, 400_000, 400_000, 5]),
    ] {
        let active = Active::of(kind);
        let socket = connect(&active.address, &active.dir);
        socket.set_send_buffer_size(1 << 20).expect("SO_SNDBUF");
        // Small after large, so that nothing of an earlier one can be left in a buffer.
        let sizes: Vec<_> = sizes.iter().chain(sizes.iter().rev()).copied().collect();
        messages(&socket, &sizes);
        active.process.terminate().expect_code(0);
    }
}

/// A connected socket receives only what comes from the address that it is connected to.
#[test]
fn the_reply_comes_from_the_address_that_was_asked() {
    for (wildcard, addresses) in [
        // The first of each activates the server, and is queued before the server can ask the
        // kernel for anything.
        ("udp:0.0.0.0:0", &["127.0.0.2", "127.0.0.1", "127.1.2.3"][..]),
        ("udp:[::]:0", &["127.0.0.2", "127.0.0.1", "::1"]),
        ("udp:[::]:0", &["::1", "127.0.0.2"]),
    ] {
        let active = Active::server(wildcard);
        let port = active.sockaddr().as_socket().expect("an IP address").port();
        for address in addresses {
            let target = SocketAddr::new(address.parse().expect("an IP address"), port);
            let target = format!("udp:{target}").parse().expect("an address");
            messages(&connect(&target, &active.dir), &[0, 5, 1400]);
        }
        // An unconnected socket of IPv6 that asks an IPv4 address through the dual stack.
        let client = UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0)).expect("bind");
        client.set_read_timeout(Some(DEADLINE)).expect("a timeout");
        let target: SocketAddr = format!("[::ffff:127.0.0.2]:{port}").parse().expect("an address");
        client.send_to(b"hello", target).expect("send");
        let (_, from) = client.recv_from(&mut [0; 9]).expect("receive");
        assert_eq!(from, target, "{wildcard}");
        active.process.terminate().expect_code(0);
    }
}

/// Several IPv6 addresses need a machine of one's own: a network namespace. While the kernel sets a
/// new address up, a datagram to it can get lost, and never reach the server; a server that answers
/// from the wrong address fails each time.
#[test]
fn the_reply_comes_from_the_ipv6_address_that_was_asked() {
    let test = "replies from the IPv6 address that was asked";
    let Some(mut command) = unshare_net(&[], test) else { return };
    let script = "ip link set lo up; \
        for a in 1 2 3; do ip address add fd00::$a/128 dev lo nodad; done; \
        mkfifo \"$1\"; exec 4<>\"$1\"; \
        \"$0\" activate -l 'udp:[::]:7000' -l 'udp:[fd00::2]:7001' 2>&4 & server=$!; \
        until read -r line <&4 && test \"${line#waiting}\" != \"$line\"; do :; done; \
        for target in '[fd00::3]:7000' '[fd00::2]:7000' '[fd00::1]:7000' '[fd00::2]:7001'; do \
            attempts=5; \
            until \"$0\" probe --count 3 --timeout 2 \"udp:$target\"; do \
                attempts=$((attempts - 1)); test $attempts -gt 0 || { kill $server; exit 1; }; \
            done; \
        done; \
        kill $server; wait $server";
    let dir = Dir::new();
    command.args(["sh", "-c", script, program_path()]).arg(dir.path("fifo"));
    run(&mut command).expect_code(0);
}

#[test]
fn a_sender_that_is_gone_stops_nobody() {
    let active = Active::of(Kind::UnixDatagram);
    let gone = UnixDatagram::bind(active.dir.path("gone")).expect("bind");
    gone.send_to(b"hello", active.dir.path("s")).expect("send");
    std::fs::remove_file(active.dir.path("gone")).expect("remove");
    drop(gone);
    let socket = connect(&active.address, &active.dir);
    messages(&socket, &[5]);
    // UDP learns of it through an ICMP message that the next call reports.
    let active = Active::of(Kind::Udp4);
    let target = active.sockaddr().as_socket().expect("an IP address");
    for _ in 0..20 {
        let gone = UdpSocket::bind("127.0.0.1:0").expect("bind");
        gone.send_to(b"hello", target).expect("send");
    }
    messages(&connect(&active.address, &active.dir), &[5, 0, 9000]);
    active.process.terminate().expect_code(0);
}

/// A receiver whose queue is full (net.unix.max_dgram_qlen) makes its own replies wait only. The
/// kernel does not bound the queue of one that is connected to the server: what such a peer leaves
/// unread is charged to the server's socket, whose send buffer is one for all.
#[test]
fn a_receiver_that_never_reads_stops_nobody() {
    let active = Active::of(Kind::UnixDatagram);
    let deaf = UnixDatagram::bind(active.dir.path("deaf")).expect("bind");
    deaf.set_nonblocking(true).expect("O_NONBLOCK");
    let other = connect(&active.address, &active.dir);
    for _ in 0..1000 {
        // It may be refused for now: then the server's own queue is full.
        let _ = deaf.send_to(&pattern(2000), active.dir.path("s"));
        messages(&other, &[100]);
    }
    let peak = active.process.memory_kib("VmHWM");
    assert!(peak < 16 * 1024, "{peak} KiB");
    active.process.terminate().expect_code(0);
}
