//! The flags of `serve`, what it sends to the service manager, and where it logs.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
use rustix::process::Signal;

use crate::handover::{hand_over, hand_over_with};
use crate::kit::{DEADLINE, Dir, Process, clean, program, program_path, run};

/// A listening socket for the program, and a connection to it.
fn listener() -> (TcpListener, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    let client = TcpStream::connect(listener.local_addr().expect("address")).expect("connect");
    client.set_read_timeout(Some(DEADLINE)).expect("timeout");
    (listener, client)
}

/// A service manager that listens for notifications.
fn manager(dir: &Dir) -> UnixDatagram {
    let manager = UnixDatagram::bind(dir.path("notify")).expect("bind");
    manager.set_read_timeout(Some(DEADLINE)).expect("timeout");
    manager
}

fn with_manager<'a>(command: &'a mut Command, dir: &Dir) -> &'a mut Command {
    command.env("NOTIFY_SOCKET", dir.path("notify"))
}

#[track_caller]
fn message(manager: &UnixDatagram) -> String {
    let mut buffer = [0; 4096];
    let len = manager.recv(&mut buffer).expect("a message");
    String::from_utf8_lossy(&buffer[..len]).into_owned()
}

/// Sends a word and reads it back.
#[track_caller]
fn echo(client: &mut TcpStream) {
    client.write_all(b"hello\n").expect("send");
    let mut reply = [0; 6];
    client.read_exact(&mut reply).expect("an echo");
    assert_eq!(&reply, b"hello\n");
}

#[test]
fn ready_first_and_alone_then_status_then_stopping() {
    let dir = Dir::new();
    let manager = manager(&dir);
    let (listener, mut client) = listener();
    let address = listener.local_addr().expect("address");
    let mut command = hand_over(listener, &["serve", "--sdnotify"]);
    let process = Process::start(with_manager(&mut command, &dir));
    assert_eq!(message(&manager), "READY=1");
    assert_eq!(message(&manager), format!("STATUS=serving 1 socket: tcp:{address}"));
    echo(&mut client);
    // The connection stays open: STOPPING=1 does not wait for it.
    process.signal(Signal::TERM);
    assert_eq!(message(&manager), "STOPPING=1");
    let finished = process.finish().expect_code(0);
    assert_eq!(finished.stderr, "served 1 connection and 0 datagrams, 6 bytes\n");
}

#[test]
fn at_the_end_it_says_what_it_served_but_not_for_each_connection() {
    let dir = Dir::new();
    let socket = UnixDatagram::bind(dir.path("server")).expect("bind");
    let process = Process::start(&mut hand_over(socket, &["serve"]));
    let client = UnixDatagram::bind(dir.path("client")).expect("bind");
    let unnamed = UnixDatagram::unbound().expect("socket");
    for sender in [&unnamed, &client] {
        sender.send_to(b"hello", dir.path("server")).expect("send");
    }
    assert_eq!(message(&client), "hello");
    process.terminate().expect_code(0).expect_stderr(&[
        "served 0 connections and 2 datagrams, 10 bytes; 1 datagram was not answered\n",
    ]);
    for (flags, said) in [(&["serve"][..], false), (&["serve", "-d"], true)] {
        let (client, connection) = UnixStream::pair().expect("socketpair");
        drop(client);
        let finished = run(&mut hand_over(connection, flags)).expect_code(0);
        assert_eq!(finished.stderr.contains("served"), said, "{}", finished.describe());
    }
}

#[test]
fn without_a_listening_manager_it_warns_and_serves() {
    let dir = Dir::new();
    let path = dir.path("notify").display().to_string();
    for (notify_socket, warning) in [
        (None, "warning: --sdnotify is given but NOTIFY_SOCKET is not set: no service manager"),
        (Some(path.as_str()), "warning: send READY=1 to NOTIFY_SOCKET="),
    ] {
        let (listener, mut client) = listener();
        let mut command = hand_over(listener, &["-s"]);
        command.envs(notify_socket.map(|value| ("NOTIFY_SOCKET", value)));
        let process = Process::start(&mut command);
        echo(&mut client);
        process.terminate().expect_code(0).expect_stderr(&[warning]);
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
        let (listener, mut client) = self::listener();
        let process = Process::start(hand_over(listener, &[]).env(variable, value));
        echo(&mut client);
        process.terminate().expect_code(0);
    }
}

#[test]
fn the_keep_alive_comes_for_as_long_as_the_loop_turns() {
    let dir = Dir::new();
    let manager = manager(&dir);
    let (listener, mut client) = listener();
    let mut command = hand_over(listener, &["-s"]);
    with_manager(&mut command, &dir).env("WATCHDOG_USEC", "20000");
    let process = Process::start(&mut command);
    let _ready_and_status = (message(&manager), message(&manager));
    for _ in 0..3 {
        assert_eq!(message(&manager), "WATCHDOG=1");
        echo(&mut client);
    }
    process.terminate().expect_code(0);
}

#[test]
fn a_watchdog_for_another_process_is_not_answered() {
    let dir = Dir::new();
    let manager = manager(&dir);
    let (listener, mut client) = listener();
    let mut command = hand_over(listener, &["-s"]);
    with_manager(&mut command, &dir).env("WATCHDOG_USEC", "1").env("WATCHDOG_PID", "1");
    let process = Process::start(&mut command);
    let _ready_and_status = (message(&manager), message(&manager));
    for _ in 0..100 {
        echo(&mut client);
    }
    process.signal(Signal::TERM);
    assert_eq!(message(&manager), "STOPPING=1");
    process.finish().expect_code(0);
}

#[test]
fn a_watchdog_that_nobody_will_feed_is_said() {
    let (listener, mut client) = listener();
    let process = Process::start(hand_over(listener, &[]).env("WATCHDOG_USEC", "20000000"));
    echo(&mut client);
    let finished = process.terminate().expect_code(0);
    finished.expect_stderr(&["warning: WATCHDOG_USEC is set but --sdnotify is not given"]);
}

#[test]
fn start_sleep_comes_before_ready_and_before_anything_is_received() {
    let dir = Dir::new();
    let manager = manager(&dir);
    let (listener, mut client) = listener();
    let start = Instant::now();
    let mut command = hand_over(listener, &["-dst0.3"]);
    let process = Process::start(with_manager(&mut command, &dir));
    echo(&mut client);
    assert!(start.elapsed() >= Duration::from_millis(300), "{:?}", start.elapsed());
    // It was sent before the echo, so it is there.
    manager.set_nonblocking(true).expect("non-blocking");
    assert_eq!(message(&manager), "READY=1");
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
        let dir = Dir::new();
        let manager = manager(&dir);
        let (listener, _client) = listener();
        let mut command = hand_over(listener, &["serve", "-d", "-s", "-t", "3600"]);
        let process = Process::start(with_manager(&mut command, &dir));
        process.stderr_line("sleeping 3600s").unwrap_or_else(|| panic!("{}", process.describe()));
        process.signal(signal);
        process.finish().expect_code(0);
        manager.set_nonblocking(true).expect("non-blocking");
        assert!(manager.recv(&mut [0; 64]).is_err(), "it was never ready");
    }
}

#[test]
fn debug_has_a_line_for_each_receive_and_send() {
    let (listener, mut client) = listener();
    let peer = client.local_addr().expect("address");
    let process = Process::start(&mut hand_over(listener, &["--debug"]));
    echo(&mut client);
    process.terminate().expect_code(0).expect_stderr(&[
        &format!("\nrecv 6 bytes on echo.socket from {peer}\n"),
        &format!("\nsend 6 bytes on echo.socket to {peer}\n"),
    ]);
}

#[test]
fn debug_has_a_line_for_each_datagram() {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("bind");
    let client = UdpSocket::bind("127.0.0.1:0").expect("bind");
    client.set_read_timeout(Some(DEADLINE)).expect("timeout");
    client.connect(socket.local_addr().expect("address")).expect("connect");
    let peer = client.local_addr().expect("address");
    let process = Process::start(&mut hand_over(socket, &["-d"]));
    client.send(b"hi").expect("send");
    assert_eq!(client.recv(&mut [0; 8]).expect("an echo"), 2);
    process.terminate().expect_code(0).expect_stderr(&[
        &format!("recv 2 bytes on echo.socket from {peer}\n"),
        &format!("send 2 bytes on echo.socket to {peer}\n"),
    ]);
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

#[test]
fn debug_names_unix_peers() {
    let dir = Dir::new();
    let listener = UnixListener::bind(dir.path("s")).expect("bind");
    let mut client = UnixStream::connect(dir.path("s")).expect("connect");
    client.set_read_timeout(Some(DEADLINE)).expect("timeout");
    let process = Process::start(&mut hand_over(listener, &["-d"]));
    client.write_all(b"x").expect("send");
    client.read_exact(&mut [0]).expect("an echo");
    process.terminate().expect_code(0).expect_stderr(&["recv 1 bytes on echo.socket from "]);
}

#[test]
fn without_flags_only_the_line_at_the_end_is_written() {
    let (listener, mut client) = listener();
    let process = Process::start(&mut hand_over(listener, &[]));
    echo(&mut client);
    let finished = process.terminate().expect_code(0);
    let line = "served 1 connection and 0 datagrams, 6 bytes\n";
    assert_eq!((finished.stdout.as_str(), finished.stderr.as_str()), ("", line));
}

#[test]
fn what_is_wrong_is_one_line_within_a_second() {
    let ours = "LISTEN_PID=$$";
    for (environment, redirections, status, parts) in [
        (format!("{ours} LISTEN_FDS=x"), "", 3, &["LISTEN_FDS=x", "not a number"][..]),
        (format!("{ours} LISTEN_FDS=-1"), "", 3, &["LISTEN_FDS=-1", "1 or more"]),
        (format!("{ours} LISTEN_FDS=0"), "", 3, &["LISTEN_FDS=0", "1 or more"]),
        ("LISTEN_FDS=1".to_owned(), "", 3, &["LISTEN_PID is not"]),
        (ours.to_owned(), "", 3, &["LISTEN_FDS is not"]),
        ("LISTEN_PID=1 LISTEN_FDS=1".to_owned(), "", 3, &["LISTEN_PID=1 is another process"]),
        (format!("{ours} LISTEN_FDS=1 LISTEN_FDNAMES=a:b"), "", 3, &["LISTEN_FDNAMES=a:b has 2"]),
        (format!("{ours} LISTEN_FDS=1"), "3<&-", 4, &["fd 3 (unknown)", "is not open"]),
        (format!("{ours} LISTEN_FDS=2"), "", 4, &["fd 4 (unknown)", "is not open"]),
        (format!("{ours} LISTEN_FDS=2"), "4</dev/null", 4, &["fd 4", "character device"]),
        (format!("{ours} LISTEN_FDS=2"), "4</", 4, &["fd 4", "directory"]),
        (format!("{ours} LISTEN_FDS=2"), "4</etc/passwd", 4, &["fd 4", "regular file"]),
    ] {
        let (listener, _client) = listener();
        let start = Instant::now();
        let mut command = hand_over_with(listener, &environment, redirections, &[]);
        let finished = run(&mut command).expect_code(status);
        assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
        assert_eq!(finished.stderr.lines().count(), 1, "{}", finished.describe());
        finished.expect_stderr(parts);
    }
}

#[test]
fn what_is_no_socket_to_serve_is_refused_with_its_directive() {
    let dir = Dir::new();
    let fifo = dir.path("fifo");
    rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, rustix::fs::Mode::RUSR).expect("mkfifo");
    let fifo = File::options().read(true).write(true).open(&fifo).expect("open");
    let (pipe, _write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).expect("pipe");
    let socket = |family, r#type| socket_with(family, r#type, SocketFlags::CLOEXEC, None);
    let netlink = socket(AddressFamily::NETLINK, SocketType::RAW);
    let tcp = socket(AddressFamily::INET, SocketType::STREAM);
    let open = |path| OwnedFd::from(File::open(path).expect("open"));
    for (fd, what, remedy) in [
        (open("/dev/null"), "is a character device", "instead of ListenSpecial="),
        (open(env!("CARGO_MANIFEST_DIR")), "is a directory", "parent process left it open"),
        (
            open(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")),
            "is a regular file",
            "remove OpenFile=",
        ),
        (OwnedFd::from(fifo), "is a FIFO", "ListenFIFO="),
        (pipe, "is a FIFO", "ListenStream="),
        (netlink.expect("socket"), "of AF_NETLINK", "instead of ListenNetlink="),
        (tcp.expect("socket"), "is an unconnected SOCK_STREAM", "listen(2) was not called"),
    ] {
        let finished = run(&mut hand_over(fd, &[])).expect_code(4);
        assert_eq!(finished.stderr.lines().count(), 1, "{}", finished.describe());
        finished.expect_stderr(&["fd 3 (echo.socket) is a", what, remedy]);
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
    let (mut client, connection) = UnixStream::pair().expect("socketpair");
    client.set_read_timeout(Some(DEADLINE)).expect("timeout");
    let mut child = inetd(&connection, &["-d", "-s"], &[]).spawn().expect("start");
    drop(connection);
    client.write_all(b"hello\n").expect("send");
    client.shutdown(std::net::Shutdown::Write).expect("half-close");
    let mut reply = String::new();
    client.read_to_string(&mut reply).expect("read to the end");
    assert_eq!(reply, "hello\n");
    assert_eq!(child.wait().expect("wait").code(), Some(0));
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
fn an_inherited_connection_as_standard_error_stays_silent_too() {
    let (mut client, connection) = UnixStream::pair().expect("socketpair");
    client.set_read_timeout(Some(DEADLINE)).expect("timeout");
    let mut command = hand_over(connection.try_clone().expect("dup"), &["-d"]);
    let mut child = command.stderr(OwnedFd::from(connection)).spawn().expect("start");
    // The command has a descriptor of the connection, which keeps it open.
    drop(command);
    client.write_all(b"x").expect("send");
    client.shutdown(std::net::Shutdown::Write).expect("half-close");
    let mut reply = String::new();
    client.read_to_string(&mut reply).expect("read to the end");
    assert_eq!(reply, "x");
    assert_eq!(child.wait().expect("wait").code(), Some(0));
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
