//! The flags of `serve`, what it sends to the service manager, and where it logs.

use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::activators::{Active, Kind};
use crate::clients::{connect, messages, word};
use crate::handover::{Notified, hand_over, listener};
use crate::kit::{DEADLINE, Dir, Process, clean, program, program_path, run};

#[test]
fn at_the_end_it_says_what_it_served_but_not_for_each_connection() {
    let dir = Dir::new();
    let socket = UnixDatagram::bind(dir.path("server")).expect("bind");
    let process = Process::start(&mut hand_over(socket, &["serve"]));
    let client = UnixDatagram::bind(dir.path("client")).expect("bind");
    let unnamed = UnixDatagram::unbound().expect("socket");
    for sender in std::iter::repeat_n(&unnamed, 100).chain([&client]) {
        sender.send_to(b"hello", dir.path("server")).expect("send");
    }
    client.set_read_timeout(Some(DEADLINE)).expect("a timeout");
    assert_eq!(client.recv(&mut [0; 9]).expect("a reply"), 5);
    process.terminate().expect_code(0).expect_stderr(&[
        "served 0 connections and 101 datagrams, 505 bytes; 100 datagrams were not answered\n",
    ]);
    for (flags, said) in [(&["serve"][..], false), (&["serve", "-d"], true)] {
        let (client, connection) = UnixStream::pair().expect("socketpair");
        drop(client);
        let finished = run(&mut hand_over(connection, flags)).expect_code(0);
        assert_eq!(finished.stderr.contains("served"), said, "{}", finished.describe());
    }
    let (listener, client) = listener();
    let process = Process::start(&mut hand_over(listener, &[]));
    word(&client);
    let finished = process.terminate().expect_code(0);
    let line = "served 1 connection and 0 datagrams, 6 bytes\n";
    assert_eq!((finished.stdout.as_str(), finished.stderr.as_str()), ("", line));
}

#[test]
fn what_the_manager_would_miss_is_a_warning() {
    let dir = Dir::new();
    let path = dir.path("notify").display().to_string();
    for (flags, variable, warning) in [
        (&["-s"][..], None, "--sdnotify is given but NOTIFY_SOCKET is not set: no service manager"),
        (&["-s"], Some(("NOTIFY_SOCKET", path.as_str())), "send READY=1 to NOTIFY_SOCKET="),
        (&[], Some(("WATCHDOG_USEC", "20000000")), "WATCHDOG_USEC is set but --sdnotify is not"),
    ] {
        let (listener, client) = listener();
        let process = Process::start(hand_over(listener, flags).envs(variable));
        word(&client);
        let warning = format!("warning: {warning}");
        process.terminate().expect_code(0).expect_stderr(&[&warning]);
    }
}

#[test]
fn variables_of_the_manager_that_are_wrong_end_it() {
    for (variable, value, line) in [
        ("NOTIFY_SOCKET", "nowhere", "NOTIFY_SOCKET=nowhere is not an address: expected /PATH"),
        ("WATCHDOG_USEC", "soon", "WATCHDOG_USEC=soon is not a positive number of microseconds"),
    ] {
        let (listener, _client) = listener();
        let finished = run(hand_over(listener, &["-s"]).env(variable, value)).expect_code(3);
        assert_eq!(finished.stderr.lines().count(), 1, "{}", finished.describe());
        finished.expect_stderr(&[line]);

        // Without --sdnotify they mean nothing.
        let (listener, client) = crate::handover::listener();
        let process = Process::start(hand_over(listener, &[]).env(variable, value));
        word(&client);
        process.terminate().expect_code(0);
    }
}

#[test]
fn a_watchdog_for_another_process_is_not_answered() {
    let manager = Notified::new();
    let (listener, client) = listener();
    let mut command = hand_over(listener, &["-s"]);
    manager.of(&mut command).env("WATCHDOG_USEC", "1").env("WATCHDOG_PID", "1");
    let process = Process::start(&mut command);
    let _ready_and_status = (manager.message(), manager.message());
    for _ in 0..100 {
        word(&client);
    }
    process.signal(Signal::TERM);
    assert_eq!(manager.message(), "STOPPING=1");
    process.finish().expect_code(0);
}

#[test]
fn start_sleep_comes_before_ready_and_before_anything_is_received() {
    let manager = Notified::new();
    let (listener, client) = listener();
    let start = Instant::now();
    let mut command = hand_over(listener, &["-dst0.3"]);
    let process = Process::start(manager.of(&mut command));
    word(&client);
    assert!(start.elapsed() >= Duration::from_millis(300), "{:?}", start.elapsed());
    // It was sent before the echo, so it is there.
    manager.socket.set_nonblocking(true).expect("O_NONBLOCK");
    assert_eq!(manager.message(), "READY=1");
    let finished = process.terminate().expect_code(0);
    let lines: Vec<_> = finished.stderr.lines().collect();
    let (sleep, recv) = (
        lines.iter().position(|line| line.starts_with("sleeping 300ms")),
        lines.iter().position(|line| line.starts_with("recv ")),
    );
    assert!(sleep.is_some() && sleep < recv, "{}", finished.describe());
}

#[test]
fn a_signal_ends_the_sleep_with_success() {
    for signal in [Signal::TERM, Signal::INT] {
        let manager = Notified::new();
        let (listener, _client) = listener();
        let mut command = hand_over(listener, &["serve", "-d", "-s", "-t", "3600"]);
        let process = Process::start(manager.of(&mut command));
        process.stderr_line("sleeping 3600s").unwrap_or_else(|| panic!("{}", process.describe()));
        process.signal(signal);
        process.finish().expect_code(0);
        manager.expect_no_message();
    }
}

#[test]
fn debug_has_a_line_for_each_receive_and_send() {
    for (kind, name) in [(Kind::Tcp4, "tcp"), (Kind::Udp4, "udp"), (Kind::UnixStream, "unix")] {
        let active = Active::serve(kind, &["--debug"]);
        let client = connect(&active.address, &active.dir);
        messages(&client, &[6]);
        let peer = client.local_addr().expect("an address").as_socket();
        let finished = active.process.terminate().expect_code(0);
        for (verb, direction) in [("recv", "from"), ("send", "to")] {
            let line = format!("{verb} 6 bytes on {name} {direction} ");
            let is_it = |said: &str| match (said.strip_prefix(&line), peer) {
                (Some(shown), Some(peer)) => shown == peer.to_string(),
                (shown, _) => shown.is_some(),
            };
            assert!(finished.stderr.lines().any(is_it), "{line}: {}", finished.describe());
        }
    }
}

/// Replies that have to wait for their receiver are sent one by one.
#[test]
fn debug_has_a_line_for_each_reply_that_waited() {
    const COUNT: usize = 40;
    let dir = Dir::new();
    let socket = UnixDatagram::bind(dir.path("s")).expect("bind");
    let client = UnixDatagram::bind(dir.path("c")).expect("bind");
    client.set_read_timeout(Some(DEADLINE)).expect("a timeout");
    let process = Process::start(&mut hand_over(socket, &["--debug"]));
    // More than its own queue holds (net.unix.max_dgram_qlen).
    for _ in 0..COUNT {
        client.send_to(b"hello", dir.path("s")).expect("send");
    }
    for _ in 0..COUNT {
        assert_eq!(client.recv(&mut [0; 9]).expect("a reply"), 5);
    }
    let stderr = process.terminate().expect_code(0).stderr;
    for verb in ["recv", "send"] {
        let lines = stderr.lines().filter(|line| line.contains(&format!("{verb} 5 bytes")));
        assert_eq!(lines.count(), COUNT, "{verb}: {stderr}");
    }
}

/// Runs the program as inetd does: the connection is standard input, output and error.
fn inetd(connection: &impl AsFd, arguments: &[&str], variables: &[(&str, &str)]) -> Command {
    let stream = || Stdio::from(connection.as_fd().try_clone_to_owned().expect("dup"));
    let mut command = program();
    command.args(arguments).envs(variables.iter().copied());
    command.stdin(stream()).stdout(stream()).stderr(stream());
    command
}

#[test]
fn a_client_gets_the_echo_and_nothing_else() {
    let duplicate = |connection: &UnixStream| connection.try_clone().expect("dup");
    let as_standard_error = |connection: &UnixStream| {
        let mut command = hand_over(duplicate(connection), &["-d"]);
        command.stderr(OwnedFd::from(duplicate(connection)));
        command
    };
    type Start<'a> = &'a dyn Fn(&UnixStream) -> Command;
    let by_inetd = |connection: &UnixStream| inetd(connection, &["-d", "-s"], &[]);
    for start in [&by_inetd as Start, &as_standard_error] {
        let (mut client, connection) = UnixStream::pair().expect("socketpair");
        client.set_read_timeout(Some(DEADLINE)).expect("timeout");
        let mut command = start(&connection);
        let mut child = command.spawn().expect("start");
        // The command has descriptors of the connection, which keep it open.
        drop((command, connection));
        client.write_all(b"hello\n").expect("send");
        client.shutdown(std::net::Shutdown::Write).expect("half-close");
        let mut reply = String::new();
        client.read_to_string(&mut reply).expect("read to the end");
        assert_eq!(reply, "hello\n");
        assert_eq!(child.wait().expect("wait").code(), Some(0));
    }
}

#[test]
fn a_client_does_not_get_our_errors() {
    for (arguments, variables, status) in [
        (&["--no-such-flag"][..], &[][..], 2),
        (&[], &[("LISTEN_FDS", "x")], 3),
        (&["-s"], &[("NOTIFY_SOCKET", "x")], 3),
    ] {
        let (mut client, connection) = UnixStream::pair().expect("socketpair");
        client.set_read_timeout(Some(DEADLINE)).expect("timeout");
        let mut child = inetd(&connection, arguments, variables).spawn().expect("start");
        drop(connection);
        assert_eq!(child.wait().expect("wait").code(), Some(status), "{arguments:?}");
        let mut received = Vec::new();
        client.read_to_end(&mut received).expect("read to the end");
        assert_eq!(String::from_utf8_lossy(&received), "", "{arguments:?}");
    }
}

#[test]
fn the_journal_gets_priorities_and_another_socket_does_not() {
    let (mut journal, stderr) = UnixStream::pair().expect("socketpair");
    journal.set_read_timeout(Some(DEADLINE)).expect("timeout");
    let stat = rustix::fs::fstat(&stderr).expect("fstat");
    let numbers = format!("{}:{}", stat.st_dev, stat.st_ino);
    for (value, start) in
        [(numbers.as_str(), "<3>no sockets"), ("1:1", "socket-activate-echo: no sockets")]
    {
        let mut child = clean(program_path())
            .env("JOURNAL_STREAM", value)
            .stderr(OwnedFd::from(stderr.try_clone().expect("dup")))
            .spawn()
            .expect("start");
        assert_eq!(child.wait().expect("wait").code(), Some(3));
        let mut line = [0; 512];
        let len = journal.read(&mut line).expect("a line");
        let line = String::from_utf8_lossy(&line[..len]);
        assert!(line.starts_with(start), "{line}");
    }
}
