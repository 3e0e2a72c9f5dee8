//! `probe` against servers that are right, wrong, slow or absent.

mod faults;
mod nearby;
mod servers;

use std::os::fd::OwnedFd;
use std::process::Stdio;
use std::sync::mpsc;

use socket_activate_echo::address::{Address, Style, demo_set};

use crate::activators::{Active, Kind};
use crate::kit::{self, Dir, Finished, Process};
use crate::page::readme;
use servers::reply_and_wait;

fn probe(args: &[&str]) -> Finished {
    kit::run(kit::program().arg("probe").args(args))
}

/// The columns of the row for `address`.
#[track_caller]
fn verdict(finished: &Finished, address: &str) -> String {
    let row = finished.stdout.lines().find(|line| line.split(' ').next() == Some(address));
    let row = row.unwrap_or_else(|| panic!("no row for {address}: {}", finished.describe()));
    let columns: Vec<_> = row.split("  ").map(str::trim).filter(|c| !c.is_empty()).collect();
    assert_eq!(columns.len(), 6, "{}", finished.describe());
    columns[5].to_owned()
}

#[test]
fn messages_of_any_size_are_probed_over_every_kind_of_socket() {
    let without_a_path = format!("unix-dgram:@sae-{}", std::process::id());
    for active in Kind::ALL.map(Active::of).into_iter().chain([Active::server(&without_a_path)]) {
        let address = active.address.to_client().to_string();
        let more: &[_] = match (active.address.style(), &active.address) {
            (Style::Datagram, Address::Unix(..)) => &["0", "200000"],
            (Style::Datagram, _) => &["0"],
            _ => &[],
        };
        for size in [&["1", "64", "60000"], more].concat() {
            let finished = probe(&[&address, "--count", "50", "--size", size]).expect_code(0);
            assert_eq!(verdict(&finished, &address), "echoed", "{}", finished.describe());
        }
        active.process.terminate().expect_code(0);
    }
}

#[test]
fn a_message_larger_than_every_buffer_does_not_block_both_ends() {
    let dir = Dir::new();
    let address = servers::stream(&dir.path("s"), servers::echo);
    let finished = probe(&[&address, "--size", "67108864", "--count", "2"]).expect_code(0);
    assert_eq!(verdict(&finished, &address), "echoed");
}

/// The demo set has fixed ports: it is bound in a network namespace of its own.
#[test]
fn the_demo_set_of_activate_is_the_one_that_is_probed() {
    let test = "the_demo_set_of_activate_is_the_one_that_is_probed";
    let dir = Dir::new();
    let home = dir.path("").display().to_string();
    let _turn = kit::demo_set_turn();
    let activate = readme("cargo run --release -- activate").command;
    let probe = readme("cargo run --release -- probe").command;
    let script = format!(
        "ip link set lo up || exit 1\n\
         {activate} \"$@\" & server=$!\n\
         {probe} --wait --timeout 5 & client=$!\n\
         wait -n $server $client; status=$?\n\
         kill $server $client 2>/dev/null; wait; exit $status"
    );
    let script = script.replace("cargo run --release --", "\"$0\"");
    let run = |listen: &[String]| {
        let mut command = kit::unshare_net(&["bash"], test)?;
        command.args(["bash", "-c", &script, kit::program_path()]);
        Some(kit::run(command.args(listen).env("HOME", &home)))
    };
    let Some(mut finished) = run(&[]) else { return };
    if finished.stderr.contains(kit::VSOCK_PORT_IS_TAKEN) {
        let set = demo_set(home.as_ref()).into_iter().map(|(address, _)| address.to_string());
        let rest = set.filter(|address| !address.starts_with("vsock:"));
        let rest: Vec<_> = rest.flat_map(|address| ["-l".to_owned(), address]).collect();
        finished = run(&rest).expect("it was allowed before");
    } else {
        finished = finished.expect_code(0);
        let vsock = verdict(&finished, "vsock:local:3000");
        assert!(vsock == "echoed" || vsock.starts_with("skipped ("), "{vsock}");
    }
    for address in ["tcp:127.0.0.1:3000", "tcp:[::1]:3000", "udp:127.0.0.1:3000", "udp:[::1]:3000"]
    {
        assert_eq!(verdict(&finished, address), "echoed");
    }
    for name in ["unix", "unix-dgram"] {
        let file = if name == "unix" { "stream" } else { "datagram" };
        let address = format!("{name}:{}/echo_{file}_sock.demo", home.trim_end_matches('/'));
        assert_eq!(verdict(&finished, &address), "echoed");
    }
}

/// The abstract name that the client binds belongs to the namespace of the sockets: it can be
/// answered by a server that has no network, through the socket that was handed over.
#[test]
fn a_unix_datagram_server_without_a_network_answers() {
    let test = "a_unix_datagram_server_without_a_network_answers";
    if kit::unshare_net(&[], test).is_none() {
        return;
    }
    let dir = Dir::new();
    let address = format!("unix-dgram:{}", dir.path("s").display());
    let mut activate = kit::program();
    activate.args(["activate", "-l", &address, "unshare", "--map-root-user", "--net"]);
    let server = Process::start(activate.arg(kit::program_path()));
    server.stderr_line("waiting for").expect("it listens");
    probe(&[&address]).expect_code(0);
    server.terminate();
}

#[test]
fn a_slow_start_is_explained_and_waited_for() {
    let dir = Dir::new();
    let (go, gone) = mpsc::channel::<()>();
    let gone = std::sync::Mutex::new(gone);
    let address = servers::stream(&dir.path("s"), move |connection| {
        gone.lock().expect("one connection").recv().expect("the test says go");
        servers::echo(connection);
    });
    let process = Process::start(kit::program().args(["probe", &address]));
    let line = process.stderr_line("waiting for the first reply").expect("a notice");
    assert!(line.contains("up to 30 s: the service may be starting, or its image"), "{line}");
    go.send(()).expect("the server waits");
    let finished = process.finish().expect_code(0);
    assert_eq!(verdict(&finished, &address), "echoed");
}

#[test]
fn wait_retries_until_something_listens() {
    let dir = Dir::new();
    let path = dir.path("s");
    let address = format!("unix:{}", path.display());
    let process = Process::start(kit::program().args(["probe", "--wait", &address]));
    let line = process.stderr_line("cannot be reached yet").expect("a notice");
    assert!(line.contains("(no-such-path), retrying for 1 s, up to 30 s"), "{line}");
    servers::stream(&path, servers::echo);
    process.finish().expect_code(0);
    // A datagram socket hears of a refusal only when it sends.
    for address in ["udp:127.0.0.1:1".to_owned(), format!("unix:{}", dir.path("t").display())] {
        let finished = probe(&["--wait", "--timeout", "0.3", &address]).expect_code(6);
        finished.expect_stderr(&["systemctl --user start"]);
    }
}

#[test]
fn the_json_document_is_the_only_output() {
    let dir = Dir::new();
    let address = servers::stream(&dir.path("s"), servers::echo);
    let finished = probe(&["--json", "--count", "3", &address, "tcp:127.0.0.1:1"]).expect_code(6);
    assert_eq!(finished.stderr, "");
    let document: serde_json::Value = serde_json::from_str(&finished.stdout).expect("JSON");
    assert_eq!(document["exit_status"], 6);
    assert_eq!(document["message_size"], 64);
    let [echoed, refused] = &document["results"].as_array().expect("an array")[..] else {
        panic!("{document}");
    };
    assert_eq!((&echoed["verdict"], &echoed["messages_echoed"]), (&"echoed".into(), &3.into()));
    let time = |field: &str| echoed[field].as_u64().unwrap_or_else(|| panic!("{field}: {echoed}"));
    assert!(time("connect_ns") > 0 && time("first_reply_ns") > 0, "{echoed}");
    assert!(time("round_trip_min_ns") <= time("round_trip_median_ns"), "{echoed}");
    assert!(time("round_trip_median_ns") <= time("round_trip_max_ns"), "{echoed}");
    assert_eq!(refused["verdict"], "refused");
    assert!(refused["connect_ns"].is_null() && refused["remedy"].is_string(), "{refused}");
}

fn interactive(dir: &Dir, address: &str, lines: &str) -> Finished {
    std::fs::write(dir.path("lines"), lines).expect("write");
    let input = std::fs::File::open(dir.path("lines")).expect("open");
    kit::run(kit::program().args(["probe", "--interactive", address]).stdin(input))
}

#[test]
fn interactive_shows_the_echo_of_each_line_with_its_time() {
    let dir = Dir::new();
    for address in [
        servers::stream(&dir.path("s"), servers::echo),
        servers::datagram(|datagram| vec![datagram.to_vec()]),
    ] {
        let finished = interactive(&dir, &address, "hello\n\nlast").expect_code(0);
        let lines: Vec<_> = finished.stdout.lines().collect();
        assert_eq!(lines.len(), 3, "{}", finished.describe());
        for (line, text) in lines.iter().zip(["s  hello", "s  ", "s  last"]) {
            assert!(line.ends_with(text), "`{line}` does not end with `{text}`");
        }
    }
    let upper = servers::datagram(|datagram| vec![datagram.to_ascii_uppercase()]);
    let more = servers::datagram(|datagram| vec![[datagram, b"!"].concat()]);
    for (address, shown) in [(upper, "HELLO"), (more, r"hello\x0a!")] {
        let finished = interactive(&dir, &address, "hello\n").expect_code(8);
        let row = format!("  {shown}  (wrong: `hello` was sent)\n");
        assert!(finished.stdout.ends_with(&row), "{}", finished.describe());
    }
}

#[test]
fn a_line_larger_than_every_buffer_does_not_block_both_ends() {
    let dir = Dir::new();
    let address = servers::stream(&dir.path("s"), servers::echo);
    let line = "x".repeat(1 << 20);
    let finished = interactive(&dir, &address, &format!("{line}\nshort\n")).expect_code(0);
    let echoes: Vec<_> = finished.stdout.lines().map(|row| row.rsplit(' ').next()).collect();
    assert_eq!(echoes, [Some(line.as_str()), Some("short")]);
}

#[test]
fn what_follows_the_last_echo_is_not_passed_over() {
    let dir = Dir::new();
    let more = servers::stream(&dir.path("s"), |connection| {
        let line = servers::line(connection);
        reply_and_wait(connection, &[line.as_bytes(), b"bye"]);
    });
    let twice = servers::datagram(|datagram| vec![datagram.to_vec(), datagram.to_vec()]);
    // A busy machine may put the server to sleep between two datagrams.
    let seen = |address| {
        let runs = (0..20).map(|_| interactive(&dir, address, "hello\n"));
        runs.into_iter().find(|finished| !finished.status.success()).expect("it is seen")
    };
    for (address, part) in [
        (&more, "3 bytes more came back than were sent"),
        (&twice, "another datagram followed the last reply"),
    ] {
        let finished = seen(address).expect_code(8).expect_stderr(&[part]);
        assert!(finished.stdout.ends_with("s  hello\n"), "{}", finished.describe());
    }
}

#[test]
fn no_number_panics_aborts_or_runs_away() {
    let dir = Dir::new();
    let closing = servers::stream(&dir.path("s"), |_| ());
    for value in kit::HOSTILE_NUMBERS {
        for flag in ["--count", "--size", "--timeout"] {
            for address in [&closing, "udp:127.0.0.1:1", "tcp:no-such-name.invalid:1"] {
                probe(&[&format!("{flag}={value}"), address]).expect_code_in(1..9);
            }
        }
    }
}

#[test]
fn who_closes_the_pipe_has_seen_enough() {
    let dir = Dir::new();
    let address = servers::stream(&dir.path("s"), servers::echo);
    for (arguments, status) in
        [(&["probe", &address][..], 0), (&["probe", "--json", &address], 0), (&["inspect"], 3)]
    {
        let (reader, writer) = rustix::pipe::pipe().expect("pipe(2)");
        drop::<OwnedFd>(reader);
        let mut command = kit::program();
        command.args(arguments).stdout(writer).stderr(Stdio::piped());
        let output = command.output().expect("it runs");
        assert_eq!(output.status.code(), Some(status), "{output:?}");
        assert!(output.stderr.is_empty(), "{output:?}");
    }
}

#[test]
fn what_cannot_be_sent_is_refused_with_the_limit() {
    let dir = Dir::new();
    let stream = servers::stream(&dir.path("s"), servers::echo);
    let datagram = servers::datagram(|datagram| vec![datagram.to_vec()]);
    for (args, parts) in [
        (&[datagram.as_str(), "--size", "65508"][..], &["65508 bytes", "65507", "--size"][..]),
        (&[&stream, "--size", "0"], &["--size 0 for unix:", "no empty messages", "1 or more"]),
        (&[&stream, "--size", "1073741825"], &["--size", "from 0 to 1073741824"]),
        (&[&stream, "--count", "0"], &["--count", "1..=1000000"]),
        (&["--interactive"], &["exactly one address", "tcp:127.0.0.1:3000"]),
        (&[&stream, "--timeout", "-1"], &["--timeout", "seconds"]),
        (&["127.0.0.1:3000"], &["has no scheme", "tcp:127.0.0.1:3000"]),
    ] {
        probe(args).expect_code(2).expect_stderr(parts);
    }
}
