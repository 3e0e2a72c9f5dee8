//! The start and the end of the server, while other processes hold the same sockets.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use socket2::SockRef;

use crate::activate::listening;
use crate::activators::{Active, Kind};
use crate::clients::{connect, fill, messages, pattern};
use crate::handover::{Notified, hand_over, hand_over_with};
use crate::kit::{DEADLINE, Dir, Process, program_path, run};

/// What was received before a signal comes back, although the peer reads late, and sends more in
/// between: a socket that was closed by then would answer with a reset.
#[test]
fn a_signal_loses_nothing_of_a_peer_that_reads_late_and_goes_on_sending() {
    // Of the first one everything has reached the peer's kernel, and nothing is waited for.
    for (sent, late, signal) in
        [(20_000, 1, Signal::TERM), (1_500_000, 2, Signal::TERM), (1_500_000, 2, Signal::INT)]
    {
        let active = Active::of(Kind::Tcp4);
        let mut peer: TcpStream = connect(&active.address, &active.dir).into();
        let bytes = pattern(sent);
        peer.write_all(&bytes).expect("send");
        while !is_acknowledged(&peer) {
            messages(&connect(&active.address, &active.dir), &[64]);
        }
        messages(&connect(&active.address, &active.dir), &[64]);
        active.process.signal(signal);
        let mut received = vec![0; late];
        for byte in &mut received {
            // A server that does not wait for the peer has ended by then.
            active.process.ends_within(Duration::from_millis(300));
            peer.read_exact(std::slice::from_mut(byte)).expect("receive");
            peer.write_all(b"!").expect("one more byte is taken");
        }
        peer.read_to_end(&mut received).expect("the end, and no reset");
        received.truncate(sent);
        assert!(received == bytes, "{} of {sent} bytes", received.len());
        active.process.finish().expect_code(0);
    }
}

/// Whether the server's kernel has all that was sent: its queue in /proc/net/tcp is empty (proc(5)).
fn is_acknowledged(peer: &TcpStream) -> bool {
    let port = format!(":{:04X}", peer.local_addr().expect("an address").port());
    let table = std::fs::read_to_string("/proc/net/tcp").expect("a table");
    let mut rows = table.lines().map(|row| row.split_whitespace().collect::<Vec<_>>());
    let row = rows.find(|row| row.get(1).is_some_and(|local| local.ends_with(&port)));
    row.expect("the connection").get(4).is_some_and(|queues| queues.starts_with("00000000:"))
}

/// Who does not read within the time has lost something, and the log says so.
#[test]
fn what_a_signal_loses_is_said() {
    let active = Active::of(Kind::Tcp4);
    let mut deaf: TcpStream = connect(&active.address, &active.dir).into();
    fill(&mut deaf, || messages(&connect(&active.address, &active.dir), &[64]));
    active.process.signal(Signal::TERM);
    active.process.finish().expect_code(0).expect_stderr(&["bytes are lost: 1 peer(s)"]);
}

/// A keep-alive is due while the server looks for events without sleeping.
#[test]
fn busy_polling_ends_with_the_next_deadline() {
    let manager = Notified::new();
    let socket = UdpSocket::bind("127.0.0.1:0").expect("bind");
    // Longer than any test: looking would go on for an hour.
    let flags = ["serve", "--sdnotify", "--busy-poll", "3600000000"];
    let mut command = hand_over(socket, &flags);
    let process = Process::start(manager.of(&mut command).env("WATCHDOG_USEC", "200000"));
    let keep_alives = std::iter::repeat_with(|| manager.message());
    keep_alives.filter(|message| message == "WATCHDOG=1").nth(2);
    process.terminate().expect_code(0);
}

/// Whoever else holds a listener may make it blocking; an accept would wait, deaf to everything.
#[test]
fn a_listener_that_another_holder_makes_blocking_stops_nobody() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    let other_holder = listener.try_clone().expect("dup");
    let address = listener.local_addr().expect("an address");
    let process = Process::start(&mut hand_over(listener, &["serve"]));
    for _ in 0..5 {
        other_holder.set_nonblocking(false).expect("O_NONBLOCK");
        let clients = [0; 3].map(|_| TcpStream::connect(address).expect("connect"));
        for client in clients {
            client.set_read_timeout(Some(DEADLINE)).expect("a timeout");
            messages(&client.into(), &[64]);
        }
    }
    process.terminate().expect_code(0);
}

/// Connections inherit `SO_LINGER`: closing one would wait for a peer that does not read, or reset
/// one that has not read yet.
#[test]
fn a_listener_that_lingers_makes_nobody_wait() {
    for linger in [Duration::ZERO, Duration::from_secs(30)] {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
        SockRef::from(&listener).set_linger(Some(linger)).expect("SO_LINGER");
        let address = listener.local_addr().expect("an address");
        let process = Process::start(&mut hand_over(listener, &["serve"]));
        let bystander = TcpStream::connect(address).expect("connect");
        bystander.set_read_timeout(Some(DEADLINE)).expect("a timeout");
        let bystander = bystander.into();
        let mut deaf = TcpStream::connect(address).expect("connect");
        let sent = fill(&mut deaf, || messages(&bystander, &[64]));
        // It ends with its peer's end, with much of it still on the way.
        deaf.shutdown(std::net::Shutdown::Write).expect("shutdown");
        let (start, mut received) = (Instant::now(), Vec::new());
        deaf.read_to_end(&mut received).expect("everything, and no reset");
        assert_eq!(received.len(), sent);
        messages(&bystander, &[64]);
        assert!(start.elapsed() < Duration::from_secs(30), "nobody waited for a close");
        process.terminate().expect_code(0);
    }
}

/// Two workers, and a listener that somebody shuts down: the other socket is still served.
#[test]
fn a_listener_that_fails_takes_no_other_socket_along() {
    for workers in ["1", "2"] {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
        let other_holder = listener.try_clone().expect("dup");
        let address = listener.local_addr().expect("an address");
        let activate = ["activate", "-l", "udp:127.0.0.1:0", "--", program_path(), "serve"];
        let arguments = [&activate[..], &["--workers", workers]].concat();
        let process = Process::start(&mut hand_over(listener, &arguments));
        let datagrams = listening(&process)[1].parse().expect("an address");
        let stream = TcpStream::connect(address).expect("connect");
        stream.set_read_timeout(Some(DEADLINE)).expect("a timeout");
        messages(&stream.try_clone().expect("dup").into(), &[64]);
        SockRef::from(&other_holder).shutdown(std::net::Shutdown::Both).expect("shutdown");
        drop(stream);
        // Each worker that has the listener finds out, sooner or later; this one goes on.
        messages(&connect(&datagrams, &Dir::new()), &[64; 100]);
        process.terminate().expect_code(0);
    }
}

/// Threads that cannot be started are reported before anybody is told that the server is ready.
#[test]
fn workers_that_cannot_be_started_are_an_error_before_ready() {
    let manager = Notified::new();
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    let mut command = hand_over(listener, &["serve", "--sdnotify", "--workers", "4"]);
    // A stack that does not fit into the address space: no thread can be started.
    run(manager.of(&mut command).env("RUST_MIN_STACK", "70368744177664"))
        .expect_code(1)
        .expect_stderr(&["start a worker", "--workers"]);
    manager.expect_no_message();
}

/// So few descriptors that no connection can be held: the log says why nobody is answered.
#[test]
fn no_room_for_any_connection_is_said() {
    let dir = Dir::new();
    let listener = UnixListener::bind(dir.path("s")).expect("bind");
    let environment = "LISTEN_PID=$$ LISTEN_FDS=1; ulimit -n 6";
    let process = Process::start(&mut hand_over_with(listener, environment, "", &["serve"]));
    let _waits = UnixStream::connect(dir.path("s")).expect("connect");
    let line = process.stderr_line("LimitNOFILE=");
    assert!(line.is_some(), "{}", process.describe());
    process.terminate().expect_code(0);
}
