//! The `activate` verb when the system, or another process, does not do as it should.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use socket2::SockRef;

use crate::handover::hand_over;
use crate::kit::{DEADLINE, Dir, Process, clean, has_tool, program_path};

/// The program under strace, which writes its log to a file. It stays this process's child, with
/// the tracer beside it: a signal reaches it, and its end is the end that is waited for.
fn injected(log: &Path, injections: &[&str], arguments: &[&str]) -> Command {
    let mut command = clean("strace");
    command.args(["-D", "-qq", "-o"]).arg(log);
    for injection in injections {
        command.args(["-e", &format!("inject={injection}")]);
    }
    command.arg(program_path()).args(arguments);
    command
}

/// The port of the first TCP address that it says it listens on.
fn port(process: &Process) -> u16 {
    let line =
        process.stderr_line("listening: ").unwrap_or_else(|| panic!("{}", process.describe()));
    assert!(process.stderr_line("waiting for").is_some(), "{}", process.describe());
    line.rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port")
}

/// A connection to the port that sends a byte and gets it back.
#[track_caller]
fn echo(port: u16) {
    let mut client = TcpStream::connect(("127.0.0.1", port)).expect("connect");
    client.set_read_timeout(Some(DEADLINE)).expect("a timeout");
    client.write_all(b"x").expect("send");
    client.read_exact(&mut [0]).expect("an echo");
}

/// A socket is shared with whoever handed it over, and shutdown(2) is for all of its holders.
#[test]
fn accept_ends_when_its_last_listener_was_shut_down() {
    let dir = Dir::new();
    let tcp = TcpListener::bind("127.0.0.1:0").expect("bind");
    let unix = UnixListener::bind(dir.path("s")).expect("bind");
    for holder in [socket2::Socket::from(tcp), socket2::Socket::from(unix)] {
        let handed_over = holder.try_clone().expect("dup");
        let flags = ["activate", "--accept", "--inetd", "--", "cat"];
        let process = Process::start(&mut hand_over(handed_over, &flags));
        assert!(process.stderr_line("waiting for").is_some(), "{}", process.describe());
        holder.shutdown(Shutdown::Both).expect("shutdown");
        process.finish().expect_code(1).expect_stderr(&["accept on ", "does not listen any more"]);
    }
}

#[test]
fn accept_goes_on_with_the_listeners_that_are_left() {
    let holder = TcpListener::bind("127.0.0.1:0").expect("bind");
    let handed_over = holder.try_clone().expect("dup");
    let flags =
        ["activate", "--accept", "--inetd", "-l", "tcp:127.0.0.1:0", "--fdname", "own", "cat"];
    let process = Process::start(&mut hand_over(handed_over, &flags));
    assert!(process.stderr_line("waiting for").is_some(), "{}", process.describe());
    let addresses: Vec<_> = process.stderr().lines().map(str::to_owned).collect();
    let own = addresses.iter().filter(|line| line.starts_with("listening: ")).nth(1);
    let port = own.and_then(|line| line.rsplit(':').next()?.parse().ok()).expect("a port");
    echo(port);
    SockRef::from(&holder).shutdown(Shutdown::Both).expect("shutdown");
    let left_out = process.stderr_line("does not listen any more");
    assert!(left_out.is_some_and(|line| line.starts_with("warning: accept on ")));
    echo(port);
    process.terminate().expect_code(0);
}

/// accept(2) lists what may come of the network and of a firewall: none of it is the end, and none
/// is tried again without a pause.
#[test]
fn accept_survives_each_error_without_spinning() {
    let test = "errors of accept4 that are injected";
    if !has_tool("strace", test) {
        return;
    }
    for error in [
        "EPERM",
        "ECONNABORTED",
        "EPROTO",
        "ENETDOWN",
        "EHOSTUNREACH",
        "EMFILE",
        "ENFILE",
        "ENOBUFS",
        "ENOMEM",
    ] {
        let dir = Dir::new();
        let log = dir.path("log");
        let flags = ["activate", "--accept", "--inetd", "-l", "tcp:127.0.0.1:0", "cat"];
        // It comes back for good once the fault is over.
        let passing = format!("accept4:error={error}:when=1..4");
        let process = Process::start(&mut injected(&log, &[&passing], &flags));
        echo(port(&process));
        process.terminate().expect_code(0);

        // While it lasts, there is a pause between two tries.
        let lasting = format!("accept4:error={error}");
        let start = Instant::now();
        let process = Process::start(&mut injected(&log, &[&lasting], &flags));
        let port = port(&process);
        let _client = TcpStream::connect(("127.0.0.1", port)).expect("connect");
        let warning = process.stderr_line("trying again");
        assert!(warning.is_some(), "{error}: {}", process.describe());
        process.terminate().expect_code(0);
        let tries = std::fs::read_to_string(&log).expect("the log");
        let tries = tries.lines().filter(|line| line.starts_with("accept4")).count();
        let most = 3 + start.elapsed().as_millis() / Duration::from_millis(10).as_millis();
        assert!(tries as u128 <= most, "{error}: {tries} tries");
    }
}

/// fork(2) answers EAGAIN at the limit of processes: the connection waits for its turn.
#[test]
fn a_connection_waits_for_the_room_for_its_process() {
    let test = "fork errors that are injected";
    if !has_tool("strace", test) {
        return;
    }
    for error in ["EAGAIN", "ENOMEM"] {
        let dir = Dir::new();
        let log = dir.path("log");
        let flags = ["activate", "--accept", "--inetd", "-l", "tcp:127.0.0.1:0", "cat"];
        let injection = format!("clone,clone3,fork,vfork:error={error}:when=1..3");
        let process = Process::start(&mut injected(&log, &[&injection], &flags));
        echo(port(&process));
        let finished = process.terminate().expect_code(0);
        let warnings = finished.stderr.matches("start a process for a connection").count();
        assert_eq!(warnings, 1, "{}", finished.describe());
    }
}
