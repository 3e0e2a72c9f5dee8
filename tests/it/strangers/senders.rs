//! Unix datagrams: whose socket gets the reply, in which order, and what happens to unread replies.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::Command;

use rustix::process::Uid;
use socket2::{Domain, SockAddr, Socket, Type};

use super::{client, expect_rest, is_root};
use crate::activators::{Active, Kind};
use crate::clients::{messages, pattern};
use crate::handover::hand_over_with;
use crate::kit::{Dir, Process};

/// An attacker and its victims are other users than the server's.
const ATTACKER: u32 = 4321;

/// Sends from the client's name, with something else at its path by the time of the reply: each
/// request is queued before the server runs.
fn ask(client: &UnixDatagram, server: &Path) {
    client.send_to(b"MAINPID=1\nWATCHDOG=trigger", server).expect("send");
}

/// Fails if anything has reached the socket. A datagram of the test itself comes after whatever the
/// server has sent before its answer to another client.
#[track_caller]
fn expect_nothing_for(victim: &UnixDatagram) {
    let marker = UnixDatagram::unbound().expect("a socket");
    let name = victim.local_addr().expect("a name");
    marker.send_to_addr(b"marker", &name).expect("send");
    let mut buffer = [0; 100];
    let len = victim.recv(&mut buffer).expect("receive");
    assert_eq!(&buffer[..len], b"marker", "the server spoke to a third party");
}

/// A sender's path leads somewhere else by the time of the reply: to the service manager, to any
/// third socket, or to the server itself.
#[test]
fn a_reply_goes_to_the_socket_that_asked_and_to_no_other() {
    let (dir, notify) = (Dir::new(), Dir::new());
    let manager = client(&notify.path("notify"));
    let third = client(&notify.path("third"));
    let socket = Socket::new(Domain::UNIX, Type::DGRAM, None).expect("a socket");
    socket.bind(&SockAddr::unix(dir.path("s")).expect("an address")).expect("bind");
    let environment =
        format!("LISTEN_PID=$$ LISTEN_FDS=1 NOTIFY_SOCKET={}", notify.path("notify").display());
    for (name, target) in [
        ("a", notify.path("notify")),
        ("b", notify.path("third")),
        ("c", dir.path("s")),
        ("d", dir.path("nothing")),
    ] {
        let attacker = client(&dir.path(name));
        ask(&attacker, &dir.path("s"));
        std::fs::remove_file(dir.path(name)).expect("remove");
        std::os::unix::fs::symlink(target, dir.path(name)).expect("symlink");
    }
    // Another path to the same file, which only its owner may make.
    let attacker = client(&dir.path("e"));
    ask(&attacker, &dir.path("s"));
    std::fs::remove_file(dir.path("e")).expect("remove");
    std::fs::hard_link(notify.path("notify"), dir.path("e")).expect("link");
    let process = Process::start(&mut hand_over_with(socket, &environment, "", &["serve"]));
    let honest = client(&dir.path("honest"));
    honest.connect(dir.path("s")).expect("connect");
    messages(&honest.into(), &[5, 0, 9000]);
    expect_nothing_for(&manager);
    expect_nothing_for(&third);
    assert!(process.stderr_line("is not answered").is_some(), "{}", process.describe());
    expect_rest(&process);
    process.terminate().expect_code(0);
}

/// Runs `attack` as another user, in a thread of its own.
fn as_attacker(attack: impl FnOnce() + Send) {
    std::thread::scope(|scope| {
        let attacker = scope.spawn(|| {
            rustix::thread::set_thread_uid(Uid::from_raw(ATTACKER)).expect("setuid(2)");
            attack();
        });
        attacker.join().expect("the attack is carried out");
    });
}

fn owned_by_the_attacker(dir: &Dir) {
    let (path, owner) = (dir.path("."), Some(ATTACKER));
    std::os::unix::fs::chown(&path, owner, None).expect("chown");
    open_to_all(&path);
}

fn open_to_all(path: &Path) {
    set_mode(path, 0o777);
}

fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).expect("chmod");
}

/// A server that every user may reach.
fn open_server() -> Active {
    let active = Active::of(Kind::UnixDatagram);
    open_to_all(&active.dir.path("."));
    open_to_all(&active.dir.path("s"));
    active
}

/// No link is needed: a folder on the way may be exchanged, or be another one in the attacker's
/// mount namespace.
#[test]
fn a_reply_goes_to_the_user_who_asked() {
    if !is_root("replies to another user") {
        return;
    }
    let (own, victims) = (Dir::new(), Dir::new());
    owned_by_the_attacker(&own);
    open_to_all(&victims.path("."));
    let victim = client(&victims.path("b"));
    open_to_all(&victims.path("b"));
    let active = open_server();
    as_attacker(|| {
        std::fs::create_dir(own.path("d")).expect("mkdir");
        let attacker = client(&own.path("d/a"));
        // The server runs, and asks for credentials, by the time of the first answer.
        ask(&attacker, &active.dir.path("s"));
        attacker.recv(&mut [0; 100]).expect("an honest question is answered");
        // Another name: the way to it is not known yet.
        let attacker = client(&own.path("d/b"));
        std::fs::remove_dir_all(own.path("d")).expect("remove");
        std::os::unix::fs::symlink(victims.path("."), own.path("d")).expect("symlink");
        ask(&attacker, &active.dir.path("s"));
    });
    answers(&active, "honest");
    expect_nothing_for(&victim);
    active.process.terminate().expect_code(0);
}

/// An abstract name is somebody else's in another network namespace, and the path of a socket
/// reaches across.
#[test]
fn a_reply_stays_in_the_network_namespace_of_who_asked() {
    use std::os::linux::net::SocketAddrExt;
    if !is_root("replies to another network namespace") {
        return;
    }
    let active = open_server();
    answers(&active, "first");
    let name = active.dir.path("victim").display().to_string();
    let address = std::os::unix::net::SocketAddr::from_abstract_name(&name).expect("a name");
    let victim = UnixDatagram::bind_addr(&address).expect("bind");
    victim.set_read_timeout(Some(crate::kit::DEADLINE)).expect("a timeout");
    std::thread::scope(|scope| {
        let attack = || {
            #[allow(deprecated, reason = "the namespace of this thread alone is changed")]
            rustix::thread::unshare(rustix::thread::UnshareFlags::NEWNET).expect("unshare(2)");
            rustix::thread::set_thread_uid(Uid::from_raw(ATTACKER)).expect("setuid(2)");
            let attacker = UnixDatagram::bind_addr(&address).expect("bind");
            ask(&attacker, &active.dir.path("s"));
        };
        scope.spawn(attack).join().expect("the attack is carried out");
    });
    answers(&active, "honest");
    expect_nothing_for(&victim);
    active.process.terminate().expect_code(0);
}

/// A named client of this process's user is answered.
fn answers(active: &Active, name: &str) {
    let honest = client(&active.dir.path(name));
    honest.connect(active.dir.path("s")).expect("connect");
    messages(&honest.into(), &[5, 0, 9000]);
}

/// Whoever binds a name anew is answered there, although the old socket is still held by somebody:
/// by a child, for example, that was forked and has not begun its own program yet.
#[test]
fn a_reply_goes_to_the_socket_that_has_the_name_now() {
    let active = Active::of(Kind::UnixDatagram);
    answers(&active, "first");
    let path = active.dir.path("c");
    let mut old = Vec::new();
    for _ in 0..20 {
        let _ = std::fs::remove_file(&path);
        let honest = client(&path);
        honest.connect(active.dir.path("s")).expect("connect");
        let honest = socket2::Socket::from(honest);
        messages(&honest, &[5, 64]);
        old.push(honest);
    }
    active.process.terminate().expect_code(0);
}

/// What a client leaves unread is charged to the server's send buffer, which is one for all.
#[test]
fn one_user_who_never_reads_shuts_nobody_out() {
    if !is_root("a client that never reads") {
        return;
    }
    for (clients, size, count) in [(1, 200_000, 2), (1, 150_000, 2), (30, 2000, 11), (3, 60_000, 9)]
    {
        let (active, own) = (open_server(), Dir::new());
        owned_by_the_attacker(&own);
        answers(&active, "first");
        let mut deaf = Vec::new();
        as_attacker(|| {
            for number in 0..clients {
                let client = client(&own.path(&number.to_string()));
                // One that is connected has no bound for its queue.
                client.connect(active.dir.path("s")).expect("connect");
                client.set_nonblocking(true).expect("O_NONBLOCK");
                for _ in 0..count {
                    let _ = client.send(&pattern(size));
                }
                deaf.push(client);
            }
        });
        for round in 0..5 {
            answers(&active, &format!("honest{round}"));
        }
        expect_rest(&active.process);
        drop(deaf);
        answers(&active, "after");
        active.process.terminate().expect_code(0);
    }
}

/// The peer reads all the while, more slowly than the server answers.
#[test]
fn replies_to_a_peer_that_reads_are_neither_lost_nor_reordered() {
    for (count, size) in [(20_000_u32, 4000), (100_000, 8)] {
        let active = Active::of(Kind::UnixDatagram);
        let client = client(&active.dir.path("c"));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut message = vec![0; size];
                for number in 0..count {
                    message[..4].copy_from_slice(&number.to_be_bytes());
                    client.send_to(&message, active.dir.path("s")).expect("send");
                }
            });
            let mut message = vec![0; size + 1];
            for number in 0..count {
                let received = client.recv(&mut message);
                let received = received.unwrap_or_else(|error| panic!("after {number}: {error}"));
                assert_eq!(received, size);
                assert_eq!(message[..4], number.to_be_bytes(), "{size}");
            }
        });
        active.process.terminate().expect_code(0);
    }
}

/// A socket unit makes its file as it likes, and the datagram that starts the service was sent
/// before the service could ask who sent it.
#[test]
fn the_first_datagram_is_answered_where_its_sender_is_known() {
    for (folder, mode, credentials, answered) in [
        (0o755, 0o700, false, true),
        (0o700, 0o666, false, true),
        (0o755, 0o666, true, true),
        (0o755, 0o666, false, false),
    ] {
        let dir = Dir::new();
        let socket = UnixDatagram::bind(dir.path("s")).expect("bind");
        set_mode(&dir.path("."), folder);
        set_mode(&dir.path("s"), mode);
        rustix::net::sockopt::set_socket_passcred(&socket, credentials).expect("SO_PASSCRED");
        let observer = socket.try_clone().expect("dup");
        let client = client(&dir.path("c"));
        client.send_to(b"first", dir.path("s")).expect("send");
        let environment = "LISTEN_PID=$$ LISTEN_FDS=1";
        let mut command: Command = hand_over_with(socket, environment, "", &["serve"]);
        let process = Process::start(&mut command);
        let mut buffer = [0; 100];
        if !answered {
            assert!(process.stderr_line("PassCredentials=yes").is_some(), "{}", process.describe());
        }
        client.send_to(b"second", dir.path("s")).expect("send");
        for expected in [&b"first"[..], b"second"].into_iter().skip(usize::from(!answered)) {
            let len = client.recv(&mut buffer).expect("a reply");
            assert_eq!(&buffer[..len], expected);
        }
        process.terminate().expect_code(0);
        let left = rustix::net::sockopt::socket_passcred(&observer).expect("SO_PASSCRED");
        assert_eq!(left, credentials, "it is given back as it was found");
    }
}
