//! The `inspect` verb: what it reports about inherited descriptors, and that it changes nothing.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};

use serde_json::Value;

use crate::handover::{hand_over, hand_over_with};
use crate::kit::{Dir, Finished, has_tool, not_run, program, run};

/// The JSON document of a run that ends with `status`.
#[track_caller]
fn document(finished: Finished, status: i32) -> Value {
    let finished = finished.expect_code(status);
    let document: Value = serde_json::from_str(&finished.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", finished.describe()));
    assert_eq!(document["serve"]["exit_status"], status);
    document
}

/// The row of the one socket that is handed over.
#[track_caller]
fn only(socket: impl Into<OwnedFd>) -> Value {
    let document = document(run(&mut hand_over(socket, &["inspect", "--json"])), 0);
    let rows = document["fds"].as_array().expect("an array");
    assert_eq!(rows.len(), 1);
    assert_eq!(rows[0]["fd"], 3);
    assert_eq!(rows[0]["name"], "echo.socket");
    assert_eq!(rows[0]["origin"], "LISTEN_FDS");
    assert_eq!(rows[0]["serve"], true);
    let open = document["open"].as_array().expect("an array");
    // Least of all the descriptor through which the others are listed.
    assert!(open.iter().all(|row| row["what"] != "closed"), "{}", document["open"]);
    let announced = open.iter().filter(|row| row["note"] == "as announced");
    assert_eq!(announced.count(), 1, "{}", document["open"]);
    rows[0].clone()
}

/// Checks how many connections wait, where the kernel tells. An emulator of another processor may
/// not hand the question on.
#[track_caller]
fn check_queue(test: &str, options: &Value, waiting: u64) {
    if options["waiting"].is_null() {
        return not_run(test, "the kernel does not tell the accept queue", false);
    }
    assert_eq!(options["waiting"], waiting);
    assert!(options["backlog"].as_u64() >= Some(waiting), "{options}");
}

#[test]
fn a_tcp_listener_with_its_queue_and_options() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    let address = listener.local_addr().expect("address");
    let _waiting = [TcpStream::connect(address), TcpStream::connect(address)];
    let row = only(listener.try_clone().expect("dup"));
    assert_eq!(row["what"], "listening SOCK_STREAM socket of AF_INET");
    let socket = &row["socket"];
    assert_eq!(socket["family"], "AF_INET");
    assert_eq!(socket["type"], "SOCK_STREAM");
    assert_eq!(socket["protocol"], "TCP");
    assert_eq!(socket["role"], "listening");
    assert_eq!(socket["local"], format!("tcp:{address}"));
    assert_eq!(socket["peer"], Value::Null);
    let options = &socket["options"];
    assert_eq!(options["readable"], true);
    assert_eq!(options["reuseaddr"], true);
    assert_eq!(options["reuseport"], false);
    assert_eq!(options["nonblock"], false);
    assert_eq!(options["v6only"], Value::Null);
    check_queue("inspect::a_tcp_listener_with_its_queue_and_options", options, 2);
    assert!(options["rcvbuf"].as_u64() > Some(0), "{options}");
    assert!(options["congestion"].is_string(), "{options}");
    assert!(options["cookie"].is_u64(), "{options}");
    // Both connections are still there to be accepted, and the socket still blocks.
    for _ in 0..2 {
        listener.accept().expect("it was not accepted by anybody else");
    }
    let flags = rustix::fs::fcntl_getfl(&listener).expect("fcntl");
    assert!(!flags.contains(rustix::fs::OFlags::NONBLOCK));
}

#[test]
fn a_datagram_that_waits_is_left_for_the_server() {
    let socket = UdpSocket::bind("[::1]:0").expect("bind");
    let client = UdpSocket::bind("[::1]:0").expect("bind");
    client.send_to(b"x", socket.local_addr().expect("address")).expect("send");
    let row = only(socket.try_clone().expect("dup"));
    assert_eq!(row["service"], "echoes each datagram to its sender");
    assert_eq!(row["socket"]["family"], "AF_INET6");
    assert_eq!(row["socket"]["protocol"], "UDP");
    assert_eq!(row["socket"]["options"]["pktinfo"], false);
    // The kernel sets it in bind(2) for an address that is not the wildcard.
    assert_eq!(row["socket"]["options"]["v6only"], true);
    assert_eq!(row["socket"]["options"]["readable"], true);
    socket.set_nonblocking(true).expect("non-blocking");
    assert_eq!(socket.recv(&mut [0; 8]).expect("it is still there"), 1);
}

#[test]
fn unix_sockets_with_the_right_to_connect() {
    let dir = Dir::new();
    let path = dir.path("s");
    let listener = UnixListener::bind(&path).expect("bind");
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o620)).expect("chmod");
    let _waiting = UnixStream::connect(&path).expect("connect");
    let row = only(listener);
    assert_eq!(row["socket"]["local"], format!("unix:{}", path.display()));
    let options = &row["socket"]["options"];
    assert_eq!(options["mode"], "0620");
    assert_eq!(options["uid"], rustix::process::geteuid().as_raw());
    assert_eq!(options["passcred"], false);
    check_queue("inspect::unix_sockets_with_the_right_to_connect", options, 1);

    let (_client, connection) = UnixStream::pair().expect("socketpair");
    let row = only(connection);
    assert_eq!(row["socket"]["role"], "connected");
    assert_eq!(row["service"], "echoes bytes on this connection, then ends");

    let datagram = UnixDatagram::bind(dir.path("d")).expect("bind");
    assert_eq!(only(datagram)["socket"]["type"], "SOCK_DGRAM");
}

#[test]
fn a_connection_as_standard_input_gets_the_report() {
    let (mut client, connection) = UnixStream::pair().expect("socketpair");
    client.write_all(b"unread").expect("send");
    let mut command = program();
    command.args(["inspect", "--json"]);
    command.stdin(OwnedFd::from(connection.try_clone().expect("dup")));
    let document = document(run(&mut command), 0);
    assert_eq!(document["fds"][0]["origin"], "standard input");
    assert_eq!(document["fds"][0]["fd"], 0);
    let guess = document["activator"]["guess"].as_str().expect("text");
    assert!(guess.contains("StandardInput=socket"), "{guess}");
    let mut rest = [0; 6];
    (&connection).read_exact(&mut rest).expect("nothing was read");
}

#[test]
fn without_an_activator_it_explains_how_to_get_one() {
    let finished = run(program().arg("inspect")).expect_code(3);
    let parts = [
        "`serve` would exit with status 3: no sockets were passed",
        "`socket-activate-echo activate`",
        "LISTEN_PID is not set MISSING",
        "LISTEN_FDS is not set MISSING",
        "LISTEN_FDNAMES is not set optional",
        "Expected against actual",
        "activator",
        "ancestry",
    ];
    expect_words(&finished, &parts);
    assert_eq!(finished.stderr, "");
    // Only a table, whose cells may be long, is wider than a terminal.
    let is_wide = |line: &&str| line.chars().count() > 80 && !line.starts_with("  2 ");
    let prose = finished.stdout.lines().take_while(|line| *line != "Expected against actual");
    let after = finished.stdout.lines().skip_while(|line| *line != "Environment");
    assert_eq!(prose.chain(after).find(is_wide), None, "{}", finished.describe());
}

/// Checks what is said when a listener is handed over with these variables.
#[track_caller]
fn explains(environment: &str, redirections: &str, status: i32, parts: &[&str]) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    let mut command = hand_over_with(listener, environment, redirections, &["inspect"]);
    expect_words(&run(&mut command).expect_code(status), parts);
}

#[test]
fn a_broken_environment_is_explained_variable_by_variable() {
    for (environment, parts) in [
        (
            "LISTEN_PID=1 LISTEN_FDS=1",
            &[
                "LISTEN_PID=1 WRONG",
                "process 1 is ",
                "announced, but not for this process",
                "activator unknown: the parent is ",
                "< 1 (",
            ][..],
        ),
        ("LISTEN_PID=4194305 LISTEN_FDS=1", &["LISTEN_PID=4194305", "there is no process 4194305"]),
        ("LISTEN_PID=x LISTEN_FDS=1", &["LISTEN_PID=x", ", this process"]),
        ("LISTEN_FDS=1", &["LISTEN_PID is not set MISSING the process id"]),
        ("LISTEN_PID=$$ LISTEN_FDS=x", &["LISTEN_FDS=x", "expected a count of 1 or more"]),
        ("LISTEN_PID=$$ LISTEN_FDS=0", &["LISTEN_FDS=0", "1 or more, 65536 at most"]),
        ("LISTEN_PID=$$", &["LISTEN_FDS is not set MISSING the", "but not announced"]),
        ("LISTEN_FDNAMES=a", &["LISTEN_FDNAMES=a WRONG needs a LISTEN_FDS"]),
        ("LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=a:b", &["expected 1 name(s), there are 2"]),
    ] {
        explains(environment, "", 3, parts);
    }
    let parts = [
        "fd 3 to fd 5, of which these are not open: 5; closed on the way",
        "fd 4 (unknown) is a character device",
        "announced, but not a socket",
        "announced, but not open",
    ];
    explains("LISTEN_PID=$$ LISTEN_FDS=3", "4</dev/null", 4, &parts);
}

#[test]
fn a_variable_that_does_not_stop_serve_is_explained_too() {
    for (variable, parts) in [
        ("", &["LISTEN_FDNAMES is not set optional: a name", "otherwise `unknown`"][..]),
        ("LISTEN_FDNAMES=a", &["this process", "fd 3, which is open", "one name for each"]),
        ("NOTIFY_SOCKET=x", &["NOTIFY_SOCKET=x is not an address"]),
        ("WATCHDOG_USEC=2000000", &["WATCHDOG_USEC=2000000", "a keep-alive is due every 2s"]),
        ("container=podman", &["container=podman", "the engine whose container this is"]),
    ] {
        explains(&format!("LISTEN_PID=$$ LISTEN_FDS=1 {variable}"), "", 0, parts);
    }
}

/// Checks that it printed each part, whatever the line breaks and columns are.
#[track_caller]
fn expect_words(finished: &Finished, parts: &[&str]) {
    let text = words(finished);
    for part in parts {
        assert!(text.contains(part), "no `{part}`: {}", finished.describe());
    }
}

/// What it printed, without the line breaks and the columns.
fn words(finished: &Finished) -> String {
    finished.stdout.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn what_several_descriptors_are_refused_for_is_listed() {
    for (count, lists) in [(1, false), (2, true)] {
        let environment = format!("LISTEN_PID=$$ LISTEN_FDS={count}");
        let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
        let redirections = "3</dev/null 4</dev/null";
        let finished = run(&mut hand_over_with(listener, &environment, redirections, &["inspect"]));
        let finished = finished.expect_code(4);
        assert_eq!(finished.stdout.contains("\nRefused\n"), lists, "{}", finished.describe());
    }
}

#[test]
fn a_socket_on_standard_input_needs_no_variables() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    let mut command = program();
    command.arg("inspect").stdin(OwnedFd::from(listener));
    let finished = run(&mut command).expect_code(0);
    let parts = ["LISTEN_PID is not set not needed", "LISTEN_FDS is not set not needed", "--inetd"];
    expect_words(&finished, &parts);
    let text = words(&finished);
    assert!(!text.contains("MISSING") && !text.contains(" ok "), "{}", finished.describe());
}

/// A process id that differs is why the number of the pidfd does.
#[test]
fn another_process_is_not_taken_for_a_reused_id() {
    let test = "inspect with the LISTEN_PIDFDID of another process";
    if socket_activate_echo::activation::own_pidfd_id().is_none() {
        return not_run(test, "this kernel has no pidfs (Linux 6.9)", false);
    }
    for (environment, reused) in [
        ("LISTEN_PID=1 LISTEN_FDS=1 LISTEN_PIDFDID=1", false),
        ("LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_PIDFDID=1", true),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
        let finished = run(&mut hand_over_with(listener, environment, "", &["inspect"]));
        let environment_part = words(&finished);
        let (_, rows) = environment_part.split_once("Environment").expect("the section");
        assert_eq!(rows.contains("had the same process id"), reused, "{}", finished.describe());
    }
}

/// Of each variable it says what `serve` would: there is one reader.
#[test]
fn the_verdict_on_each_variable_is_the_one_of_serve() {
    let has_pidfs = socket_activate_echo::activation::own_pidfd_id().is_some();
    for (environment, variable, ok) in [
        ("LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_PIDFDID=1", "LISTEN_PIDFDID", !has_pidfs),
        ("LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_PIDFDID=x", "LISTEN_PIDFDID", false),
        ("LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_PIDFDID=", "LISTEN_PIDFDID", false),
        ("LISTEN_PID=$$ LISTEN_FDS=65537", "LISTEN_FDS", false),
        ("LISTEN_PID=$$ LISTEN_FDS=2000000000", "LISTEN_FDS", false),
        ("LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=a:b", "LISTEN_FDNAMES", false),
        ("LISTEN_PID=99999999999 LISTEN_FDS=1", "LISTEN_PID", false),
    ] {
        let listener = || TcpListener::bind("127.0.0.1:0").expect("bind");
        let serve = hand_over_with(listener(), environment, "", &["serve"]);
        let status = if ok { 0 } else { run(&mut { serve }).status.code().expect("it ends") };
        let mut inspect = hand_over_with(listener(), environment, "", &["inspect", "--json"]);
        let document = document(run(&mut inspect), status);
        let rows = document["environment"].as_array().expect("an array");
        let row = rows.iter().find(|row| row["name"] == variable).expect("a row");
        assert_eq!(row["ok"], ok, "{environment}: {row}");
    }
}

#[test]
fn what_serve_would_refuse_has_the_reason() {
    let (read, _write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).expect("pipe");
    let document = document(run(&mut hand_over(read, &["inspect", "--json"])), 4);
    let row = &document["fds"][0];
    assert_eq!(row["what"], "FIFO");
    assert_eq!(row["serve"], false);
    assert_eq!(row["socket"], Value::Null);
    let refusal = row["refusal"].as_str().expect("text");
    assert!(refusal.starts_with("fd 3 (echo.socket) is a FIFO"), "{refusal}");
    assert_eq!(document["serve"]["error"], refusal);
}

/// Every path of an object in the document, with `[]` for an element.
fn paths(value: &Value, prefix: &str, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                let path =
                    if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
                paths(value, &path, found);
            }
        }
        Value::Array(elements) => {
            found.insert(format!("{prefix}[]"));
            elements.iter().for_each(|value| paths(value, &format!("{prefix}[]"), found));
        }
        _ => {
            found.insert(prefix.to_owned());
        }
    }
}

#[test]
fn the_manual_has_every_field_and_no_other() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    let mut found = BTreeSet::new();
    paths(&document(run(&mut hand_over(listener, &["inspect", "--json"])), 0), "", &mut found);
    let manual = include_str!("../../docs/inspect.md");
    let documented: BTreeSet<_> = manual
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once('`'))
        .map(|(field, _)| field.to_owned())
        .filter(|field| field != "fds[].socket")
        .collect();
    assert_eq!(documented, found.into_iter().filter(|path| !path.ends_with("[][]")).collect());
}

#[test]
fn systemd_socket_activate_hands_over_what_it_says() {
    let test = "inspect::systemd_socket_activate_hands_over_what_it_says";
    if !has_tool("systemd-socket-activate", test) {
        return;
    }
    let dir = Dir::new();
    let path = dir.path("s");
    let mut command = crate::kit::clean("systemd-socket-activate");
    command.arg("-l").arg(&path).args(["--fdname", "demo", crate::kit::program_path()]);
    command.args(["inspect", "--json"]);
    let process = crate::kit::Process::start(&mut command);
    assert!(process.stderr_line("Listening on").is_some(), "{}", process.describe());
    let _client = UnixStream::connect(&path).expect("connect");
    let document = document(process.finish(), 0);
    assert_eq!(document["fds"][0]["name"], "demo");
    assert_eq!(document["fds"][0]["socket"]["options"]["readable"], true);
    let guess = document["activator"]["guess"].as_str().expect("text");
    assert!(guess.contains("systemd-socket-activate"), "{guess}");
}
