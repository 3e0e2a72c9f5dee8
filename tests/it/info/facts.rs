//! What an answer says: names that strangers choose, and the variables.

use std::net::TcpListener;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

use socket_activate_echo::address::Style;
use socket2::{Domain, SockAddr, Socket, Type};

use std::collections::BTreeSet;

use super::{QUESTION, ask, document, server, to_end};
use crate::activators::Kind;
use crate::clients::connect;
use crate::handover::hand_over_with;
use crate::kit::{DEADLINE, Process, program, program_path, run};

/// Each document is checked to be JSON in one line, without control characters.
#[test]
fn names_of_peers_are_escaped() {
    use std::os::unix::ffi::OsStrExt;
    for (name, shown) in [
        (&b"a\"b\\c"[..], r#"@a"b\x5cc"#),
        (b"\x1b[31m\n\0\x7f", r"@\x1b[31m\x0a\x00\x7f"),
        (b"\xff\xe2\x80\xae", r"@\xff\xe2\x80\xae"),
        (&[0x1b; 107], &format!("@{}", r"\x1b".repeat(107))),
    ] {
        let active = server(Kind::UnixStream, &[]);
        let client = Socket::new(Domain::UNIX, Type::STREAM, None).expect("a socket");
        let address = [b"\0", name].concat();
        let address = SockAddr::unix(std::ffi::OsStr::from_bytes(&address)).expect("an address");
        client.bind(&address).expect("bind");
        client.set_read_timeout(Some(DEADLINE)).expect("a timeout");
        client.connect(&active.sockaddr()).expect("connect");
        let answer = ask(&client, Style::Stream, b"x");
        assert_eq!(answer["peer"]["address"], shown, "{answer}");
        active.process.terminate().expect_code(0);

        let active = server(Kind::UnixDatagram, &[]);
        let address = SocketAddr::from_abstract_name(name).expect("a name");
        let client = UnixDatagram::bind_addr(&address).expect("bind");
        client.set_read_timeout(Some(DEADLINE)).expect("a timeout");
        client.send_to(&QUESTION, active.dir.path("s")).expect("send");
        let mut buffer = [0; 4096];
        let len = client.recv(&mut buffer).expect("an answer");
        assert_eq!(document(&buffer[..len])["peer"]["address"], shown);
        active.process.terminate().expect_code(0);
    }
}

/// An answer tells what the variables were, whatever is in them.
#[test]
fn the_variables_are_told() {
    let long = "n".repeat(2000);
    for (names, name, told) in [
        ("info", "info", "info"),
        ("a\"b", "a\"b", "a\"b"),
        ("\u{1b}c\\", "\u{1b}c\\", "\u{1b}c\\"),
        (&long, &long, &format!("{}…", "n".repeat(697))),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
        let address = listener.local_addr().expect("an address");
        let environment = "LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=\"$NAMES\"";
        let mut command = hand_over_with(listener, environment, "", &["serve", "--info", name]);
        let process = Process::start(command.env("NAMES", names).env("container", "a \"box\""));
        let client = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        client.set_read_timeout(Some(DEADLINE)).expect("a timeout");
        client.connect(&address.into()).expect("connect");
        let answer = ask(&client, Style::Stream, b"x");
        let of_process = &answer["process"];
        let pid = process.pid().as_raw_nonzero().get();
        assert_eq!(of_process["pid"], pid, "{answer}");
        assert_eq!(of_process["listen_pid"], pid.to_string(), "{answer}");
        assert_eq!(of_process["listen_fds"], "1", "{answer}");
        assert_eq!(of_process["listen_fdnames"], told, "{answer}");
        assert!(of_process["listen_pidfdid"].is_null(), "{answer}");
        assert_eq!(of_process["container"], "a \"box\"", "{answer}");
        assert!(of_process["hostname"].as_str().is_some_and(|host| !host.is_empty()), "{answer}");
        process.terminate().expect_code(0);
    }
}

/// A name that no socket has is a mistake that is found at the start, and the others echo.
#[test]
fn only_the_named_sockets_answer() {
    let activate = |names: &str, arguments: &[&str]| {
        let mut command = program();
        command.args(["activate", "--now", "-l", "tcp:127.0.0.1:0", "-l", "tcp:127.0.0.1:0"]);
        command.args(["--fdname", names, "--", program_path(), "serve"]).args(arguments);
        command
    };
    run(&mut activate("a b:b", &["--info", "a b", "--info", "c\u{1b}"]))
        .expect_code(2)
        .expect_stderr(&[r"--info c\x1b: no socket has this fd name; the names are: a b, b; use"]);
    let process = Process::start(&mut activate("a:b", &["--info", "b"]));
    let line = process.stderr_line("(a) tcp:").expect("an address");
    let echo = line.rsplit("tcp:").next().expect("an address");
    let client = std::net::TcpStream::connect(echo).expect("connect").into();
    crate::clients::messages(&client, &[1200]);
    let line = process.stderr_line("(b) tcp:").expect("an address");
    let info = line.rsplit("tcp:").next().expect("an address");
    let client = std::net::TcpStream::connect(info).expect("connect").into();
    ask(&client, Style::Stream, b"x");
    process.terminate().expect_code(0);
}

/// docs/info.md has each field, and no other.
#[test]
fn the_page_names_each_field() {
    let active = server(Kind::Tcp4, &[]);
    let answer = ask(&connect(&active.address, &active.dir), Style::Stream, b"x");
    let mut fields = BTreeSet::from(["schema".to_owned()]);
    for part in ["socket", "peer", "process", "activation"] {
        let keys = answer[part].as_object().expect("a part").keys();
        fields.extend(keys.map(|key| format!("{part}.{key}")));
    }
    assert_eq!(answer.as_object().expect("a document").len(), 5, "{answer}");
    let page = include_str!("../../../docs/info.md");
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`'));
    // Another table is about the flags of engines.
    let rows = rows.filter(|(field, _)| !field.starts_with('-'));
    assert_eq!(rows.map(|(field, _)| field.to_owned()).collect::<BTreeSet<_>>(), fields);
    active.process.terminate().expect_code(0);
}

/// What was asked before a shutdown is answered, and the end of a connection waits for nobody.
#[test]
fn a_shutdown_answers_what_has_come() {
    let active = server(Kind::Tcp4, &[]);
    ask(&connect(&active.address, &active.dir), Style::Stream, b"x");
    let waiting = connect(&active.address, &active.dir);
    waiting.send(b"GET /").expect("send");
    assert!(active.process.stderr_line("accept on info").is_some());
    // Its peer keeps the connection open.
    let answered = connect(&active.address, &active.dir);
    ask(&answered, Style::Stream, b"x");
    let finished = active.process.terminate().expect_code(0);
    document(&to_end(&waiting));
    assert!(!finished.stderr.contains("are lost"), "{}", finished.describe());
    assert!(!finished.stderr.contains("after the shutdown"), "{}", finished.describe());
}
