//! docs/matrix.md: the result of each case of `conform`, for each engine.
//!
//! A test fails if its engine's column differs from the page. With `UPDATE_MATRIX=1` it writes the
//! column instead.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::conform::{Case, names};

/// The engines, in the page's order.
const COLUMNS: &[&str] = &[
    "exec",
    "activate",
    "systemd-socket-activate 252",
    "systemd-socket-activate 257",
    "Podman rootful, crun",
    "Podman rootful, runc",
    "Podman rootless, crun",
    "Podman rootless, runc",
    "systemd-nspawn",
    "bubblewrap",
    "bubblewrap, sh",
    "s6-ipcserverd",
    "VM",
];

pub(crate) const UNSEEN: &str = "–";

/// A page of `docs/`, for one test at a time.
pub(crate) fn page(name: &str) -> (PathBuf, String, MutexGuard<'static, ()>) {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let guard = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("docs").join(name);
    let text = std::fs::read_to_string(&path).unwrap_or_default();
    (path, text, guard)
}

pub(crate) fn is_update() -> bool {
    std::env::var_os("UPDATE_MATRIX").is_some_and(|value| value == "1")
}

/// Compares what was found with the page's column, or writes the column.
#[track_caller]
pub(crate) fn record(column: &str, cases: &[Case]) {
    assert!(COLUMNS.contains(&column), "no column {column:?}");
    let (path, text, _one_at_a_time) = page("matrix.md");
    let mut cells = parse(&text);
    let key = |row: &str| (row.to_owned(), column.to_owned());
    if is_update() {
        cells.retain(|(_, of), _| of != column);
        cells.extend(cases.iter().map(|case| (key(case.get("name")), case.cell().to_owned())));
        std::fs::write(&path, render(&cells)).expect("the page can be written");
        return;
    }
    let differs = |case: &&Case| {
        let (name, seen) = (case.get("name"), case.cell());
        let said = cells.get(&key(name)).map_or(UNSEEN, String::as_str);
        // Which kinds of sockets can be tried is a matter of the kernel.
        let is_untried = name.starts_with("type.") && [said, seen].contains(&UNSEEN);
        said != seen && !is_untried
    };
    let differing: Vec<_> = cases.iter().filter(differs).map(|case| case.get("name")).collect();
    assert!(
        differing.is_empty(),
        "docs/matrix.md is stale at {column} × {differing:?}; UPDATE_MATRIX=1 rewrites it"
    );
}

type Cells = BTreeMap<(String, String), String>;

fn parse(text: &str) -> Cells {
    let table = text.lines().skip_while(|line| !line.starts_with("| case |"));
    let mut lines = table.filter_map(|line| line.strip_prefix("| "));
    let columns: Vec<&str> =
        lines.next().map_or_else(Vec::new, |line| line.split('|').skip(1).map(str::trim).collect());
    let mut cells = Cells::new();
    for line in lines {
        let mut words = line.split('|').map(str::trim);
        let row = words.next().unwrap_or_default().trim_matches('`');
        for (column, cell) in columns.iter().zip(words).filter(|(_, cell)| !cell.is_empty()) {
            cells.insert((row.to_owned(), (*column).to_owned()), cell.to_owned());
        }
    }
    cells
}

fn render(cells: &Cells) -> String {
    let mut page = String::from(PREFACE);
    let _ = writeln!(page, "| case | {} |", COLUMNS.join(" | "));
    let _ = writeln!(page, "|{}", "---|".repeat(COLUMNS.len() + 1));
    for row in names() {
        let _ = write!(page, "| `{row}` |");
        for column in COLUMNS {
            let cell = cells.get(&(row.clone(), (*column).to_owned()));
            let _ = write!(page, " {} |", cell.map_or(UNSEEN, String::as_str));
        }
        page.push('\n');
    }
    page
}

const PREFACE: &str = "\
# What works where

This page shows what [`conform`](conform.md) finds about each engine: whether the sockets and the
variables that the engine is given arrive in the program, and whether everything ends as it should. The tests in
`tests/system` generate it, and fail if they find something else. `conform --list` explains the cases.

*yes*: it is as it should be. For `type.*`, a client sent bytes and verified every byte of the echo. *no*: it is not;
[engines.md](engines.md) says what is different, and why. *–*: not tried there. The machine that runs these tests has
neither a vsock transport nor SCTP, so those rows are tried in the VM.

| engine | what is run |
|---|---|
| exec | the program itself, without an engine between |
| activate | `socket-activate-echo activate --now`, which passes inherited sockets on |
| systemd-socket-activate | of systemd 252 and of systemd 257 |
| Podman | `podman run --network=none`, as root and as a user, with crun and with runc |
| systemd-nspawn | of systemd 252 |
| bubblewrap | `bwrap --dev-bind / /`; and the same with the shell that [engines.md](engines.md#bubblewrap) recommends |
| s6-ipcserverd | takes a listening socket as standard input, and nothing else; xinetd takes no sockets from outside |
| VM | the program itself in the VM of [vm.md](vm.md): Debian 13, kernel 6.12 |

";

#[test]
fn a_page_is_read_as_it_was_written() {
    let key = (names()[3].clone(), COLUMNS[6].to_owned());
    let cells = parse(&render(&Cells::from([(key.clone(), "yes".to_owned())])));
    assert_eq!(cells.get(&key).map(String::as_str), Some("yes"));
}
