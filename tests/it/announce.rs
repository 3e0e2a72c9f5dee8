//! What `activate` prints: how to connect to its sockets, what it runs and why, and what failed.

use std::io::Read;
use std::net::TcpStream;

use socket_activate_echo::activator::Bound;

use crate::activate::{activate, listening, port};
use crate::kit::{Dir, Process, clean, has_tool, not_run, program_path, run, unshare_net};

/// What is printed to be copied is run, as it is, and has to work.
#[test]
fn each_command_to_try_works() {
    let test = "activate::each_command_to_try_works";
    if !has_tool("socat", test) {
        return;
    }
    for kind in crate::activators::Kind::ALL {
        let dir = Dir::new();
        let mut command = activate(&["-l", &kind.address(&dir)]);
        let process = Process::start(&mut command);
        listening(&process);
        let stderr = process.stderr();
        let tries: Vec<_> =
            stderr.lines().filter_map(|line| line.trim_start().strip_prefix("try: ")).collect();
        assert_eq!(tries.len(), 2, "{kind:?}: {}", process.describe());
        for (line, reply) in tries.into_iter().zip(["hello", "echoed"]) {
            let finished = run(clean("sh").args(["-c", line])).expect_code(0);
            assert!(finished.stdout.contains(reply), "{kind:?}: {}", finished.describe());
        }
    }
}

#[test]
fn what_cannot_work_here_is_not_suggested() {
    // Without socat, there is probe.
    let process =
        Process::start(activate(&["-l", "tcp:127.0.0.1:0", program_path()]).env("PATH", "/none"));
    listening(&process);
    let finished = process.terminate().expect_code(0).expect_stderr(&[" probe tcp:127.0.0.1:"]);
    assert!(!finished.stderr.contains("socat"), "{}", finished.describe());

    let test = "commands to try without an IPv6 loopback address";
    let Some(mut command) = unshare_net(&[], test) else { return };
    let script = "ip link set lo up && ip address del ::1/128 dev lo && \
                  exec \"$0\" activate -l tcp:[::]:3000 -l udp:224.0.0.1:3000";
    command.args(["sh", "-c", script, program_path()]);
    let process = Process::start(&mut command);
    listening(&process);
    let finished = process.terminate().expect_code(0);
    let tries: Vec<_> = finished.stderr.lines().filter(|line| line.contains("try: ")).collect();
    assert!(!tries.is_empty() && tries.iter().all(|line| line.ends_with(":127.0.0.1:3000")));
}

/// A kernel without the loopback transport binds vsock sockets, and no client here reaches them.
#[test]
fn vsock_without_the_loopback_transport_names_the_module() {
    let local = |port| Bound::new(&format!("vsock:{port}").parse().expect("parses"), 1, "s");
    let test = "activate without the vsock loopback transport";
    if local("local:4294967295").is_ok() || local("any:4294967295").is_err() {
        return not_run(test, "this kernel has vsock_loopback, or no vsock at all", false);
    }
    let process = Process::start(&mut activate(&["-l", "vsock:any:4294967295"]));
    listening(&process);
    let finished = process.terminate().expect_code(0).expect_stderr(&["`modprobe vsock_loopback`"]);
    assert!(!finished.stderr.contains("try: "), "{}", finished.describe());
}

#[test]
fn it_says_what_runs_and_why() {
    let script = "echo $LISTEN_FDNAMES\n\u{1b}";
    let shown = r"sh -c $'echo $LISTEN_FDNAMES\x0a\x1b'";
    for (flags, start) in
        [(&["--fdname", "a:b"][..], "traffic on fd 4 (b): running "), (&["--now"], "running ")]
    {
        let two = ["-l", "udp:127.0.0.1:0", "-l", "tcp:127.0.0.1:0"];
        let process = Process::start(activate(flags).args(two).args(["--", "sh", "-c", script]));
        if flags != ["--now"] {
            let port = port(&listening(&process)[1]);
            TcpStream::connect(("127.0.0.1", port)).expect("connect");
        }
        let finished = process.finish();
        let line = format!("{start}{shown}");
        assert!(
            finished.stderr.lines().any(|said| said.starts_with(&line)),
            "{}",
            finished.describe()
        );
    }
    let process = Process::start(&mut activate(&["-l", "tcp:127.0.0.1:0"]));
    listening(&process);
    process.terminate().expect_code(0).expect_stderr(&["ended by SIGTERM before any traffic"]);
}

/// A client can make the command fail as often as it likes, and the log does not grow with that.
#[test]
fn a_command_that_fails_for_a_connection_is_named_now_and_then() {
    for (command, how) in [("exit 7", "exit status: 7"), ("kill -KILL $$", "signal: 9 (SIGKILL)")] {
        const CLIENTS: usize = 20;
        let arguments = ["-a", "-l", "tcp:127.0.0.1:0", "--", "sh", "-c", command];
        let process = Process::start(&mut activate(&arguments));
        let port = port(&listening(&process)[0]);
        let started = std::time::Instant::now();
        let connect = |_| TcpStream::connect(("127.0.0.1", port)).expect("connect");
        let clients: Vec<_> = (0..CLIENTS).map(connect).collect();
        let peers: Vec<_> = clients.iter().map(|client| client.local_addr()).collect();
        for mut client in clients {
            // The end of the process is the end of its connection.
            let _ = client.read(&mut [0]);
        }
        let first = process.stderr_line("warning: the command for ").expect("a line");
        assert!(first.contains(&format!(" failed: {how} (pid ")), "{first}");
        assert!(first.contains("--inetd"), "{first}");
        let peer = first.split_whitespace().nth(4).and_then(|peer| peer.strip_prefix("tcp:"));
        let peer = peer.and_then(|peer| peer.parse().ok()).expect("an address");
        assert!(peers.iter().flatten().any(|known| *known == peer), "{first}");
        let finished = process.terminate().expect_code(0);
        let lines = finished.stderr.lines().filter(|line| line.starts_with("warning: "));
        let most = 4 + 2 * started.elapsed().as_secs() as usize;
        assert!(lines.count() <= most, "{}", finished.describe());
        finished
            .expect_stderr(&["failures of the command that were not logged: ", "ended by SIGTERM"]);
    }
}
