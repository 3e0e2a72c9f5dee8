//! The `activate` verb when the system or another process fails.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use socket2::SockRef;

use crate::activate::{activate, listening};
use crate::handover::hand_over;
use crate::kit::{DEADLINE, Dir, Process, clean, has_tool, program, program_path, run};

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

/// The port of the first address that it listens on.
fn port(process: &Process) -> u16 {
    crate::activate::port(&listening(process)[0])
}

/// A connection to the port that sends a byte and gets it back.
#[track_caller]
pub(crate) fn echo(port: u16) {
    let mut client = TcpStream::connect(("127.0.0.1", port)).expect("connect");
    client.set_read_timeout(Some(DEADLINE)).expect("a timeout");
    client.write_all(b"x").expect("send");
    client.read_exact(&mut [0]).expect("an echo");
}

/// A socket is shared with whoever handed it over, and shutdown(2) is for all of its holders. That a
/// listener was shut down is not the traffic that starts the command.
#[test]
fn a_listener_that_was_shut_down_starts_nothing() {
    let echo = ["--", "echo", "started"];
    for (flags, command, is_last) in [
        (&["--accept", "--inetd"][..], &["--", "cat"][..], true),
        (&[], &echo, true),
        (&["-l", "tcp:127.0.0.1:0"], &echo, false),
    ] {
        let dir = Dir::new();
        let tcp = TcpListener::bind("127.0.0.1:0").expect("bind");
        let unix = UnixListener::bind(dir.path("s")).expect("bind");
        for holder in [socket2::Socket::from(tcp), socket2::Socket::from(unix)] {
            let handed_over = holder.try_clone().expect("dup");
            let arguments = [&["activate"], flags, command].concat();
            let process = Process::start(&mut hand_over(handed_over, &arguments));
            assert!(process.stderr_line("waiting for").is_some(), "{}", process.describe());
            holder.shutdown(Shutdown::Both).expect("shutdown");
            let line = process.stderr_line("does not listen any more");
            assert!(line.is_some_and(|line| line.contains("accept on ")), "{}", process.describe());
            let finished = if is_last { process.finish() } else { process.terminate() };
            let finished = finished.expect_code(i32::from(is_last));
            assert_eq!(finished.stdout, "", "{}", finished.describe());
        }
    }
}

/// A program that is gone by the time of the connection costs that connection, and nothing else.
#[test]
fn accept_survives_a_command_that_cannot_be_executed() {
    let dir = Dir::new();
    let program = dir.path("program");
    std::os::unix::fs::symlink("/bin/cat", &program).expect("symlink");
    let path = program.to_str().expect("UTF-8");
    let process =
        Process::start(&mut activate(&["--accept", "--inetd", "-l", "tcp:127.0.0.1:0", path]));
    let port = port(&process);
    echo(port);
    std::fs::remove_file(&program).expect("remove");
    let mut client = TcpStream::connect(("127.0.0.1", port)).expect("connect");
    client.set_read_timeout(Some(DEADLINE)).expect("a timeout");
    assert_eq!(client.read(&mut [0]).expect("the end"), 0);
    let warning = process.stderr_line("warning: run ");
    assert!(warning.is_some_and(|line| line.contains(path)), "{}", process.describe());
    std::os::unix::fs::symlink("/bin/cat", &program).expect("symlink");
    echo(port);
    process.terminate().expect_code(0);
}

#[test]
fn accept_goes_on_with_the_listeners_that_are_left() {
    let holder = TcpListener::bind("127.0.0.1:0").expect("bind");
    let handed_over = holder.try_clone().expect("dup");
    let flags =
        ["activate", "--accept", "--inetd", "-l", "tcp:127.0.0.1:0", "--fdname", "own", "cat"];
    let process = Process::start(&mut hand_over(handed_over, &flags));
    let port = crate::activate::port(&listening(&process)[1]);
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
    for (error, flags, said) in [
        ("EAGAIN", &["--accept", "--inetd", "cat"][..], "start a process for a connection"),
        ("ENOMEM", &["--accept", "--inetd", "cat"], "start a process for a connection"),
        ("EAGAIN", &["--restart"], "Resource temporarily unavailable"),
        ("ENOMEM", &["--restart"], "Cannot allocate memory"),
    ] {
        let dir = Dir::new();
        let log = dir.path("log");
        let flags = [&["activate", "-l", "tcp:127.0.0.1:0"], flags].concat();
        let injection = format!("clone,clone3,fork,vfork:error={error}:when=1..3");
        let process = Process::start(&mut injected(&log, &[&injection], &flags));
        echo(port(&process));
        let finished = process.terminate().expect_code(0);
        let warnings = finished.stderr.matches(said).count();
        assert_eq!(warnings, 1, "{}", finished.describe());
    }
}

/// Between the look at a stale file and its removal another process may put a living socket there.
#[test]
fn a_living_socket_is_never_taken_for_the_stale_one_that_was_there() {
    let test = "a socket that comes between the look and the removal";
    if !has_tool("strace", test) {
        return;
    }
    let dir = Dir::new();
    let path = dir.path("s");
    drop(UnixListener::bind(&path).expect("bind"));
    let address = format!("unix:{}", path.display());
    let log = dir.path("log");
    // connect(2) is what tells whether somebody listens. The process stops right behind it.
    let arguments = ["activate", "-l", &address];
    let mut command = injected(&log, &["connect:signal=SIGSTOP:when=1"], &arguments);
    let process = Process::start(&mut command);
    wait_until_stopped(process.pid());
    std::fs::remove_file(&path).expect("remove");
    let living = UnixListener::bind(&path).expect("bind");
    kill_process(process.pid(), Signal::CONT).expect("kill(2)");
    process.finish().expect_code(5).expect_stderr(&["Address already in use"]);
    let _client = UnixStream::connect(&path).expect("it is still there");
    living.accept().expect("a connection to the living one");
    let files = std::fs::read_dir(dir.path("")).expect("read").flatten();
    let mut names: Vec<_> = files.map(|file| file.file_name()).collect();
    names.sort();
    assert_eq!(names, ["log", "s"]);
}

/// Waits for the stop through waitid(2), which reports a child that stopped without collecting it.
fn wait_until_stopped(pid: Pid) {
    use rustix::process::{WaitId, WaitIdOptions, waitid};
    let options = WaitIdOptions::STOPPED | WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let status = waitid(WaitId::Pid(pid), options);
        let _ = sender.send(status.is_ok_and(|status| status.is_some_and(|it| it.stopped())));
    });
    assert_eq!(receiver.recv_timeout(DEADLINE), Ok(true), "it ended, or runs on");
}

/// A file that a start made and that nothing listens on would be in the way of the next one.
#[test]
fn a_start_that_fails_leaves_no_socket_file() {
    let dir = Dir::new();
    let held = TcpListener::bind("127.0.0.1:0").expect("bind");
    let in_use = format!("tcp:{}", held.local_addr().expect("an address"));
    let script = dir.path("script");
    std::fs::write(&script, "#!/no/such/interpreter\n").expect("write");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&script, mode).expect("chmod");
    let script = script.display().to_string();
    let at = |scheme: &str, name: &str| format!("{scheme}:{}", dir.path(name).display());
    let (stream, datagram, living) = (at("unix", "a"), at("unix-dgram", "b"), at("unix", "living"));
    let kept = UnixListener::bind(dir.path("living")).expect("bind");
    for (arguments, status) in [
        (&["-l", &stream, "-l", &datagram, "-l", &in_use][..], 5),
        (&["-l", &stream, "-l", &living], 5),
        (&["-l", &stream, "-l", &stream], 5),
        (&["--now", "-l", &stream, "-l", &datagram, "--", &script], 127),
    ] {
        run(&mut activate(arguments)).expect_code(status);
        for name in ["a", "b"] {
            assert!(!dir.path(name).exists(), "{name} is left over: {arguments:?}");
        }
    }
    let _client = UnixStream::connect(dir.path("living")).expect("it is still there");
    kept.accept().expect("a connection to it");
}

/// What was handed over to it comes first, whatever numbers the sockets have by then.
#[test]
fn each_socket_has_its_number_and_name_whatever_was_in_the_way() {
    let inner = [program_path(), "activate", "--now", "--fdname", "c:d", "-l", "udp:127.0.0.1:0"];
    // 4 and 5 are open in the program already, and are no sockets of its own.
    let outer = "exec \"$0\" activate --now --fdname a:b -l tcp:127.0.0.1:0 -l udp:127.0.0.1:0 \
                 \"$@\" 4</dev/null 5</dev/null";
    let mut command = clean("sh");
    command.args(["-c", outer, program_path()]).args(inner);
    command.args(["-l", "tcp:127.0.0.1:0", program_path(), "inspect", "--json"]);
    let finished = run(&mut command).expect_code(0);
    let document: serde_json::Value = serde_json::from_str(&finished.stdout).expect("JSON");
    let rows = document["fds"].as_array().expect("an array").iter();
    let row = |row: &serde_json::Value| {
        let text = |value: &serde_json::Value| value.as_str().expect("text").to_owned();
        (row["fd"].as_i64().expect("a number"), text(&row["name"]), text(&row["socket"]["type"]))
    };
    let rows: Vec<_> = rows.map(row).collect();
    let expected = [(3, "a", "STREAM"), (4, "b", "DGRAM"), (5, "c", "DGRAM"), (6, "d", "STREAM")];
    let expected = expected.map(|(fd, name, r#type)| (fd, name.into(), format!("SOCK_{}", r#type)));
    assert_eq!(rows, expected);
}

/// To hand sockets over takes no more descriptors than to have them. Where the limit is too low, the
/// start fails, and not the first client. With --restart each start duplicates the sockets, so the
/// room for that is checked at the beginning.
#[test]
fn it_announces_nothing_that_it_cannot_hand_over() {
    const LIMIT: usize = 32;
    let check = "ulimit -n; echo $LISTEN_FDS; test -S /proc/$$/fd/$((LISTEN_FDS + 2)) && echo open";
    let stop = format!("trap 'exit 0' TERM; {check}; kill -TERM $PPID; while :; do :; done");
    // All but the standard streams and a few of its own.
    for (flags, script, least, most) in [
        (&["--now"][..], check, LIMIT - 6, LIMIT),
        (&["--now", "--restart"], &stop, LIMIT / 2 - 6, LIMIT / 2 - 1),
    ] {
        let mut announced = 0;
        for sockets in LIMIT / 2 - 6..=most {
            let mut command = clean("sh");
            let limit = format!("ulimit -n {LIMIT} && exec \"$@\"");
            command.args(["-c", &limit, "sh", program_path(), "activate"]).args(flags);
            for _ in 0..sockets {
                command.args(["-l", "tcp:127.0.0.1:0"]);
            }
            let finished = run(command.args(["--", "sh", "-c", script]));
            if finished.stderr.contains("listening: ") {
                announced = sockets;
                let finished = finished.expect_code(0);
                let expected = format!("{LIMIT}\n{sockets}\nopen\n");
                assert_eq!(finished.stdout, expected, "{}", finished.describe());
            } else {
                finished.expect_code(5).expect_stderr(&["Too many open files", "ulimit -n"]);
            }
        }
        assert!(announced >= least, "{flags:?}: {announced}");
    }
}

#[test]
fn the_demo_set_needs_a_home_that_is_a_directory_of_the_user() {
    for home in [None, Some(""), Some("relative"), Some(".")] {
        let dir = Dir::new();
        let errors = [&["activate"][..], &["probe"]].map(|verb| {
            let mut command = program();
            command.args(verb).env_remove("HOME").envs(home.map(|home| ("HOME", home)));
            let finished = run(command.current_dir(dir.path(""))).expect_code(2);
            finished.expect_stderr(&["HOME", "set HOME"]).stderr
        });
        assert_eq!(errors[0], errors[1], "{home:?}");
        assert_eq!(std::fs::read_dir(dir.path("")).expect("read").count(), 0);
    }
}
