//! A wrong environment, and descriptors that cannot be served: the message names each one with its
//! value and the remedy, and the exit statuses differ.

use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::process::Stdio;

use socket2::{Domain, Protocol, Socket, Type};

use crate::activators::Active;
use crate::clients::Client;
use crate::handover::{hand_over, hand_over_with};
use crate::kit::{Dir, Finished, Process, clean, has_tool, not_run, program, program_path, run};

/// The exit statuses of `--help`.
const ENVIRONMENT: i32 = 3;
const DESCRIPTOR: i32 = 4;

fn listener() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").expect("bind")
}

/// Runs to the end with a listening socket as fd 3 and this environment.
fn refused(environment: &str) -> Finished {
    run(&mut hand_over_with(listener(), environment, "", &[]))
}

#[test]
fn a_wrong_environment_is_explained() {
    let us = std::process::id();
    let ours = format!("LISTEN_PID={us}");
    let runner = format!("process {us} is ");
    for (environment, parts) in [
        ("LISTEN_PID=$$ LISTEN_FDS=", &["LISTEN_FDS=", "not a number", "unset LISTEN_FDS"][..]),
        ("LISTEN_PID=$$ LISTEN_FDS=99999999999", &["LISTEN_FDS=99999999999"]),
        ("LISTEN_PID=$$ LISTEN_FDS=1000000", &["LISTEN_FDS=1000000", "1 or more, 65536 at most"]),
        (
            "LISTEN_PID=$$ LISTEN_FDS=2000000000",
            &["LISTEN_FDS=2000000000", "1 or more, 65536 at most"],
        ),
        (
            "LISTEN_PID=$$ LISTEN_FDS=2147483647",
            &["LISTEN_FDS=2147483647", "1 or more, 65536 at most"],
        ),
        ("LISTEN_PID=$$ LISTEN_FDS=99999999999999999999", &["1 or more, 65536 at most"]),
        (
            "LISTEN_PID=99999999999 LISTEN_FDS=1",
            &["LISTEN_PID=99999999999 is too large", "unset LISTEN_FDS"],
        ),
        ("LISTEN_PID=x LISTEN_FDS=1", &["LISTEN_PID=x", "not a number"]),
        ("LISTEN_PID=1 LISTEN_FDS=1", &["process 1 is ", "; ancestry: ", "exec the program"]),
        ("LISTEN_PID=4194304 LISTEN_FDS=1", &["there is no process 4194304"]),
        (&format!("{ours} LISTEN_FDS=1"), &[&ours, &runner]),
        ("LISTEN_PID=$$ LISTEN_FDS=2 LISTEN_FDNAMES=a", &["LISTEN_FDNAMES=a", "LISTEN_FDS=2"]),
        ("UNRELATED=1", &["no sockets were passed", ".socket unit"]),
    ] {
        refused(environment).expect_code(ENVIRONMENT).expect_stderr(parts);
    }
}

#[test]
fn a_process_id_that_was_used_again_is_told_by_the_pidfd() {
    let test = "LISTEN_PIDFDID of another process";
    if socket_activate_echo::activation::own_pidfd_id().is_none() {
        return not_run(test, "this kernel has no pidfs (Linux 6.9)", false);
    }
    refused("LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_PIDFDID=1")
        .expect_code(ENVIRONMENT)
        .expect_stderr(&["LISTEN_PIDFDID=1", "an earlier process"]);
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
fn a_socket_without_an_echo_is_named() {
    let socket = |domain: i32, r#type, protocol: Option<i32>| {
        Socket::new(Domain::from(domain), r#type, protocol.map(Protocol::from)).ok()
    };
    const AF_PACKET: i32 = 17;
    for (what, socket, parts) in [
        ("raw", socket(2, Type::RAW, Some(1)), &["SOCK_RAW", "AF_INET"][..]),
        ("packet", socket(AF_PACKET, Type::DGRAM, Some(0)), &["AF_17"]),
        ("unbound unix", socket(1, Type::STREAM, None), &["AF_UNIX", "listen(2)"]),
    ] {
        let Some(socket) = socket else {
            not_run(&format!("a {what} socket as fd 3"), "it needs CAP_NET_RAW", true);
            continue;
        };
        let finished = run(&mut hand_over(socket, &[]));
        finished
            .expect_code(DESCRIPTOR)
            .expect_stderr(&["fd 3 (echo.socket) is a"])
            .expect_stderr(parts);
    }
}

#[test]
fn standard_input_counts_only_without_the_variables() {
    let command = |socket: OwnedFd| {
        let mut command = program();
        command.stdin(Stdio::from(socket));
        command
    };
    // A connection, as of inetd's `nowait` and StandardInput=socket with Accept=yes.
    let listener = listener();
    let client = TcpStream::connect(listener.local_addr().expect("an address")).expect("connect");
    let (connection, _) = listener.accept().expect("accept");
    let process = Process::start(&mut command(connection.into()));
    crate::clients::messages(&client.try_clone().expect("dup").into(), &[1, 4096]);
    drop(client);
    process.finish().expect_code(0);
    // A datagram socket, as of inetd's `wait`.
    let socket = UdpSocket::bind("127.0.0.1:0").expect("bind");
    let address = format!("udp:{}", socket.local_addr().expect("an address"));
    let process = Process::start(&mut command(socket.into()));
    Client::InProcess.check(&Active::at(process, &address));
    // With a wrong environment it is not taken instead.
    run(command(listener.into()).env("LISTEN_FDS", "1"))
        .expect_code(ENVIRONMENT)
        .expect_stderr(&["LISTEN_PID is not"]);
    // Without any, what is no socket is not taken.
    run(&mut program()).expect_code(ENVIRONMENT).expect_stderr(&["standard input is not a socket"]);
}
