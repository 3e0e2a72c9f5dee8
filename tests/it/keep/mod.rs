//! `serve --keep-connections` under a service manager of the tests: what survives a restart, and
//! what is closed rather than continued with a gap.

mod faults;

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixDatagram, UnixStream};

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
use rustix::process::Signal;
use socket_activate_echo::address::{Address, domain_of};
use socket2::Socket;

use crate::clients::{connect, expect_numbers, messages, send_numbers};
use crate::fd_store::{Answer, Manager};
use crate::kit::{Dir, Process, has_vsock_loopback, not_run, program_path};
use crate::load::{Habit, Load};

/// More than any of these tests stores.
const ENOUGH: usize = 512;
const KINDS: [&str; 5] =
    ["tcp:127.0.0.1:0", "tcp:[::1]:0", "mptcp:127.0.0.1:0", "unix", "unix-seqpacket"];

/// A manager with listening sockets, and their addresses.
struct Bed {
    manager: Manager,
    addresses: Vec<Address>,
    dir: Dir,
}

impl Bed {
    fn new(fds_max: usize, kinds: &[&str]) -> Self {
        let dir = Dir::new();
        let bound = kinds.iter().enumerate().map(|(number, kind)| {
            let path = dir.path(&format!("s{number}")).display().to_string();
            let address =
                if kind.starts_with("unix") { format!("{kind}:{path}") } else { (*kind).into() };
            listen(&address.parse().expect("an address"))
        });
        let (listeners, addresses) = bound.unzip();
        Self { manager: Manager::new(fds_max, listeners), addresses, dir }
    }

    fn connect(&self) -> Vec<Socket> {
        self.addresses.iter().map(|address| connect(address, &self.dir)).collect()
    }

    /// Peers that have been served once.
    fn served(&self) -> Vec<Socket> {
        let peers = self.connect();
        exchange(&peers);
        peers
    }

    /// The program with the flag, as systemd 254 starts it.
    fn start(&self) -> Process {
        self.start_with(&[])
    }

    fn start_with(&self, flags: &[&str]) -> Process {
        self.start_in(&[("FDSTORE", "512")], flags)
    }

    /// The same for a manager that says something else, or not whether it has a store.
    fn start_in(&self, environment: &[(&str, &str)], flags: &[&str]) -> Process {
        let command = [&[program_path(), "serve", "--keep-connections"], flags].concat();
        self.manager.start(&command, environment)
    }
}

fn listen(address: &Address) -> ((String, OwnedFd), Address) {
    let sockaddr = address.resolve().expect("an address").remove(0);
    let socket =
        Socket::new(domain_of(&sockaddr), address.style().socket_type(), address.protocol());
    let socket = socket.expect("a socket");
    socket.bind(&sockaddr).expect("bind");
    if !matches!(address.style(), socket_activate_echo::address::Style::Datagram) {
        socket.listen(128).expect("listen");
    }
    let bound = Address::of_socket(&socket).ok().flatten().expect("an address");
    (("echo.socket".to_owned(), socket.into()), bound)
}

fn exchange(peers: &[Socket]) {
    for peer in peers {
        messages(peer, &[1, 1000]);
    }
}

/// The end comes, after nothing but what was sent.
fn expect_the_end(mut peer: &Socket) {
    let mut rest = Vec::new();
    let _ = peer.read_to_end(&mut rest);
    assert_eq!(rest, b"");
}

#[test]
fn every_kind_of_connection_outlives_restarts() {
    for workers in ["1", "4"] {
        let bed = Bed::new(ENOUGH, &KINDS);
        let mut peers = bed.connect();
        peers.extend(bed.connect());
        let mut process = bed.start_with(&["--workers", workers]);
        for _ in 0..3 {
            exchange(&peers);
            bed.manager.wait_for_stored(&[]);
            process.terminate().expect_code(0).expect_stderr(&["kept 10 connections"]);
            let names = [vec!["kept-ledger"], vec!["kept-socket"; peers.len()]].concat();
            assert_eq!(bed.manager.stored(), names);
            for peer in &peers {
                peer.send(b"sent to nobody").expect("the connection is there");
            }
            process = bed.start_with(&["--workers", workers]);
            for peer in &peers {
                assert_eq!(crate::clients::receive(peer, 14), b"sent to nobody");
            }
        }
        process.terminate().expect_code(0);
    }
}

/// Peers of every habit, restarted again and again: no byte is lost, doubled or changed.
#[test]
fn restarts_in_the_middle_of_traffic_lose_nothing() {
    let mut kinds = KINDS.to_vec();
    if has_vsock_loopback() {
        kinds.push("vsock:local:any");
    } else {
        not_run("restarts with vsock", "this kernel has no vsock loopback", false);
    }
    for workers in ["1", "4"] {
        let bed = Bed::new(ENOUGH, &kinds);
        let mut process = bed.start_with(&["--workers", workers]);
        let habits = [Habit::PingPong(64), Habit::PingPong(20_000), Habit::Bulk, Habit::Stalls];
        let peers =
            bed.addresses.iter().flat_map(|address| habits.map(|habit| (address.clone(), habit)));
        let load = Load::start(peers.collect(), false, || ());
        for _ in 0..20 {
            bed.served();
            process.terminate().expect_code(0);
            process = bed.start_with(&["--workers", workers]);
        }
        let report = load.finish();
        assert!(report.round_trips > 0 && report.lost == 0, "{report:?}");
        process.terminate().expect_code(0);
    }
}

/// A store without room for all: nothing is kept, and all is drained as without the flag.
#[test]
fn a_store_that_is_too_small_is_said_and_connections_are_drained() {
    for fds_max in 0..=5 {
        let bed = Bed::new(fds_max, &["unix"; 5]);
        let process = bed.start_in(&[], &[]);
        let peers = bed.served();
        let finished = process.terminate().expect_code(0);
        let finished = match fds_max {
            // One descriptor is enough or not: the manager closes the other when it likes.
            0 | 1 => finished.expect_stderr(&["FileDescriptorStoreMax="]),
            _ => finished.expect_stderr(&[
                "5 connections cannot be kept, so they are drained: store descriptors in the fd",
                "FileDescriptorStoreMax=",
            ]),
        };
        if fds_max == 0 {
            let said = "--keep-connections cannot keep any, so SIGTERM drains them";
            assert_eq!(finished.expect_stderr(&[said]).stderr.matches("warning").count(), 1);
        }
        bed.manager.wait_for_stored(&[]);
        peers.iter().for_each(expect_the_end);
    }
    // As the manager tells how many, it is not even tried.
    let bed = Bed::new(6, &["unix"; 5]);
    let process = bed.start_in(&[("FDSTORE", "6")], &[]);
    let peers = bed.served();
    process.terminate().expect_code(0).expect_stderr(&["set FileDescriptorStoreMax=7"]);
    assert!(
        !bed.manager.said().iter().any(|said| said.contains("FDSTORE=1")),
        "{:?}",
        bed.manager.said()
    );
    peers.iter().for_each(expect_the_end);
    // And this many are enough.
    let bed = Bed::new(7, &["unix"; 5]);
    let process = bed.start_in(&[("FDSTORE", "7")], &[]);
    let peers = bed.served();
    process.terminate().expect_code(0).expect_stderr(&["kept 5 connections"]);
    let _process = bed.start();
    exchange(&peers);
}

/// A container engine relays only the text, and closes descriptors. The barrier passes all the same.
#[test]
fn a_manager_that_drops_descriptors_is_no_store() {
    let bed = Bed::new(ENOUGH, &["unix"]);
    bed.manager.rule(|_| Answer::Relay);
    let process = bed.start_in(&[], &[]);
    let peers = bed.served();
    process.terminate().expect_code(0).expect_stderr(&["it closed them", "SIGTERM drains them"]);
    peers.iter().for_each(expect_the_end);
    // Or it is noticed at the end.
    let process = bed.start();
    let peers = bed.served();
    process.terminate().expect_code(0).expect_stderr(&["so they are drained", "it closed them"]);
    peers.iter().for_each(expect_the_end);
}

#[test]
fn without_a_manager_sigterm_drains() {
    let bed = Bed::new(ENOUGH, &["unix"]);
    let serve = "exec env -u NOTIFY_SOCKET \"$0\" serve --keep-connections";
    let process = bed.manager.start(&["sh", "-c", serve, program_path()], &[]);
    let peers = bed.served();
    process
        .terminate()
        .expect_code(0)
        .expect_stderr(&["NOTIFY_SOCKET is not set", "in no container"]);
    peers.iter().for_each(expect_the_end);
    let process = bed.start_in(&[("NOTIFY_SOCKET", "vsock:host:1")], &[]);
    bed.served();
    process.terminate().expect_code(0).expect_stderr(&["vsock:host:1 carries no file descriptors"]);
}

/// A manager that does not answer: nothing is exchanged that the next process could double.
#[test]
fn a_manager_that_does_not_answer_delays_the_drain_and_no_more() {
    let bed = Bed::new(ENOUGH, &["unix"]);
    let mut is_first = true;
    bed.manager.rule(move |text| match text {
        "BARRIER=1" if std::mem::take(&mut is_first) => Answer::Hold,
        _ => Answer::Process,
    });
    let process = bed.start();
    let peers = bed.served();
    process.terminate().expect_code(0).expect_stderr(&["so they are drained", "timed out"]);
    peers.iter().for_each(expect_the_end);
    assert_eq!(bed.manager.stored(), [""; 0]);
}

/// A manager that cannot be made to give up what it has: nothing is continued.
#[test]
fn what_the_manager_does_not_give_up_is_closed() {
    let bed = Bed::new(ENOUGH, &KINDS);
    let process = bed.start();
    let peers = bed.served();
    process.terminate().expect_code(0);
    bed.manager.rule(|_| Answer::Relay);
    let process = bed.start();
    peers.iter().for_each(expect_the_end);
    let others = bed.connect();
    exchange(&others);
    let said = ["5 kept connections are closed, because the service manager does not give them up"];
    process.terminate().expect_code(0).expect_stderr(&said);
    others.iter().for_each(expect_the_end);
}

/// Without the flag, what is stored is taken all the same, so that nothing is stuck in the store.
#[test]
fn without_the_flag_kept_connections_go_on_and_are_drained() {
    let bed = Bed::new(ENOUGH, &KINDS);
    let process = bed.start();
    let peers = bed.served();
    process.terminate().expect_code(0);
    let process = bed.manager.start(&[program_path()], &[]);
    exchange(&peers);
    assert_eq!(bed.manager.stored(), [""; 0]);
    process.terminate().expect_code(0).expect_stderr(&["going on with 5 kept connections"]);
    assert_eq!(bed.manager.stored(), [""; 0]);
    peers.iter().for_each(expect_the_end);
}

fn memfd(bytes: &[u8], seals: SealFlags) -> OwnedFd {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let mut file = File::from(memfd_create("test", flags).expect("memfd_create(2)"));
    file.write_all(bytes).expect("write");
    fcntl_add_seals(&file, seals).expect("seal");
    file.into()
}

/// Descriptors that nobody of ours has stored are explained, and stay in the store.
#[test]
fn what_is_not_ours_is_left_alone() {
    let bed = Bed::new(ENOUGH, &["unix"]);
    let (_peer, foreign) = UnixStream::pair().expect("socketpair");
    bed.manager.put("stored", memfd(b"state", SealFlags::empty()));
    bed.manager.put("database", foreign);
    // A name of ours for something else.
    bed.manager.put("kept-socket", memfd(b"", SealFlags::empty()));
    let process = bed.start();
    let peers = bed.served();
    let finished = process.terminate().expect_code(0).expect_stderr(&[
        "(stored) is not served, and left alone in the fd store, because it is a regular file",
        "(database) is not served, and left alone in the fd store, because it is a connected",
        "(kept-socket) is not served, and left alone",
    ]);
    assert_eq!(finished.stderr.matches("warning").count(), 3, "{}", finished.describe());
    let process = bed.start();
    exchange(&peers);
    let names = bed.manager.stored();
    assert!(names.contains(&"stored".to_owned()) && names.contains(&"database".to_owned()));
    process.terminate().expect_code(0);
    // Without the flag, it is refused as ever.
    let refused = bed.manager.start(&[program_path()], &[]).finish();
    refused.expect_code(4).expect_stderr(&["FDSTORE=1"]);
}

/// A client over unix datagrams that has read none of its replies, and how many it has sent: so many
/// that replies wait in the server, whatever it has not received yet.
fn unread_replies(bed: &Bed) -> (UnixDatagram, u32) {
    // Only the queue of a socket that is not connected has a limit.
    let client = UnixDatagram::bind(bed.dir.path("client")).expect("bind");
    let queue = std::fs::read_to_string("/proc/sys/net/unix/max_dgram_qlen").expect("a limit");
    let sent = 2 * queue.trim().parse::<u32>().expect("a number") + 60;
    send_numbers(&client, &bed.dir.path("s0"), sent);
    (client, sent)
}

/// What waits for a unix datagram receiver that does not read goes along.
#[test]
fn datagram_replies_that_wait_go_along() {
    let bed = Bed::new(ENOUGH, &["unix-dgram"]);
    let process = bed.start();
    let (client, sent) = unread_replies(&bed);
    let ended = process.terminate().expect_code(0);
    ended.expect_stderr(&["kept 0 connections and the replies of 1 datagram socket"]);
    let process = bed.start();
    expect_numbers(&client, sent);
    process.terminate().expect_code(0);
}

/// If the manager does not take them, the process that has them sends them.
#[test]
fn datagram_replies_that_cannot_be_stored_are_sent() {
    for flags in [
        &["--workers", "1"][..],
        &["--workers", "2", "--debug"],
        &["--connections-max-per-source", "99", "--idle-timeout", "99", "--busy-poll", "off"],
    ] {
        // A confined process has to prepare all of them once more.
        let bed = Bed::new(ENOUGH, &[&["unix-dgram", "udp:[::]:0"], &KINDS[..]].concat());
        let process = bed.start_with(flags);
        let (client, sent) = unread_replies(&bed);
        let peers: Vec<_> =
            bed.addresses[2..].iter().map(|address| connect(address, &bed.dir)).collect();
        exchange(&peers);
        bed.manager.rule(|_| Answer::Relay);
        process.signal(Signal::TERM);
        // What the server has not received is left to the next one: a queue at most.
        expect_numbers(&client, sent / 2 + 10);
        process.finish().expect_code(0).expect_stderr(&["so they are drained"]);
        peers.iter().for_each(expect_the_end);
    }
}

#[test]
fn the_manager_is_asked_for_more_time() {
    let bed = Bed::new(ENOUGH, &["unix"]);
    let process = bed.start();
    let _peers = bed.served();
    process.terminate().expect_code(0);
    let said = bed.manager.said();
    assert!(said.iter().any(|said| said == "EXTEND_TIMEOUT_USEC=20020000"), "{said:?}");
}

#[test]
fn inspect_explains_what_is_kept() {
    let bed = Bed::new(ENOUGH, &["unix"]);
    let process = bed.start();
    let peers = bed.served();
    process.terminate().expect_code(0);
    let finished = bed.manager.start(&[program_path(), "inspect", "--json"], &[]).finish();
    let document: serde_json::Value =
        serde_json::from_str(&finished.expect_code(0).stdout).expect("JSON");
    let service =
        |row: usize| document["fds"][row]["service"].as_str().unwrap_or_default().to_owned();
    assert_eq!(service(1), "goes on with this connection of the process before");
    assert_eq!(service(2), "reads what the kept connections are owed");
    // It has changed nothing.
    let _process = bed.start();
    exchange(&peers);
}
