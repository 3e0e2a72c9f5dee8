//! A wrong environment, and descriptors that cannot be served: the message names each one with its
//! value and the remedy, and the exit statuses differ.

use std::fs::File;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, Socket, Type};

use crate::handover::{hand_over, hand_over_with};
use crate::kit::{Dir, clean, has_tool, not_run, program, program_path, run};

/// The exit statuses of `--help`.
const ENVIRONMENT: i32 = 3;
const DESCRIPTOR: i32 = 4;

fn listener() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").expect("bind")
}

/// Runs to the end with a listening socket as fd 3: it says what is wrong in one line, within a
/// second.
#[track_caller]
fn refused(environment: &str, redirections: &str, status: i32, parts: &[&str]) {
    let start = Instant::now();
    let finished = run(&mut hand_over_with(listener(), environment, redirections, &[]));
    let finished = finished.expect_code(status).expect_stderr(parts);
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
    assert_eq!(finished.stderr.lines().count(), 1, "{}", finished.describe());
}

#[test]
fn a_wrong_environment_is_explained() {
    let us = std::process::id();
    let runner = format!("LISTEN_PID={us}");
    let of_runner = format!("process {us} is ");
    let most = "1 or more, 65536 at most";
    for (environment, parts) in [
        ("LISTEN_PID=$$ LISTEN_FDS=", &["LISTEN_FDS=", "not a number", "unset LISTEN_FDS"][..]),
        ("LISTEN_PID=$$ LISTEN_FDS=x", &["LISTEN_FDS=x", "not a number"]),
        ("LISTEN_PID=$$ LISTEN_FDS=0", &["LISTEN_FDS=0", "1 or more"]),
        ("LISTEN_PID=$$ LISTEN_FDS=2000000000", &["LISTEN_FDS=2000000000", most]),
        ("LISTEN_PID=$$ LISTEN_FDS=99999999999999999999", &[most]),
        (
            "LISTEN_PID=99999999999 LISTEN_FDS=1",
            &["LISTEN_PID=99999999999 is too large", "unset LISTEN_FDS"],
        ),
        (
            "LISTEN_PID=1 LISTEN_FDS=1",
            &[
                "LISTEN_PID=1 is another process",
                "process 1 is ",
                "; ancestry: ",
                "exec the program",
            ],
        ),
        ("LISTEN_PID=4194304 LISTEN_FDS=1", &["there is no process 4194304"]),
        (&format!("{runner} LISTEN_FDS=1"), &[&runner, &of_runner]),
        ("LISTEN_FDS=1", &["LISTEN_PID is not"]),
        ("LISTEN_PID=$$", &["LISTEN_FDS is not"]),
        ("LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=a:b", &["LISTEN_FDNAMES=a:b has 2"]),
        ("LISTEN_PID=$$ LISTEN_FDS=2 LISTEN_FDNAMES=a", &["LISTEN_FDNAMES=a", "LISTEN_FDS=2"]),
        ("UNRELATED=1", &["no sockets were passed", ".socket unit"]),
    ] {
        refused(environment, "", ENVIRONMENT, parts);
    }
}

#[test]
fn a_descriptor_of_which_there_is_no_socket_is_named() {
    for (count, redirections, parts) in [
        (1, "3<&-", ["fd 3 (unknown)", "is not open"]),
        (2, "", ["fd 4 (unknown)", "is not open"]),
        (2, "4</dev/null", ["fd 4", "character device"]),
        (2, "4</", ["fd 4", "directory"]),
        (2, "4</etc/passwd", ["fd 4", "regular file"]),
    ] {
        let environment = format!("LISTEN_PID=$$ LISTEN_FDS={count}");
        refused(&environment, redirections, DESCRIPTOR, &parts);
    }
}

#[test]
fn a_process_id_that_was_used_again_is_told_by_the_pidfd() {
    let test = "LISTEN_PIDFDID of another process";
    if socket_activate_echo::activation::own_pidfd_id().is_none() {
        return not_run(test, "this kernel has no pidfs (Linux 6.9)", false);
    }
    let environment = "LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_PIDFDID=1";
    refused(environment, "", ENVIRONMENT, &["LISTEN_PIDFDID=1", "an earlier process"]);
}

#[test]
fn a_message_queue_is_named_with_its_directive() {
    let test = "a POSIX message queue as fd 3";
    if !rustix::process::geteuid().is_root() || !has_tool("unshare", test) {
        return not_run(test, "mounting a mqueue file system needs root", true);
    }
    let dir = Dir::new();
    let script = "mount -t mqueue none \"$1\" && : >\"$1/q\" && exec 3<\"$1/q\" && \
                  LISTEN_PID=$$ LISTEN_FDS=1 exec \"$0\"";
    let mut command = clean("unshare");
    command.args(["--mount", "bash", "-c", script, program_path()]).arg(dir.path(""));
    run(&mut command).expect_code(DESCRIPTOR).expect_stderr(&[
        "fd 3",
        "message queue",
        "ListenMessageQueue=",
    ]);
}

#[test]
fn what_is_no_socket_to_serve_is_refused_with_its_directive() {
    const AF_PACKET: i32 = 17;
    let dir = Dir::new();
    let fifo = dir.path("fifo");
    rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, rustix::fs::Mode::RUSR).expect("mkfifo");
    let fifo = File::options().read(true).write(true).open(&fifo).expect("open");
    let (pipe, _write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).expect("pipe");
    let open = |path| File::open(path).ok().map(OwnedFd::from);
    let socket = |domain: i32, r#type, protocol: Option<i32>| {
        let protocol = protocol.map(Protocol::from);
        Socket::new(Domain::from(domain), r#type, protocol).ok().map(OwnedFd::from)
    };
    let unix = socket(libc::AF_UNIX, Type::STREAM, None);
    for (fd, what, remedy) in [
        (open("/dev/null"), "is a character device", "instead of ListenSpecial="),
        (open(env!("CARGO_MANIFEST_DIR")), "is a directory", "parent process left it open"),
        (
            open(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")),
            "is a regular file",
            "remove OpenFile=",
        ),
        (Some(fifo.into()), "is a FIFO", "ListenFIFO="),
        (Some(pipe), "is a FIFO", "ListenStream="),
        (socket(libc::AF_NETLINK, Type::RAW, None), "of AF_NETLINK", "instead of ListenNetlink="),
        (
            socket(libc::AF_INET, Type::STREAM, None),
            "is an unconnected SOCK_STREAM",
            "listen(2) was not called",
        ),
        (unix, "AF_UNIX", "listen(2)"),
        (socket(libc::AF_INET, Type::RAW, Some(1)), "SOCK_RAW", "AF_INET"),
        (socket(AF_PACKET, Type::DGRAM, Some(0)), "AF_17", ""),
    ] {
        let Some(fd) = fd else {
            not_run(&format!("a socket that {what} as fd 3"), "it needs CAP_NET_RAW", true);
            continue;
        };
        let finished = run(&mut hand_over(fd, &[])).expect_code(DESCRIPTOR);
        assert_eq!(finished.stderr.lines().count(), 1, "{}", finished.describe());
        finished.expect_stderr(&["fd 3 (echo.socket) is a", what, remedy]);
    }
}

/// That it is served where there is no environment, the activators show.
#[test]
fn standard_input_counts_only_without_the_variables() {
    let mut command = program();
    command.stdin(OwnedFd::from(listener())).env("LISTEN_FDS", "1");
    run(&mut command).expect_code(ENVIRONMENT).expect_stderr(&["LISTEN_PID is not"]);
    // Without any, what is no socket is not taken.
    run(&mut program()).expect_code(ENVIRONMENT).expect_stderr(&["standard input is not a socket"]);
}
