//! `conform`: engines that are right, engines that are wrong in one way, and what is printed.

use std::os::unix::process::ExitStatusExt;
use std::process::Command;

use rustix::process::Signal;

use crate::kit::{
    Dir, Finished, Process, clean, has_tool, measured, not_run, program, program_path, run,
};

/// Checks that the output has the text.
#[track_caller]
fn says(finished: &Finished, text: &str) {
    let said = finished.stdout.contains(text) || finished.stderr.contains(text);
    assert!(said, "no {text:?}: {}", finished.describe());
}

/// An engine in a shell: what it does before it executes the program. `forked` executes it in a
/// process that is not the one to which the sockets were handed.
fn shell(script: &str) -> Vec<String> {
    const FORKED: &str = "forked() {
        unset LISTEN_PIDFDID; [ -z \"$LISTEN_FDS\" ] || LISTEN_PID=$BASHPID; exec \"$@\"
    }\n";
    let script = format!("{FORKED}{script}");
    ["bash", "-c", &script, "engine", program_path()].map(str::to_owned).to_vec()
}

fn conform(flags: &[&str], engine: &[String]) -> Command {
    let mut command = program();
    command.arg("conform").args(flags).arg("--").args(engine);
    command
}

/// The results, by their names.
fn results(flags: &[&str], engine: &[String], code: i32) -> Vec<(String, String, String)> {
    let flags = [&["--format", "json"], flags].concat();
    let finished = run(&mut conform(&flags, engine)).expect_code(code);
    let document: serde_json::Value = serde_json::from_str(&finished.stdout).expect("JSON");
    let cases = document["cases"].as_array().expect("cases");
    let text = |case: &serde_json::Value, key: &str| case[key].as_str().expect(key).to_owned();
    let row = |case| (text(case, "name"), text(case, "result"), text(case, "reason"));
    cases.iter().map(row).collect()
}

fn failures(flags: &[&str], engine: &[String], code: i32) -> Vec<(String, String)> {
    let results = results(flags, engine, code).into_iter();
    results.filter(|row| row.1 == "fail").map(|row| (row.0, row.2)).collect()
}

#[test]
fn a_program_that_is_executed_gets_everything() {
    let started = std::time::Instant::now();
    let results = results(&[], &[program_path().to_owned()], 0);
    measured(&format!("{} cases in {:?}", results.len(), started.elapsed()));
    let count = |result: &str| results.iter().filter(|row| row.1 == result).count();
    assert_eq!(count("fail"), 0);
    assert!(count("pass") > 40, "{results:?}");
    for (name, result, reason) in &results {
        let may_be_skipped = ["type.sctp", "type.vsock"].iter().any(|kind| name.starts_with(kind));
        assert!(result == "pass" || may_be_skipped, "{name}: {reason}");
    }
}

/// What each of them does wrong, and exactly the cases that have to fail.
#[test]
fn a_broken_engine_fails_where_it_is_broken() {
    let has_names = "names.kept names.special names.long";
    for (what, script, wrong) in [
        ("drops the names", "unset LISTEN_FDNAMES; exec \"$@\"", has_names),
        ("invents names", "export LISTEN_FDNAMES=a:a; exec \"$@\"", "*"),
        ("leaks a descriptor", "exec 333</dev/null; exec \"$@\"", "fds.stray"),
        (
            "keeps the sockets after the end",
            "sleep 20 >/dev/null 2>&1 & exec \"$@\"",
            "stop.released",
        ),
        (
            "swaps two sockets",
            "[ $LISTEN_FDS -lt 2 ] || exec 333<&3 3<&4 4<&333 333<&-; exec \"$@\"",
            "fds.order",
        ),
        (
            "loses the exit status",
            "trap 'kill $child' TERM
             (forked \"$@\") <&0 & child=$!; wait $child; wait $child; exit 0",
            "exit.status",
        ),
        (
            "does not forward SIGTERM",
            "trap 'exit 0' TERM; (forked \"$@\") <&0 & child=$!; wait $child; exit $?",
            "signal.term stop.released",
        ),
        ("passes a wrong LISTEN_PID on", "\"$@\"; exit $?", "*"),
        ("passes too few", "export LISTEN_FDS=1; exec \"$@\"", "*"),
        ("lets a message get lost", "unset NOTIFY_SOCKET; exec \"$@\"", "notify.*"),
    ] {
        let found = failures(&["--timeout", "4"], &shell(script), 1);
        let names: Vec<_> = found.iter().map(|(name, _)| name.as_str()).collect();
        match wrong.strip_suffix('*') {
            // More than one thing breaks; all of a group at least.
            Some(group) => {
                assert!(names.iter().any(|name| name.starts_with(group)), "{what}: {found:?}");
            }
            None => assert_eq!(names.join(" "), wrong, "{what}: {found:?}"),
        }
    }
}

#[test]
fn a_lost_signal_is_no_lost_client() {
    let deaf = shell("trap '' TERM; (forked \"$@\") <&0 & wait $!");
    let flags = ["--timeout", "1", "--case", "signal.term", "--case", "restart.20"];
    let seen = results(&flags, &deaf, 1);
    let seen: Vec<_> = seen.iter().map(|(_, result, reason)| [&result[..], reason]).collect();
    let said = [
        ["fail", "it did not end within 1s after SIGTERM: it needs SIGKILL"],
        ["pass", "20 rounds, 60 clients; SIGTERM did not end it in round 1"],
    ];
    assert_eq!(seen, said);
}

/// What it says about a fault, and what to look at.
#[test]
fn a_reason_says_what_was_seen() {
    if !has_tool("python3", "an engine that changes an option") {
        return;
    }
    let change_an_option = "python3 -c 'import socket
s = socket.socket(fileno=3)
s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
s.detach()'; exec \"$@\"";
    for (case, script, reason) in [
        ("names.kept", "unset LISTEN_FDNAMES; exec \"$@\"", "is not set inside; expected alpha"),
        ("fds.stray", "exec 333</dev/null; exec \"$@\"", "fd 333 (/dev/null)"),
        ("fds.order", "exec 333<&3 3<&4 4<&333 333<&-; exec \"$@\"", "first is fd 4, and not fd 3"),
        ("stop.released", "sleep 20 >/dev/null 2>&1 & exec \"$@\"", "sleep (pid "),
        ("env.pid", "\"$@\"; exit $?", "this process; process "),
        (
            "fds.count.2",
            "export LISTEN_FDS=1 LISTEN_FDNAMES=a; exec \"$@\"",
            "2 were handed over, 1 arrived",
        ),
        ("exit.status", "(exec \"$@\"); exit 9", "exit status 2 (a wrong flag)"),
        ("notify.ready", "unset NOTIFY_SOCKET; exec \"$@\"", "READY=1 did not come; no message"),
        ("options.kept", change_an_option, "rcvbuf is "),
        ("fds.count.1", "echo no engine >&2; exit 7", "exit status: 7, and it printed no JSON"),
        ("type.unix", "echo '\u{1b}[31mred' >&2; exit 7", "\\x1b[31mred"),
        ("start.waiting", "exit 7", "100 of 100 were not served; the first: the command ended"),
    ] {
        let found = failures(&["--timeout", "4", "--case", case], &shell(script), 1);
        assert!(
            found.len() == 1 && found[0].1.contains(reason),
            "{case}: expected {reason:?}, found {found:?}"
        );
    }
}

#[test]
fn an_engine_that_hangs_is_ended() {
    let engine = ["sleep".to_owned(), "1000".to_owned()];
    // `sleep` does not take our arguments, a shell does.
    let shell = shell("exec sleep 1000");
    for engine in [&engine[..], &shell] {
        let flags = ["--timeout", "0.3", "--case", "fds.count.1", "--case", "type.unix"];
        for (name, reason) in failures(&flags, engine, 1) {
            let said = ["did not end within 300ms", "printed no JSON"];
            assert!(said.iter().any(|words| reason.contains(words)), "{name}: {reason}");
        }
    }
}

#[test]
fn nothing_remains_after_a_signal() {
    let rows = run(program().args(["conform", "--list"])).expect_code(0).stdout;
    let rows: Vec<_> = rows.lines().step_by(3).take(20).collect();
    for (row, signal) in rows.into_iter().zip([Signal::TERM, Signal::INT].into_iter().cycle()) {
        let folder = Dir::new();
        let mut command = conform(&[], &[program_path().to_owned()]);
        let process = Process::start(command.env("TMPDIR", folder.path(".")));
        // By now the next case makes files.
        assert!(process.stdout_line(row).is_some(), "{}", process.describe());
        process.signal(signal);
        let finished = process.finish();
        assert_eq!(finished.status.signal(), Some(signal.as_raw()), "{}", finished.describe());
        let left = std::fs::read_dir(folder.path(".")).expect("it is there").count();
        assert_eq!(left, 0, "{signal:?} after {row}");
    }
}

#[test]
fn known_results_are_no_failures() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("known");
    let engine = shell("unset LISTEN_FDNAMES; exec \"$@\"");
    let flags = ["--case", "names.*", "--case", "type.vsock*", "--expect"];
    let flags = [&flags[..], &[file.to_str().expect("UTF-8")]].concat();
    for (text, code, said) in [
        (
            "names.* fail # dropped\nnames.absent pass",
            0,
            "names.kept                 fail (expected)",
        ),
        ("names.* fail", 1, "names.absent               pass (not expected)"),
        ("names.kept fail", 1, "not as expected:\n  names.special: a name may have"),
        ("nimes.kept fail", 2, "--expect: no case matches `nimes.kept`; `conform --list`"),
        ("names.kept perhaps", 2, "known, line 1: `names.kept perhaps` is no result; write"),
    ] {
        std::fs::write(&file, text).expect("write");
        says(&run(&mut conform(&flags, &engine)).expect_code(code), said);
    }
    std::fs::remove_file(&file).expect("remove");
    says(&run(&mut conform(&flags, &engine)).expect_code(1), "No such file or directory");
}

#[test]
fn what_is_wrong_in_the_command_line_is_said() {
    for (arguments, code, said) in [
        (&["conform"][..], 2, "conform needs a command to check; give one that ends in this"),
        (&["conform", "--", "/nosuch/engine"], 127, "run /nosuch/engine: No such file"),
        (&["conform", "--case", "nims.*", "--", "true"], 2, "--case nims.*: no such case"),
        (&["conform", "--format", "xml", "--", "true"], 2, "possible values: table, tap"),
        (&["conform", "--timeout", "0", "--", "true"], 2, "more than 0 seconds"),
    ] {
        says(&run(program().args(arguments)).expect_code(code), said);
    }
}

#[test]
fn every_case_is_listed_with_its_source() {
    let list = run(program().args(["conform", "--list"])).expect_code(0).stdout;
    let lines: Vec<_> = list.lines().collect();
    let names: Vec<_> = lines.iter().step_by(3).copied().collect();
    let ran = results(&["--timeout", "0.1"], &["true".to_owned()], 1);
    // Those about a hypervisor need another command line: conform_mux.
    let of_engines: Vec<_> = names.into_iter().filter(|name| !name.starts_with("mux.")).collect();
    assert_eq!(of_engines, ran.iter().map(|row| row.0.as_str()).collect::<Vec<_>>());
    for row in lines.chunks(3) {
        let is_whole = row.len() == 3 && row[1..].iter().all(|line| line.starts_with("    "));
        assert!(is_whole, "{row:?}");
    }
}

/// Some known failures, an unknown one, a skipped case, and a reason with all that needs escapes.
fn output_in(format: &str) -> (Finished, tempfile::TempDir) {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("known");
    std::fs::write(&file, "names.kept fail").expect("write");
    let engine = shell("unset LISTEN_FDNAMES; printf '# <a> & \"b\" \\\\\\e' >&2; exec \"$@\"");
    let expect = file.to_str().expect("UTF-8");
    let cases = ["names.*", "fds.count.1", "type.sctp-ipv4", "type.vsock", "stdin.*"];
    let cases: Vec<_> = cases.iter().flat_map(|case| ["--case", case]).collect();
    let flags = [&["--format", format, "--timeout", "4", "--expect", expect], &cases[..]].concat();
    let finished = run(&mut conform(&flags, &engine)).expect_code(1);
    std::fs::write(folder.path().join("output"), &finished.stdout).expect("write");
    (finished, folder)
}

#[test]
fn perl_reads_the_tap() {
    if !has_tool("prove", "the TAP output with a foreign parser") {
        return;
    }
    let (finished, folder) = output_in("tap");
    says(&finished, "not ok 2 - names.kept # TODO LISTEN_FDNAMES is not set inside");
    let output = folder.path().join("output");
    // It prints the numbers of what failed, and of what is TODO and failed.
    let prove = run(clean("prove").args(["--verbose", "--exec", "cat"]).arg(output));
    let prove = prove.expect_code(1);
    says(&prove, "Failed tests:  4-5");
    assert!(!prove.stdout.contains("Parse errors"), "{}", prove.stdout);
}

#[test]
fn python_reads_the_junit_xml() {
    let python = "/usr/bin/python3";
    let script = "import sys, junitparser
xml = junitparser.JUnitXml.fromfile(sys.argv[1])
for suite in xml:
    print(suite.tests, suite.failures, suite.errors, suite.skipped)
    for case in suite:
        for result in case.result:
            print(case.classname, case.name, type(result).__name__, result.message)";
    if !std::path::Path::new(python).exists()
        || run(clean(python).args(["-c", "import junitparser"])).status.code() != Some(0)
    {
        not_run("the JUnit output", "python3-junitparser is not installed", true);
        return;
    }
    let (_, folder) = output_in("junit");
    let output = folder.path().join("output");
    let read = run(clean(python).args(["-c", script]).arg(output)).expect_code(0);
    says(&read, "names names.kept Skipped LISTEN_FDNAMES is not set inside; expected alpha");
    says(&read, "names names.special Failure LISTEN_FDNAMES is not set inside; expected $HOME");
}
