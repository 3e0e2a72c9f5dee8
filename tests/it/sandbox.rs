//! `serve --sandbox`: what confines the server, and what happens where that is not allowed. That
//! clients of every kind are served in the sandbox is shown by all other tests: it is the default.

use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::os::unix::process::ExitStatusExt;

use rustix::process::{Signal, kill_process};

use socket_activate_echo::sandbox::Available;

use crate::activators::Kind;
use crate::clients::{connect, messages};
use crate::handover::{Notified, hand_over, hand_over_with, listener};
use crate::kit::{self, Dir, Process, clean, has_tool, program_path};

/// Of each thread, the lines of /proc/PID/status that show the sandbox.
fn threads(process: &Process) -> Vec<(String, String)> {
    let pid = process.pid().as_raw_nonzero();
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).expect("it runs").flatten();
    let threads = tasks.map(|task| {
        let status = std::fs::read_to_string(task.path().join("status")).expect("a status");
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            line.expect("the field").trim().to_owned()
        };
        (field("NoNewPrivs:"), field("Seccomp_filters:"))
    });
    threads.collect()
}

#[test]
fn each_thread_is_confined_unless_it_is_off() {
    if !Available::here().seccomp {
        return kit::not_run("the sandbox of each thread", "no filter of system calls here", false);
    }
    for (flags, more) in [
        (&["--sandbox", "off"][..], 0),
        (&["--sandbox", "auto"], 1),
        (&["--sandbox", "require"], 1),
        (&[], 1),
    ] {
        let manager = Notified::new();
        let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
        let arguments = [&["serve", "--sdnotify", "--workers", "3"], flags].concat();
        let process = Process::start(manager.of(&mut hand_over(listener, &arguments)));
        // It says READY=1 when all threads are confined.
        manager.message();
        // Those of the tests, in a container or a unit.
        let own = std::fs::read_to_string("/proc/self/status").expect("a status");
        let own = own.lines().find_map(|line| line.strip_prefix("Seccomp_filters:"));
        let own: u32 = own.expect("the field").trim().parse().expect("a number");
        let threads = threads(&process);
        assert_eq!(threads.len(), 3);
        for (no_new_privs, filters) in threads {
            assert_eq!(filters, (own + more).to_string(), "{flags:?}");
            assert!(more == 0 || no_new_privs == "1", "{flags:?}");
        }
        process.terminate().expect_code(0);
    }
}

/// What a kernel or an engine forbids: `auto` leaves it out and says so with `--debug`, `require`
/// is an error before anybody is served.
#[test]
fn what_is_forbidden_is_left_out_or_an_error() {
    let test = "what a kernel forbids the sandbox";
    let Available { landlock_abi: Some(_), seccomp: true, .. } = Available::here() else {
        return kit::not_run(test, "there is no sandbox here", false);
    };
    if !has_tool("strace", test) {
        return;
    }
    for (fault, left_out) in [
        ("landlock_create_ruleset:error=ENOSYS", "sandbox without Landlock: "),
        ("landlock_create_ruleset:error=EOPNOTSUPP", "sandbox without Landlock: "),
        ("landlock_create_ruleset:error=EPERM:when=2", "sandbox without Landlock: "),
        ("landlock_restrict_self:error=EPERM", "sandbox without Landlock: "),
        ("landlock_restrict_self:error=E2BIG", "sandbox without Landlock: "),
        ("prctl:error=EPERM", "sandbox without seccomp: "),
        ("prctl:error=ENOSYS", "sandbox without Landlock: "),
        ("seccomp:error=EPERM", "sandbox without seccomp: "),
        ("seccomp:error=ENOSYS", "sandbox without seccomp: "),
        ("seccomp:error=EINVAL", "sandbox without seccomp: "),
    ] {
        let start = |flags: &[&str]| {
            let dir = Dir::new();
            let mut command = clean("strace");
            let calls = fault.split_once(':').expect("a name").0;
            command.args(["-f", "-qq", "-o", "/dev/null", "-e", &format!("trace={calls}")]);
            command.args(["-e", &format!("inject={fault}"), program_path(), "activate", "-l"]);
            command.arg(format!("unix-dgram:{}", dir.path("d").display()));
            command.args(["-l", &Kind::UnixStream.address(&dir), "--now", "--", program_path()]);
            command.arg("serve").args(flags);
            (command, dir)
        };
        let (mut command, dir) = start(&["--debug"]);
        let address = Kind::UnixStream.address(&dir).parse().expect("an address");
        let process = Process::start(&mut command);
        assert!(process.stderr_line(left_out).is_some(), "{fault}: {}", process.describe());
        messages(&connect(&address, &dir), &[64; 10]);
        // strace ends with it. Without strace, it would go on.
        process
            .children()
            .into_iter()
            .for_each(|pid| kill_process(pid, Signal::TERM).expect("kill(2)"));
        process.finish().expect_code(0);
        let (mut command, _dir) = start(&["--sandbox", "require"]);
        kit::run(&mut command).expect_code(1).expect_stderr(&[
            "enter the sandbox: ",
            "use --sandbox auto",
            "`inspect`",
        ]);
    }
}

/// READY=1 says that everything is in place, so an error comes before it.
#[test]
fn nobody_is_told_that_a_server_is_ready_that_cannot_be_confined() {
    let test = "a sandbox that is required and fails";
    if !has_tool("strace", test) || !Available::here().seccomp {
        return;
    }
    let manager = Notified::new();
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    let mut command = clean("strace");
    command.args(["-f", "-qq", "-o", "/dev/null", "-e", "trace=seccomp"]);
    command.args(["-e", "inject=seccomp:error=EINVAL"]);
    let script = "exec 3<&0 0</dev/null; LISTEN_PID=$$ LISTEN_FDS=1 exec \"$@\"";
    command.args(["sh", "-c", script, "sh", program_path()]).stdin(OwnedFd::from(listener));
    command.args(["serve", "--sdnotify", "--workers", "3", "--sandbox", "require"]);
    let finished = kit::run(manager.of(&mut command)).expect_code(1);
    finished.expect_stderr(&["enter the sandbox: filter"]);
    manager.expect_no_message();
}

/// A manager with an abstract name, or with a full queue, gets its messages from inside too.
#[test]
fn a_manager_is_reached_from_inside() {
    let name = format!("socket-activate-echo-test-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(&name).expect("a name");
    let manager = UnixDatagram::bind_addr(&address).expect("bind");
    manager.set_read_timeout(Some(kit::DEADLINE)).expect("a timeout");
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    let environment = format!("LISTEN_PID=$$ LISTEN_FDS=1 NOTIFY_SOCKET=@{name}");
    let flags = ["serve", "--sdnotify", "--debug"];
    let process = Process::start(&mut hand_over_with(listener, &environment, "", &flags));
    let mut buffer = [0; 1000];
    let mut next = || {
        let len = manager.recv(&mut buffer).expect("a message");
        String::from_utf8_lossy(&buffer[..len]).into_owned()
    };
    assert_eq!(next(), "READY=1");
    assert!(next().starts_with("STATUS="));
    process.terminate().expect_code(0);
    assert_eq!(next(), "STOPPING=1");
}

/// A crash is told as what it is, and not as a call that the sandbox forbids.
#[test]
fn a_crash_keeps_its_signal() {
    for signal in [Signal::SEGV, Signal::BUS, Signal::ABORT] {
        let (listener, client) = listener();
        let process = Process::start(&mut hand_over(listener, &["serve"]));
        messages(&client.into(), &[64]);
        process.signal(signal);
        let finished = process.finish();
        assert_eq!(finished.status.signal(), Some(signal.as_raw()), "{}", finished.describe());
        assert!(!finished.stderr.contains("sandbox"), "{}", finished.describe());
    }
}

#[test]
fn a_wrong_mode_is_an_error_of_the_command_line() {
    let mut command = kit::program();
    command.args(["serve", "--sandbox", "on"]);
    kit::run(&mut command).expect_code(2).expect_stderr(&["auto, off or require is expected"]);
}
