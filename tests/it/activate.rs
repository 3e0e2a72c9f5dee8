//! The `activate` verb: what it binds, what it refuses, and what the command gets.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal};

use crate::activate_faults::echo;
use crate::kit::{Dir, Process, VSOCK_PORT_IS_TAKEN, clean, has_tool, program, run, unshare_net};

pub(crate) fn activate(arguments: &[&str]) -> Command {
    let mut command = program();
    command.arg("activate").args(arguments);
    command
}

/// Waits until it listens; gives the addresses with the ports that were chosen.
pub(crate) fn listening(process: &Process) -> Vec<String> {
    let ready = process.stderr_line("waiting for");
    assert!(ready.is_some(), "it does not listen: {}", process.describe());
    let stderr = process.stderr();
    let lines = stderr.lines().filter(|line| line.starts_with("listening: "));
    lines.map(|line| line.rsplit(' ').next().unwrap_or_default().to_owned()).collect()
}

pub(crate) fn port(address: &str) -> u16 {
    address.rsplit(':').next().and_then(|port| port.parse().ok()).expect(address)
}

#[test]
fn the_command_takes_our_place_on_the_first_traffic() {
    let script = "echo $$ $LISTEN_PID $LISTEN_FDS $LISTEN_FDNAMES; \
                  for fd in 3 4 5; do test -S /proc/$$/fd/$fd && echo $fd; done; \
                  test -e /proc/$$/fd/6 || echo closed";
    let dir = Dir::new();
    let unix = format!("unix-dgram:{}", dir.path("d").display());
    let command = ["-l", "tcp:127.0.0.1:0", "-l", &unix, "-l", "tcp:[::]:0", "sh", "-c", script];
    for traffic in ["connection", "datagram"] {
        let process = Process::start(&mut activate(&command));
        let addresses = listening(&process);
        let pid = process.pid().as_raw_nonzero();
        match traffic {
            "connection" => {
                TcpStream::connect(("127.0.0.1", port(&addresses[0]))).map(drop).expect("connect")
            }
            _ => {
                let client = UnixDatagram::unbound().expect("a socket");
                client.send_to(b"", dir.path("d")).map(drop).expect("send");
            }
        }
        let finished = process.finish().expect_code(0);
        let expected = format!("{pid} {pid} 3 tcp:unix-dgram:tcp\n3\n4\n5\nclosed\n");
        assert_eq!(finished.stdout, expected, "{}", finished.describe());
    }
}

#[test]
fn with_now_it_does_not_wait_and_names_are_for_all_or_for_each() {
    let two = ["-l", "tcp:127.0.0.1:0", "-l", "udp:127.0.0.1:0"];
    for (flags, names) in [
        (&["--fdname", "x"][..], "x:x"),
        (&["--fdname", "a", "--fdname", "b"], "a:b"),
        (&["--fdname=a:b"], "a:b"),
        (&[], "tcp:udp"),
    ] {
        let mut command = activate(&two);
        command.args(flags).args(["--now", "--", "sh", "-c", "echo $LISTEN_FDNAMES"]);
        assert_eq!(run(&mut command).expect_code(0).stdout.trim(), names);
    }
}

#[test]
fn the_environment_is_passed_on_without_an_earlier_activation() {
    let tail = ["--now", "-l", "tcp:127.0.0.1:0", "sh", "-c", "echo $A$B$C"];
    let mut command = activate(&["-E", "A=1", "-E", "B", "--setenv=A=2"]);
    command.args(tail).env("B", "3").env("C", "4");
    assert_eq!(run(&mut command).expect_code(0).stdout, "234\n");
    let mut command = activate(&["-E", "NO_SUCH_VARIABLE"]);
    run(command.args(tail)).expect_code(2).expect_stderr(&["NO_SUCH_VARIABLE"]);
    let mut command = activate(&["--inetd", "--now", "-l", "tcp:127.0.0.1:0", "--"]);
    command.args(["sh", "-c", "env >&2; test -S /proc/$$/fd/0 -a -S /proc/$$/fd/1"]);
    command.env("LISTEN_PID", "1").env("LISTEN_FDS", "1").env("LISTEN_PIDFDID", "1");
    let finished = run(&mut command).expect_code(0);
    assert!(!finished.stderr.contains("LISTEN_"), "{}", finished.describe());
}

#[test]
fn what_cannot_be_bound_is_named_with_its_remedy() {
    let dir = Dir::new();
    let held = TcpListener::bind("127.0.0.1:0").expect("bind");
    let in_use = format!("tcp:{}", held.local_addr().expect("an address"));
    let us = format!("(pid {})", std::process::id());
    let _stream = UnixListener::bind(dir.path("live")).expect("bind");
    std::fs::write(dir.path("file"), "kept").expect("write");
    let at = |scheme: &str, name: &str| format!("{scheme}:{}", dir.path(name).display());
    for (address, code, parts) in [
        (in_use, 5, vec!["Address already in use", &us]),
        (at("unix", "live"), 5, vec!["Address already in use", &us]),
        (at("unix-dgram", "live"), 5, vec!["Address already in use", &us]),
        (at("unix", "file"), 5, vec!["not a socket"]),
        (at("unix", "no/dir"), 5, vec!["No such file or directory", "mkdir -p"]),
        (at("unix", "no;id/dir"), 5, vec!["`mkdir -p '/", "no;id'`"]),
        ("tcp:192.0.2.1:1".into(), 5, vec!["Cannot assign", "ip addr"]),
        ("udp:[fe80::1]:1".into(), 5, vec!["interface"]),
        ("udp:[fe80::1%nonesuch]:1".into(), 5, vec!["nonesuch", "ip link"]),
        ("tcp:nonesuch.invalid:1".into(), 5, vec!["resolve tcp:nonesuch.invalid:1"]),
        ("vsock:77:5000".into(), 5, vec!["vsock:77:5000", "vsock:any:PORT"]),
        ("vsock-mux:/s:1".into(), 2, vec!["for clients", "vsock:any:PORT"]),
        ("3000".into(), 2, vec!["tcp:127.0.0.1:3000"]),
    ] {
        let finished = run(&mut activate(&["-l", &address])).expect_code(code);
        finished.expect_stderr(&parts).expect_stderr(&[&address]);
    }
    assert_eq!(std::fs::read_to_string(dir.path("file")).expect("read"), "kept");
}

#[test]
fn two_of_our_own_addresses_that_exclude_each_other() {
    let held = TcpListener::bind("127.0.0.1:0").expect("bind");
    let port = held.local_addr().expect("an address").port();
    drop(held);
    let (dual, v4) = (format!("tcp:[::]:{port}"), format!("tcp:0.0.0.0:{port}"));
    run(&mut activate(&["-l", &dual, "-l", &v4]))
        .expect_code(5)
        .expect_stderr(&[&v4, "[::] includes IPv4"]);
}

#[test]
fn a_stale_socket_file_is_replaced() {
    let dir = Dir::new();
    let path = dir.path("s");
    for scheme in ["unix", "unix-dgram", "unix-seqpacket"] {
        drop(UnixListener::bind(&path).expect("bind"));
        let address = format!("{scheme}:{}", path.display());
        let process = Process::start(&mut activate(&["-l", &address]));
        listening(&process);
        process.terminate().expect_code(0).expect_stderr(&["replaced"]);
        std::fs::remove_file(&path).expect("it is left over");
    }
}

#[test]
fn a_port_without_the_privilege() {
    let test = "activate without CAP_NET_BIND_SERVICE";
    if !rustix::process::geteuid().is_root() || !has_tool("setpriv", test) {
        return;
    }
    let mut command = clean("setpriv");
    command.args(["--bounding-set=-net_bind_service", "--inh-caps=-net_bind_service"]);
    command.args([crate::kit::program_path(), "activate", "-l", "tcp:127.0.0.1:7"]);
    run(&mut command).expect_code(5).expect_stderr(&["Permission denied", "1024", "port 7"]);
}

#[test]
fn what_cannot_work_is_refused_before_anything_is_bound() {
    for (arguments, parts) in [
        (&["--accept", "-l", "udp:127.0.0.1:0"][..], &["no connections", "udp:127.0.0.1:0"][..]),
        (&["--accept"], &["demo set"]),
        (&["--accept", "--now", "-l", "tcp:127.0.0.1:0"], &["--now"]),
        (&["--accept", "--restart", "-l", "tcp:127.0.0.1:0"], &["--restart"]),
        (&["--inetd", "-l", "tcp:127.0.0.1:0", "-l", "tcp:127.0.0.1:0"], &["only one"]),
        (&["--inetd"], &["only one"]),
        (&["--fdname", "a:b", "-l", "tcp:127.0.0.1:0"], &["2 names"]),
        (&["--fdname", "a\tb", "-l", "tcp:127.0.0.1:0"], &["printable ASCII"]),
        (&["--fdname", "", "-l", "tcp:127.0.0.1:0"], &["printable ASCII"]),
        (&["-E", "=x", "-l", "tcp:127.0.0.1:0"], &["needs a name"]),
        (&["--backlog", "0"], &["--backlog"]),
    ] {
        run(&mut activate(arguments)).expect_code(2).expect_stderr(parts);
    }
}

#[test]
fn a_command_that_cannot_run_fails_at_once() {
    let dir = Dir::new();
    let script = dir.path("not-executable");
    std::fs::write(&script, "#!/bin/sh\n").expect("write");
    let interpreter = dir.path("no-interpreter");
    std::fs::write(&interpreter, "#!/no/such/interpreter\n").expect("write");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&interpreter, mode).expect("chmod");
    for (flags, command, parts) in [
        (&[][..], "no-such-command", &["No such file", "PATH"][..]),
        (&[], "/no/such/command", &["No such file"]),
        (&[], script.to_str().expect("UTF-8"), &["Permission denied"]),
        (&[], "/tmp", &["Permission denied"]),
        (&["--now"], interpreter.to_str().expect("UTF-8"), &["interpreter"]),
    ] {
        let mut activate = activate(&["-l", "tcp:127.0.0.1:0"]);
        let finished = run(activate.args(flags).arg(command)).expect_code(127);
        finished.expect_stderr(parts).expect_stderr(&[command]);
    }
}

#[test]
fn signals_end_the_wait_with_success() {
    for signal in [Signal::TERM, Signal::INT] {
        for flags in [&["-l", "tcp:127.0.0.1:0"][..], &["-a", "-l", "tcp:127.0.0.1:0"]] {
            let process = Process::start(&mut activate(flags));
            listening(&process);
            process.signal(signal);
            process.finish().expect_code(0);
        }
    }
}

#[test]
fn accept_runs_one_process_for_each_connection() {
    let dir = Dir::new();
    let unix = format!("unix:{}", dir.path("s").display());
    let script = "echo $LISTEN_FDS $LISTEN_FDNAMES $((LISTEN_PID == $$)) $REMOTE_ADDR $REMOTE_PORT \
                  >&3";
    let mut command = activate(&["-a", "-l", "tcp:[::]:0", "-l", &unix, "--", "sh", "-c", script]);
    let process = Process::start(&mut command);
    let addresses = listening(&process);
    for host in ["127.0.0.1", "::1"] {
        let mut stream = TcpStream::connect((host, port(&addresses[0]))).expect("connect");
        let own = stream.local_addr().expect("an address").port();
        let mut line = String::new();
        stream.read_to_string(&mut line).expect("read");
        assert_eq!(line, format!("1 connection 1 {host} {own}\n"));
    }
    let mut line = String::new();
    UnixStream::connect(dir.path("s"))
        .and_then(|mut stream| stream.read_to_string(&mut line))
        .expect("read");
    assert_eq!(line, "1 connection 1\n", "an unnamed peer has no address");
    process.terminate().expect_code(0);
}

#[test]
fn accept_is_bounded_and_leaves_no_zombies() {
    const CONNECTIONS: usize = 20;
    let arguments = ["-a", "--inetd", "--connections-max", "3", "-l", "tcp:127.0.0.1:0", "cat"];
    let process = Process::start(&mut activate(&arguments));
    let port = port(&listening(&process)[0]);
    let mut streams: Vec<_> = (0..CONNECTIONS)
        .map(|_| TcpStream::connect(("127.0.0.1", port)).expect("connect"))
        .collect();
    for stream in &mut streams {
        stream.write_all(b"hello").expect("write");
    }
    // The first three are served while all the others wait; each that ends lets one in.
    for mut stream in streams {
        let mut reply = [0; 5];
        stream.read_exact(&mut reply).expect("read");
        assert_eq!(&reply, b"hello");
        let children = process.children();
        assert!(children.len() <= 3, "{children:?}");
        stream.shutdown(std::net::Shutdown::Write).expect("shutdown");
        assert_eq!(stream.read(&mut reply).expect("read"), 0);
    }
    // Another connection is one more turn of its loop, which collects what ended before.
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("connect");
    stream.write_all(b"hello").expect("write");
    stream.read_exact(&mut [0; 5]).expect("read");
    let stat = |pid: Pid| std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero()));
    let stats = process.children().into_iter().flat_map(stat);
    let zombies: Vec<_> = stats.filter(|stat| stat.contains(") Z ")).collect();
    assert!(zombies.len() <= 1, "{zombies:?}");
    drop(stream);
    process.terminate().expect_code(0);
}

#[test]
fn out_of_descriptors_it_waits_and_recovers() {
    let mut command = clean("sh");
    command.args(["-c", "ulimit -n 16; exec \"$0\" activate -a --inetd -l tcp:127.0.0.1:0 cat"]);
    let process = Process::start(command.arg(crate::kit::program_path()).stdin(Stdio::null()));
    let port = port(&listening(&process)[0]);
    for _ in 0..50 {
        echo(port);
    }
    process.terminate().expect_code(0);
}

#[test]
fn the_demo_set_leaves_out_ipv6_where_there_is_none() {
    let test = "the demo set without IPv6";
    let Some(mut command) = unshare_net(&[], test) else { return };
    let dir = Dir::new();
    let _turn = crate::kit::demo_set_turn();
    // A network namespace of its own, so that nobody's port 3000 is in the way.
    let script = "ip link set lo up && ip address del ::1/128 dev lo && exec \"$0\" activate";
    command.args(["sh", "-c", script, crate::kit::program_path()]);
    let process = Process::start(command.env("HOME", dir.path("")));
    let left_out = ["left out tcp:[::1]:3000", "left out udp:[::1]:3000"];
    if process.stderr_line("waiting for").is_none() {
        // vsock comes last, so all of the others were bound or left out.
        let finished = process.finish().expect_code(5);
        finished.expect_stderr(&left_out).expect_stderr(&[VSOCK_PORT_IS_TAKEN]);
        return;
    }
    let addresses = listening(&process);
    let unix = |name| dir.path(name).display().to_string();
    for address in [
        "tcp:127.0.0.1:3000".to_owned(),
        "udp:127.0.0.1:3000".to_owned(),
        format!("unix:{}", unix("echo_stream_sock.demo")),
        format!("unix-dgram:{}", unix("echo_datagram_sock.demo")),
    ] {
        assert!(addresses.contains(&address), "{address}: {addresses:?}");
    }
    process.terminate().expect_code(0).expect_stderr(&left_out);
}

/// As systemd-socket-activate(1) does: in the original positions, before its own.
#[test]
fn what_was_handed_over_to_it_is_passed_on() {
    let us = crate::kit::program_path();
    let script = "echo $((LISTEN_PID == $$)) $LISTEN_FDS $LISTEN_FDNAMES; \
                  for fd in 3 4; do test -S /proc/$$/fd/$fd && echo $fd; done; :";
    let outer = ["--now", "-l", "tcp:127.0.0.1:0", "--fdname", "outer", "--", us, "activate"];
    let finished = run(activate(&outer).args(["--now", "sh", "-c", script]));
    assert_eq!(finished.stdout, "1 1 outer\n3\n", "{}", finished.describe());
    let finished = run(activate(&outer).args(["--inetd", "-l", "tcp:127.0.0.1:0"]));
    finished.expect_code(2).expect_stderr(&["only one"]);
    let datagram = ["--now", "-l", "udp:127.0.0.1:0", "--", us, "activate", "-a", "cat"];
    run(&mut activate(&datagram)).expect_code(2).expect_stderr(&["fd 3 (udp)", "no connections"]);
}

/// execve(2) keeps the mask of signals, and with it SIGTERM would not end the command.
#[test]
fn the_command_has_no_signal_blocked() {
    let script = "grep SigBlk /proc/self/status";
    for flags in [&["--now"][..], &["--restart", "--now"], &["--accept"]] {
        let mut command = activate(&["-l", "tcp:127.0.0.1:0"]);
        let process = Process::start(command.args(flags).args(["--", "sh", "-c", script]));
        if flags == ["--accept"] {
            TcpStream::connect(("127.0.0.1", port(&listening(&process)[0]))).expect("connect");
        }
        let line = process.stdout_line("SigBlk");
        let mask = line.as_deref().and_then(|line| line.split_whitespace().last());
        assert_eq!(mask, Some("0000000000000000"), "{}", process.describe());
    }
}
