//! The support matrix, `docs/matrix.md`: the result of each test, cell by cell.
//!
//! A test fails if its result differs from the page. With `UPDATE_MATRIX=1` it writes the page
//! instead.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

/// The ways to run the server, in the page's order.
const COLUMNS: &[&str] = &[
    "plain service",
    "systemd-socket-activate",
    "Podman rootful, crun",
    "Podman rootful, runc",
    "Podman rootless, crun",
    "Podman rootless, runc",
    "VM",
];

/// The kinds of socket, in the page's order.
const ROWS: &[&str] = &[
    "IPv4 stream",
    "IPv6 stream",
    "unix stream",
    "vsock stream",
    "unix seqpacket",
    "vsock seqpacket",
    "IPv4 datagram",
    "IPv6 datagram",
    "unix datagram",
    "MPTCP stream",
    "SCTP stream",
    "SCTP seqpacket",
];

const UNSEEN: &str = "–";

static PAGE: Mutex<()> = Mutex::new(());

/// Compares what was seen with the page's cell, or writes the cell.
#[track_caller]
pub(crate) fn record(row: &str, column: &str, seen: &str) {
    assert!(ROWS.contains(&row) && COLUMNS.contains(&column), "no cell {row:?} × {column:?}");
    let _one_at_a_time = PAGE.lock().unwrap_or_else(PoisonError::into_inner);
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("docs/matrix.md");
    let text = std::fs::read_to_string(&path).unwrap_or_default();
    let mut cells = parse(&text);
    let key = (row.to_owned(), column.to_owned());
    if std::env::var_os("UPDATE_MATRIX").is_some_and(|value| value == "1") {
        cells.insert(key, seen.to_owned());
        std::fs::write(&path, render(&cells)).expect("the page can be written");
        return;
    }
    let said = cells.get(&key).map_or(UNSEEN, String::as_str);
    assert_eq!(
        said, seen,
        "docs/matrix.md is stale at {row} × {column}; UPDATE_MATRIX=1 rewrites it"
    );
}

type Cells = BTreeMap<(String, String), String>;

fn parse(text: &str) -> Cells {
    let mut lines = text.lines().filter_map(|line| line.strip_prefix("| "));
    let columns: Vec<&str> =
        lines.next().map_or_else(Vec::new, |line| line.split('|').skip(1).map(str::trim).collect());
    let mut cells = Cells::new();
    for line in lines {
        let mut words = line.split('|').map(str::trim);
        let row = words.next().unwrap_or_default();
        for (column, cell) in columns.iter().zip(words).filter(|(_, cell)| !cell.is_empty()) {
            cells.insert((row.to_owned(), (*column).to_owned()), cell.to_owned());
        }
    }
    cells
}

fn render(cells: &Cells) -> String {
    let mut page = String::from(PREFACE);
    let _ = writeln!(page, "| socket | {} |", COLUMNS.join(" | "));
    let _ = writeln!(page, "|{}", "---|".repeat(COLUMNS.len() + 1));
    for row in ROWS {
        let _ = write!(page, "| {row} |");
        for column in COLUMNS {
            let cell = cells.get(&((*row).to_owned(), (*column).to_owned()));
            let _ = write!(page, " {} |", cell.map_or(UNSEEN, String::as_str));
        }
        page.push('\n');
    }
    page
}

const PREFACE: &str = "\
# What works where

This page shows which sockets work with which engine. The tests in `tests/system` generate it, and fail if
they see something other than the page says. *yes*: a client sent bytes and verified every byte of the echo.
*–*: not tried there. The machine that runs these tests has neither a vsock transport nor SCTP, so those
rows are tried in the VM.

A *plain service* is a unit that runs the program without a container (`systemd/plain`).
*systemd-socket-activate* starts the program directly; in the *Podman* columns it starts
`podman run --network=none`. Because systemd-socket-activate cannot bind MPTCP, `socket-activate-echo activate`
starts Podman in that row. The *VM* runs Debian 13.

";

#[test]
fn a_page_is_read_as_it_was_written() {
    let key = (ROWS[3].to_owned(), COLUMNS[6].to_owned());
    let cells = parse(&render(&Cells::from([(key.clone(), "yes".to_owned())])));
    assert_eq!(cells.get(&key).map(String::as_str), Some("yes"));
    assert_eq!(cells.len(), ROWS.len() * COLUMNS.len());
}
