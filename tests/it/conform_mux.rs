//! `conform --vsock-mux`, against multiplexers that are each wrong in one way.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Signal, getpid, kill_process};
use serde_json::Value;

use crate::kit::{Dir, Finished, Process, clean, deadline, program, run};

const PORT: u32 = 3000;
/// How the process that is a multiplexer is told its behaviour and its path.
const BEHAVIOUR: &str = "FAKE_MUX_BEHAVIOUR";
const PATH: &str = "FAKE_MUX_PATH";

/// A behaviour, and the cases that do not pass with it.
const MUXES: [(&str, &[(&str, &str)]); 8] = [
    ("good", &[]),
    ("leaks-after-a-part", &[("mux.partial-connect", "fail")]),
    // As in cloud-hypervisor#6798. Nobody is there for the cases that follow.
    (
        "ends-after-a-part",
        &[
            ("mux.partial-connect", "fail"),
            ("mux.abrupt-close", "skip"),
            ("mux.half-close", "skip"),
            ("mux.many", "skip"),
            ("mux.bulk", "skip"),
        ],
    ),
    ("leaks-after-a-reset", &[("mux.abrupt-close", "fail")]),
    // As in cloud-hypervisor#8300.
    ("drops-the-reply", &[("mux.half-close", "fail")]),
    // As in rust-vmm/vhost-device#874.
    ("does-not-end", &[("mux.half-close", "fail")]),
    ("is-stuck-in-the-middle", &[("mux.bulk", "fail")]),
    ("has-every-port", &[("mux.no-listener", "fail")]),
];

#[test]
fn exactly_the_right_cases_fail() {
    std::thread::scope(|scope| {
        for (behaviour, expected) in MUXES {
            scope.spawn(move || {
                let dir = Dir::new();
                let (_mux, address) = start(&dir, behaviour);
                // Where a case has to wait for something that never comes, it is for so long.
                let timeout = if expected.is_empty() { "60" } else { "8" };
                let finished = conform(&["--format", "json", "--timeout", timeout], &address);
                let code = if expected.is_empty() { 0 } else { 1 };
                let finished = finished.expect_code(code);
                let report: Value = serde_json::from_str(&finished.stdout).expect("JSON");
                assert_eq!(report["command"], serde_json::json!([address]));
                let cases = report["cases"].as_array().expect("cases");
                assert_eq!(cases.len(), 7, "{behaviour}");
                let text = |case: &Value, name: &str| case[name].as_str().unwrap().to_owned();
                let wrong: Vec<_> = cases
                    .iter()
                    .filter(|case| case["result"] != "pass")
                    .map(|case| (text(case, "name"), text(case, "result")))
                    .collect();
                let wrong: Vec<_> =
                    wrong.iter().map(|(name, result)| (name.as_str(), result.as_str())).collect();
                assert_eq!(wrong, expected, "{behaviour}: {}", finished.describe());
                let all = report.to_string();
                assert!(!all.contains("cannot see"), "{behaviour}: descriptors are counted: {all}");
            });
        }
    });
}

#[test]
fn what_cannot_be_checked_is_said() {
    let dir = Dir::new();
    let nothing = format!("vsock-mux:{}:{PORT}", dir.path("nothing").display());
    let table: [(&[&str], i32, &[&str]); 4] = [
        (&["--vsock-mux", "tcp:127.0.0.1:1"], 2, &["vsock-mux:/path/to.sock:PORT is expected"]),
        (&["--vsock-mux", &nothing, "--", "true"], 2, &["cannot be used with", "COMMAND"]),
        (&["--vsock-mux", &nothing], 6, &["connect to vsock-mux:/", "No such file"]),
        (&["--vsock-mux", &nothing, "--case", "names.*"], 6, &["connect to vsock-mux:/"]),
    ];
    for (arguments, code, parts) in table {
        run(program().arg("conform").args(arguments)).expect_code(code).expect_stderr(parts);
    }
}

#[test]
fn the_list_has_the_cases_of_what_is_checked() {
    let list = |arguments: &[&str]| {
        run(program().args(["conform", "--list"]).args(arguments)).expect_code(0).stdout
    };
    let all = list(&[]);
    assert!(all.contains("fds.order\n") && all.contains("mux.half-close\n"), "{all}");
    let of_mux = list(&["--vsock-mux", "vsock-mux:/nothing:1"]);
    assert!(of_mux.starts_with("mux.echo\n") && all.ends_with(&of_mux), "{of_mux}");
    assert!(list(&["--case", "mux.m*"]).starts_with("mux.many\n"));
}

fn conform(arguments: &[&str], address: &str) -> Finished {
    run(program().arg("conform").args(arguments).args(["--vsock-mux", address]))
}

/// Starts a multiplexer. It is a process of its own, because its descriptors are counted.
fn start(dir: &Dir, behaviour: &str) -> (Process, String) {
    let path = dir.path("mux");
    let mut command = clean(std::env::current_exe().expect("this program"));
    command.args(["--exact", "conform_mux::multiplexer", "--nocapture"]);
    let mux = Process::start(command.env(BEHAVIOUR, behaviour).env(PATH, &path));
    assert!(mux.stdout_line("it listens").is_some(), "{}", mux.describe());
    (mux, format!("vsock-mux:{}:{PORT}", path.display()))
}

/// No test, but the other process.
#[test]
fn multiplexer() {
    let Some(behaviour) = std::env::var_os(BEHAVIOUR) else { return };
    let behaviour: &'static str = behaviour.into_string().expect("text").leak();
    let listener = UnixListener::bind(std::env::var_os(PATH).expect("a path")).expect("bind");
    std::io::stdout().write_all(b"it listens\n").expect("write");
    for connection in listener.incoming() {
        let connection = connection.expect("accept");
        std::thread::spawn(move || multiplex(&connection, behaviour));
    }
}

/// One connection. Whatever goes wrong ends it.
fn multiplex(connection: &UnixStream, behaviour: &str) {
    let leak = || std::mem::forget(connection.try_clone().expect("dup"));
    let Ok(Some(line)) = first_line(connection) else {
        match behaviour {
            "leaks-after-a-part" => leak(),
            "ends-after-a-part" => kill_process(getpid(), Signal::KILL).expect("kill(2)"),
            _ => {}
        }
        return;
    };
    let has_port = line == format!("CONNECT {PORT}") || behaviour == "has-every-port";
    if !has_port {
        return;
    }
    if echo(connection, behaviour).is_err() && behaviour == "leaks-after-a-reset" {
        leak();
    }
}

/// `None`: it ended before.
fn first_line(connection: &UnixStream) -> std::io::Result<Option<String>> {
    // A buffer of one byte takes nothing from the guest.
    let mut line = String::new();
    BufReader::with_capacity(1, connection).read_line(&mut line)?;
    Ok(line.strip_suffix('\n').map(str::to_owned))
}

/// The guest.
fn echo(mut connection: &UnixStream, behaviour: &str) -> std::io::Result<()> {
    connection.write_all(b"OK 1073741824\n")?;
    let mut buffer = [0; 65_536];
    loop {
        let length = connection.read(&mut buffer)?;
        if length == 0 {
            if behaviour == "does-not-end" {
                waits_for(connection, PollFlags::empty(), &deadline());
            }
            return Ok(());
        }
        if behaviour == "is-stuck-in-the-middle" && length == buffer.len() {
            waits_for(connection, PollFlags::empty(), &deadline());
        }
        // Long enough for a client that sends its end right after the request.
        let moment = Timespec::try_from(Duration::from_millis(30)).expect("it fits");
        let drops = behaviour == "drops-the-reply";
        if drops && waits_for(connection, PollFlags::RDHUP, &moment) {
            return Ok(());
        }
        connection.write_all(&buffer[..length])?;
    }
}

fn waits_for(connection: &UnixStream, events: PollFlags, timeout: &Timespec) -> bool {
    poll(&mut [PollFd::new(connection, events)], Some(timeout)).expect("poll(2)") == 1
}
