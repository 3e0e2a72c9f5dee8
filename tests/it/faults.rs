//! Injected faults: strace(1) makes each system call of the serving state fail, with each error
//! that the kernel has for it, while peers of every family exchange data. docs/faults.md is the
//! table.

mod inject;
pub(crate) mod page;
mod peers;
mod table;
mod talk;

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::Stdio;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use self::table::{Call, Fault, Kind, WITHOUT_ROWS, calls};
use crate::kit::{self, clean, has_tool};

/// How many rows run at the same time: each waits most of its time.
const AT_ONCE: usize = 4;

#[test]
fn waiting_and_accepting() {
    check(&["epoll_wait", "epoll_ctl", "accept4"]);
}

#[test]
fn receiving() {
    check(&["recvfrom", "recvmsg", "recvmmsg"]);
}

#[test]
fn sending_over_connections() {
    check(&["sendto", "splice", "pipe2", "fcntl"]);
}

#[test]
fn sending_datagrams() {
    check(&["sendmmsg", "openat2", "fstat", "ioctl"]);
}

#[test]
fn options_and_ends() {
    check(&["setsockopt", "shutdown", "close"]);
}

#[test]
fn logging() {
    check(&["write", "getpeername"]);
}

#[test]
fn every_call_has_its_test() {
    let source = include_str!("faults.rs");
    for call in calls() {
        assert!(source.contains(&format!("\"{}\"", call.name)), "{} is not tested", call.name);
    }
}

/// Runs the rows of these calls. `FAULT=recvmsg` or `FAULT=recvmsg:EINTR` leaves all others out.
fn check(names: &[&str]) {
    if !can_trace("faults that are injected") {
        return;
    }
    let only = std::env::var("FAULT").unwrap_or_default();
    let rows: Vec<_> = calls()
        .filter(|call| names.contains(&call.name))
        .flat_map(|call| call.faults.iter().map(move |fault| (call, fault)))
        .filter(|(_, fault)| fault.is_injected())
        .filter(|row| only.is_empty() || name(*row).starts_with(&only))
        .collect();
    let next = AtomicUsize::new(0);
    let failures = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some(row) = rows.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if let Err(what) = run(*row) {
                        failures.lock().expect("no panic with the lock").push(what);
                    }
                }
            });
        }
    });
    let mut failures = failures.into_inner().expect("no panic with the lock");
    failures.sort();
    assert!(
        failures.is_empty(),
        "{} of {} rows failed:\n{}",
        failures.len(),
        rows.len(),
        failures.join("\n")
    );
}

fn name((call, fault): (&Call, &Fault)) -> String {
    format!("{}:{}", call.name, fault.errno)
}

fn run((call, fault): (&Call, &Fault)) -> Result<(), String> {
    // A row that panics is one that failed: the others run on.
    let result = catch_unwind(AssertUnwindSafe(|| inject::run(call, fault)));
    let result = result.unwrap_or_else(|_| Err("the test panicked: see above".to_owned()));
    result.map_err(|what| {
        let name = name((call, fault));
        let when = what.strip_prefix("when=").and_then(|rest| rest.split(',').next());
        let by_hand = inject::by_hand(call, fault, when.unwrap_or("5+5"));
        format!(
            "{name}: {what}\n    alone: FAULT={name} cargo test --test it faults::\n    \
             by hand: {by_hand}"
        )
    })
}

/// Whether strace is there and may trace a process that it has not started.
pub(crate) fn can_trace(test: &str) -> bool {
    if !has_tool("strace", test) {
        return false;
    }
    let traced = kit::Process::start(clean("cat").stdin(Stdio::piped()));
    let pid = traced.pid().as_raw_nonzero().to_string();
    let tracer = kit::Process::start(clean("strace").args(["-p", &pid]));
    let is_allowed = tracer.stderr_line("attached").is_some();
    if !is_allowed {
        kit::not_run(test, "strace may not attach to a process here", true);
    }
    is_allowed
}

/// What a server that serves everybody calls, without and with `--debug`, is in the table; and
/// what is said to come by itself comes.
#[test]
fn the_table_has_every_call_of_the_serving_state() {
    if !can_trace("the system calls of the serving state") {
        return;
    }
    let mut missing = BTreeSet::new();
    for is_debug in [false, true] {
        let seen = inject::calls(is_debug).expect("everybody is served");
        for (name, _) in &seen {
            let has_rows = calls().any(|call| call.is_called(name));
            let is_explained = WITHOUT_ROWS.iter().any(|(_, names, _)| names.contains(&&**name));
            if !has_rows && !is_explained {
                missing.insert(name.clone());
            }
        }
        for call in calls() {
            let comes = call.faults.iter().any(|fault| fault.kind == Kind::ComesByItself);
            let has_come =
                seen.iter().any(|(name, errno)| call.is_called(name) && errno == "EAGAIN");
            assert!(!comes || has_come, "{} never failed with EAGAIN", call.name);
        }
    }
    assert!(missing.is_empty(), "not in the table of faults: {missing:?}");
}
