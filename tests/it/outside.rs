//! Text from outside in a terminal or a log: no name that a stranger chose can control the
//! terminal, or begin a line.

use std::ffi::OsStr;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{UnixListener, UnixStream};

use socket2::{Domain, SockAddr, Socket, Type};

use crate::handover::{hand_over, hand_over_with};
use crate::kit::{
    DEADLINE, Dir, Finished, Process, clean, copy_program_to, program, program_path, run,
};

/// ESC and a newline, the C1 form of the control sequence introducer, and a bidi override.
const HOSTILE: &str = "\u{1b}[31m\nerror forged\u{9b}32m\u{202e}";

/// Checks that nothing in `text` but the end of a line could be obeyed, and that no line is forged.
#[track_caller]
fn expect_printable(text: &str) {
    let obeyed = |char: char| {
        (char.is_control() && char != '\n') || ('\u{202a}'..='\u{202e}').contains(&char)
    };
    assert!(!text.contains(obeyed), "{text:?}");
    let forged = text.lines().find(|line| line.starts_with("error forged"));
    assert_eq!(forged, None, "{text:?}");
}

#[track_caller]
fn expect_both_printable(finished: &Finished) {
    expect_printable(&finished.stdout);
    expect_printable(&finished.stderr);
}

/// A connection to `listener` from a socket that is bound to a hostile path in `dir`.
fn hostile_client(dir: &Dir, listener: &std::path::Path) -> UnixStream {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None).expect("a socket");
    let own = dir.path(HOSTILE);
    socket.bind(&SockAddr::unix(own).expect("an address")).expect("bind");
    socket.connect(&SockAddr::unix(listener).expect("an address")).expect("connect");
    socket.set_read_timeout(Some(DEADLINE)).expect("a timeout");
    std::os::fd::OwnedFd::from(socket).into()
}

#[test]
fn the_path_of_a_peer_is_printable_wherever_it_is_shown() {
    // The activator sets REMOTE_ADDR, `inspect` shows it and the peer's address.
    for flags in [&["inspect"][..], &["inspect", "--json"]] {
        let dir = Dir::new();
        let path = dir.path("s");
        let mut command = program();
        command.args(["activate", "--accept", "-l", &format!("unix:{}", path.display())]);
        let process = Process::start(command.args(["--", program_path()]).args(flags));
        assert!(process.stderr_line("waiting for").is_some(), "{}", process.describe());
        let mut client = hostile_client(&dir, &path);
        // The end of the connection is the end of `inspect`.
        client.read_to_end(&mut Vec::new()).expect("the end");
        let finished = process.terminate().expect_code(0);
        expect_both_printable(&finished);
        assert!(finished.stdout.contains("REMOTE_ADDR"), "{}", finished.describe());
    }
    // The server shows it with --debug.
    let dir = Dir::new();
    let path = dir.path("s");
    let listener = UnixListener::bind(&path).expect("bind");
    let process = Process::start(&mut hand_over(listener, &["serve", "--debug"]));
    let mut client = hostile_client(&dir, &path);
    client.write_all(b"hello").expect("send");
    client.read_exact(&mut [0; 5]).expect("an echo");
    drop(client);
    let finished = process.terminate().expect_code(0);
    expect_both_printable(&finished);
    assert!(finished.stderr.contains("[31m"), "{}", finished.describe());
}

/// Whoever sets the environment of a set-user-ID program, or writes a unit, chooses these.
#[test]
fn the_environment_is_printable_wherever_it_is_shown() {
    let listener = || TcpListener::bind("127.0.0.1:0").expect("bind");
    for (environment, flags, status) in [
        ("LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=$HOSTILE", &["serve", "--debug"][..], 0),
        ("LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=$HOSTILE", &["inspect"], 0),
        ("LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=$HOSTILE", &["inspect", "--json"], 0),
        ("LISTEN_PID=$$ LISTEN_FDS=1 container=$HOSTILE REMOTE_ADDR=$HOSTILE", &["inspect"], 0),
        ("LISTEN_PID=$$ LISTEN_FDS=$HOSTILE", &["serve"], 3),
        ("LISTEN_PID=$$ LISTEN_FDS=2 LISTEN_FDNAMES=$HOSTILE", &["serve"], 3),
        ("LISTEN_PID=$HOSTILE LISTEN_FDS=1", &["inspect"], 3),
        ("LISTEN_PID=$$ LISTEN_FDS=1 NOTIFY_SOCKET=$HOSTILE", &["inspect"], 0),
        ("LISTEN_PID=$$ LISTEN_FDS=1 NOTIFY_SOCKET=/$HOSTILE", &["serve", "--sdnotify"], 0),
        ("LISTEN_PID=$$ LISTEN_FDS=1 NOTIFY_SOCKET=$HOSTILE", &["serve", "--sdnotify"], 3),
        ("LISTEN_PID=$$ LISTEN_FDS=1 WATCHDOG_USEC=$HOSTILE", &["serve", "--sdnotify"], 3),
    ] {
        let listener = listener();
        let address = listener.local_addr().expect("an address");
        let mut command = hand_over_with(listener, &quoted(environment), "", flags);
        let process = Process::start(command.env("HOSTILE", HOSTILE));
        // The command has a descriptor of the listener, which would keep a client waiting.
        drop(command);
        if flags[0] == "serve" && status == 0 {
            let mut client = std::net::TcpStream::connect(address).expect("connect");
            client.write_all(b"x").expect("send");
            client.read_exact(&mut [0]).expect("an echo");
            process.signal(rustix::process::Signal::TERM);
        }
        let finished = process.finish().expect_code(status);
        expect_both_printable(&finished);
        let text = format!("{}{}", finished.stdout, finished.stderr);
        assert!(text.contains("[31m") || status == 0, "{environment}: {}", finished.describe());
    }
}

/// The assignments with the shell's quotes around each value: the hostile one has white space.
fn quoted(environment: &str) -> String {
    let assignments = environment.split(' ').map(|assignment| assignment.split_once('='));
    let quote = |(name, value): (&str, &str)| format!("{name}=\"{value}\" ");
    assignments.flatten().map(quote).collect()
}

/// JSON has an escape of its own for each character, so that a reader gets what there was.
#[test]
fn the_json_of_inspect_keeps_what_it_escapes() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    let environment = quoted("LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=$HOSTILE");
    let mut command = hand_over_with(listener, &environment, "", &["inspect", "--json"]);
    let finished = run(command.env("HOSTILE", HOSTILE)).expect_code(0);
    expect_printable(&finished.stdout);
    let document: serde_json::Value = serde_json::from_str(&finished.stdout).expect("JSON");
    assert_eq!(document["fds"][0]["name"], HOSTILE);
}

/// Another user's program, under a name that it chose, has the port.
#[test]
fn the_name_of_a_process_is_printable_where_it_explains() {
    let dir = Dir::new();
    for name in [&b"\x1b[31m\nerror: f"[..], b"\xc2\x9b31m\xe2\x80\xae", b"\xff\xfe(x) y"] {
        let copy = dir.path("").join(OsStr::from_bytes(name));
        copy_program_to(&copy);
        let mut command = clean(&copy);
        let holder = Process::start(command.args(["activate", "-l", "tcp:127.0.0.1:0"]));
        let line = holder.stderr_line("listening: fd 3").expect("it listens");
        let address = line.rsplit(' ').next().unwrap_or_default();
        let finished = run(program().args(["activate", "-l", address])).expect_code(5);
        expect_both_printable(&finished);
        assert_eq!(finished.stderr.lines().count(), 1, "{}", finished.describe());
        let pid = format!("(pid {}) has this address", holder.pid().as_raw_nonzero());
        finished.expect_stderr(&["Address already in use", &pid]);
        // What it says of itself has its own name in it.
        expect_both_printable(&holder.terminate().expect_code(0));
    }
}

#[test]
fn what_was_typed_is_printable_where_it_is_refused() {
    let path = format!("unix:/no/such/{HOSTILE}");
    for (arguments, status) in [
        (&["activate", "-l", HOSTILE][..], 2),
        (&["activate", "-l", &path], 5),
        (&["activate", "-l", "tcp:a\u{1b}b:1"], 2),
        (&["activate", "-l", "tcp:a\u{202e}b:1"], 2),
        (&["activate", "-l", "tcp:[fe80::1%\u{1b}c]:1"], 2),
        (&["activate", "-l", "tcp:127.0.0.1:0", "--", HOSTILE], 127),
        (&["activate", "-E", HOSTILE], 2),
        (&["activate", "--fdname", HOSTILE], 2),
        (&[HOSTILE], 2),
    ] {
        let finished = run(program().args(arguments)).expect_code(status);
        expect_both_printable(&finished);
        assert_eq!(finished.stderr.lines().count(), 1, "{}", finished.describe());
    }
}
