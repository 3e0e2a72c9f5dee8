//! From inside a sandboxed process, on the real kernel: what is refused, by which layer, and what
//! goes on working. Each case is a process of its own, because there is no way back.

#![allow(clippy::print_stdout, reason = "the harness shows what a test counted, on request")]

mod cases;

use std::collections::BTreeSet;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr as UnixAddr, UnixDatagram};
use std::os::unix::process::ExitStatusExt;
use std::process::Command;

use self::cases::{CASES, Case, Stage};
use super::*;
use crate::sys::tests::call;
use crate::testing;

/// The variables of a process that is a case: its name, its layers, and the folder of its files.
const CASE: &str = "SANDBOX_CASE";
const LAYERS: &str = "SANDBOX_LAYERS";
const FOLDER: &str = "SANDBOX_FOLDER";

/// The needs of a server of everything.
fn everything() -> Needs {
    Needs {
        unix_streams: true,
        seqpackets: true,
        datagrams: true,
        unix_datagrams: true,
        busy_polls: true,
        has_threads: true,
        ..Needs::default()
    }
}

/// This is the process of a case; without its variables it is nothing.
#[test]
fn inside() {
    let Some(name) = std::env::var_os(CASE) else { return };
    let layers = std::env::var_os(LAYERS).expect("the layers");
    let stage = Stage::new(std::env::var_os(FOLDER).expect("a folder").into());
    let case = CASES.iter().find(|case| *case.name == *name).expect("a case");
    let prepared = Sandbox::prepare(Mode::Require, &everything(), Log::Plain).expect("prepared");
    let sandbox = match layers.to_str() {
        Some("landlock") => Sandbox { filter: None, reach: Reach::default(), ..prepared },
        Some("both") => Sandbox { reach: Reach::default(), ..prepared },
        Some("both, as served") => prepared,
        _ => {
            prepared.filter.as_ref().expect("a filter").apply().expect("seccomp(2)");
            Sandbox::default()
        }
    };
    sandbox.enter().expect("it is entered");
    let result = (case.attempt)(&stage);
    let outcome = result.map_or_else(|error| error.raw_os_error().unwrap_or(0), |()| 0);
    // It ends here: the test's thread would go on with what is no longer allowed.
    let line = format!("outcome {outcome}\n");
    rustix::io::write(rustix::stdio::stderr(), line.as_bytes()).expect("write");
    let _ = call(libc::SYS_exit_group, [0; 6]);
}

/// What came of it, and what was written.
fn outcome(case: &Case, layers: &str) -> (String, String) {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("file"), "x").expect("a file");
    let _receiver = UnixDatagram::bind(folder.path().join("socket")).expect("bind");
    let name = folder.path().to_str().expect("text");
    let name = UnixAddr::from_abstract_name(name).expect("a name");
    let _abstract = UnixDatagram::bind_addr(&name).expect("bind");
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    command.args(["--exact", "sandbox::tests::inside", "--nocapture", "--test-threads=1"]);
    command.env(CASE, case.name).env(LAYERS, layers).env(FOLDER, folder.path());
    let output = testing::output(&mut command).expect("it starts");
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    let number = text.lines().find_map(|line| line.split_once("outcome ")?.1.parse::<i32>().ok());
    let outcome = match (output.status.signal(), number) {
        (Some(libc::SIGSYS), None) => "SIGSYS",
        (None, Some(0)) => "done",
        (None, Some(libc::EACCES)) => "EACCES",
        (None, Some(libc::EPERM)) => "EPERM",
        (None, Some(libc::ENOMEM)) => "ENOMEM",
        other => panic!("{}: {other:?}: {text}", case.name),
    };
    (outcome.to_owned(), text)
}

/// Says what is not tested, past the capture of the test harness.
fn not_tested(what: &str) {
    let line = format!("NOT TESTED: {what}: this kernel does not have it\n");
    let _ = rustix::io::write(rustix::stdio::stderr(), line.as_bytes());
}

#[test]
fn each_layer_refuses_what_it_should() {
    let available = Available::here();
    let abi = available.landlock_abi.unwrap_or(0);
    if !available.seccomp {
        return not_tested("a filter of system calls");
    }
    let mut wrong = Vec::new();
    for case in CASES {
        let (needed, with_landlock) = case.landlock;
        let mut columns = vec![("seccomp", case.seccomp)];
        if abi >= needed {
            columns.extend([("landlock", with_landlock), ("both", case.both)]);
        } else {
            not_tested(&format!("{} with Landlock", case.name));
        }
        for (layers, expected) in columns.into_iter().filter(|column| column.1 != "-") {
            let (outcome, text) = outcome(case, layers);
            println!("{:<60}  {layers:<8}  {outcome}", case.name);
            if outcome != expected {
                wrong.push(format!("{}, {layers}: {outcome}, and not {expected}", case.name));
            }
            let is_reported = text.contains("the forbidden system call ");
            assert_eq!(is_reported, outcome == "SIGSYS", "{}: {text}", case.name);
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Landlock leaves abstract names alone where they are served.
#[test]
fn clients_with_abstract_names_are_answered() {
    if Available::here().landlock_abi.is_none() || !Available::here().seccomp {
        return not_tested("a sandbox");
    }
    let case = CASES.iter().find(|case| case.name.contains("abstract")).expect("a case");
    assert_eq!(outcome(case, "both, as served").0, "done");
}

/// The line has the number of the call, and nothing that cannot be read.
#[test]
#[cfg(target_arch = "x86_64")]
fn a_forbidden_call_is_reported_by_its_number() {
    if !Available::here().seccomp {
        return not_tested("a filter of system calls");
    }
    let case = CASES.iter().find(|case| case.name == "io_uring_setup").expect("a case");
    let (_, text) = outcome(case, "seccomp");
    let expected = "socket-activate-echo: the sandbox stopped this process at the forbidden system \
                    call 425, architecture 0xc000003e; report this line";
    assert!(text.lines().any(|line| line.starts_with(expected)), "{text}");
}

/// Every server that there can be.
fn servers() -> impl Iterator<Item = Needs> {
    (0..1 << 11).map(|bits: u32| {
        let has = |bit: u32| bits & (1 << bit) != 0;
        Needs {
            unix_streams: has(0),
            seqpackets: has(1),
            datagrams: has(2),
            unix_datagrams: has(2) && has(3),
            lacks_openat2: has(4),
            busy_polls: has(5),
            has_threads: has(6),
            names_peers: has(7),
            vsock_manager: has(8),
            keeps_connections: has(9) && !has(8),
            answers: has(10),
            ..Needs::default()
        }
    })
}

fn names(needs: &Needs) -> BTreeSet<&'static str> {
    let allowed = ALLOWED.iter().filter(|allowed| allowed.needed.by(needs));
    allowed.map(|allowed| allowed.name()).collect()
}

#[test]
fn the_list_is_short() {
    let (mut least, mut most, mut most_with_vsock, mut most_keeping) = (usize::MAX, 0, 0, 0);
    for needs in servers() {
        let count = names(&needs).len();
        let largest = match (needs.vsock_manager, needs.keeps_connections) {
            (true, _) => &mut most_with_vsock,
            (_, true) => &mut most_keeping,
            _ => &mut most,
        };
        *largest = count.max(*largest);
        least = least.min(count);
        if let Ok(filter) = filter::Filter::new(&needs) {
            assert_eq!(filter.calls(), count, "{needs:?}");
        }
        // What is allowed is not also refused.
        let refused = REFUSED.iter().filter(|refused| refused.needed.by(&needs));
        let both: Vec<_> =
            refused.map(Refused::name).filter(|name| names(&needs).contains(name)).collect();
        assert!(both.is_empty(), "{needs:?}: {both:?}");
    }
    println!(
        "system calls that are allowed: {least} to {most}; {most_with_vsock} with a vsock manager, \
         {most_keeping} with --keep-connections"
    );
    assert!(most <= 30, "{most}");
    assert!(most_with_vsock <= most + 4, "{most_with_vsock}");
    assert!(most_keeping <= most + 6, "{most_keeping}");
}

/// docs/security.md has the rows of this table.
#[test]
fn the_page_names_each_call() {
    let page = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/security.md");
    let page = std::fs::read_to_string(page).expect("the page");
    let allowed = ALLOWED
        .iter()
        .map(|row| format!("| `{}` | {} | {} |", row.name(), row.needed.in_words(), row.reason));
    let refused = REFUSED
        .iter()
        .map(|row| format!("| `{}` | {} | {} |", row.name(), row.needed.in_words(), row.reason));
    let missing: Vec<_> = allowed.chain(refused).filter(|row| !page.contains(row)).collect();
    assert!(missing.is_empty(), "not in docs/security.md:\n{}", missing.join("\n"));
    let (_, tables) = page.split_once("## The system calls").expect("the section");
    let rows = tables.lines().filter(|line| line.starts_with("| `")).count();
    assert_eq!(rows, ALLOWED.len() + REFUSED.len(), "a row of docs/security.md is of no call");
}
