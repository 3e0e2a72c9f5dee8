//! docs/matrix.md and docs/engines.md: what `conform` finds about each engine.
//!
//! A test fails if its engine's column of the one, or its table in the other, names other results.
//! With `UPDATE_MATRIX=1` it writes them instead. What is around the tables is written by hand; in
//! docs/engines.md they are between `<!-- conform: NAME -->` and `<!-- end -->`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Mutex, PoisonError};

use crate::conform::{COLUMNS, Case, names};

const MATRIX: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/matrix.md");
const ENGINES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/engines.md");
const UNSEEN: &str = "–";
const STALE: &str = "is stale; UPDATE_MATRIX=1 rewrites its tables";

/// Compares what was found with the pages, or writes it there.
#[track_caller]
pub(crate) fn record(column: &str, version: &str, cases: &[Case]) {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _guard = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let read = |page| std::fs::read_to_string(page).expect("the page is in the sources");
    let (matrix, engines) = (read(MATRIX), read(ENGINES));
    let (preface, found) = matrix.split_at(matrix.find("| case |").unwrap_or(matrix.len()));
    let mut cells = parse(found);
    let table = table(version, cases);
    let begin = format!("<!-- conform: {column} -->\n");
    let section = engines.split_once(&begin).and_then(|(before, rest)| {
        let (said, after) = rest.split_once("<!-- end -->\n")?;
        Some((before, said, after))
    });
    if std::env::var_os("UPDATE_MATRIX").is_some_and(|value| value == "1") {
        cells.retain(|(_, of), _| of != column);
        cells.extend(cases.iter().map(|case| (key(case.get("name"), column), cell(case))));
        std::fs::write(MATRIX, render(preface, &cells)).expect("the page can be written");
        if let Some((before, _, after)) = section {
            let page = format!("{before}{begin}{table}<!-- end -->\n{after}");
            std::fs::write(ENGINES, page).expect("the page can be written");
        }
        return;
    }
    for case in cases {
        let (name, seen) = (case.get("name"), cell(case));
        let said = cells.get(&key(name, column)).map_or(UNSEEN, String::as_str);
        // Which kinds of sockets can be tried is a matter of the kernel.
        let is_untried = name.starts_with("type.") && [said, &seen].contains(&UNSEEN);
        assert!(said == seen || is_untried, "docs/matrix.md: {name} × {column} = {seen}: {STALE}");
    }
    let said = section.map_or("", |(_, said, _)| said);
    assert_eq!(first_column(said), first_column(&table), "docs/engines.md: {column}: {STALE}");
}

type Cells = BTreeMap<(String, String), String>;

fn key(row: &str, column: &str) -> (String, String) {
    (row.to_owned(), column.to_owned())
}

fn cell(case: &Case) -> String {
    match case.get("result") {
        "pass" => "yes".to_owned(),
        "fail" => "no".to_owned(),
        "any" => "sometimes".to_owned(),
        _ => UNSEEN.to_owned(),
    }
}

fn parse(table: &str) -> Cells {
    let mut lines = table.lines().filter_map(|line| line.strip_prefix("| "));
    let columns: Vec<&str> =
        lines.next().map_or_else(Vec::new, |line| line.split('|').skip(1).map(str::trim).collect());
    let mut cells = Cells::new();
    for line in lines {
        let mut words = line.split('|').map(str::trim);
        let row = words.next().unwrap_or_default().trim_matches('`');
        for (column, cell) in columns.iter().zip(words).filter(|(_, cell)| !cell.is_empty()) {
            cells.insert(key(row, column), cell.to_owned());
        }
    }
    cells
}

fn render(preface: &str, cells: &Cells) -> String {
    let columns = (COLUMNS.join(" | "), "---|".repeat(COLUMNS.len() + 1));
    let mut page = format!("{preface}| case | {} |\n|{}\n", columns.0, columns.1);
    for row in names() {
        let cell = |column: &&str| cells.get(&key(&row, column)).map_or(UNSEEN, String::as_str);
        let cells: Vec<_> = COLUMNS.iter().map(cell).collect();
        let _ = writeln!(page, "| `{row}` | {} |", cells.join(" | "));
    }
    page
}

/// What has failed. Cases that ask for the same share a row, with what was seen first.
fn table(version: &str, cases: &[Case]) -> String {
    let mut rows: Vec<(String, &Case)> = Vec::new();
    for case in cases.iter().filter(|case| case.get("result") == "fail") {
        let name = format!("`{}`", case.get("name"));
        match rows.iter_mut().find(|(_, row)| row.get("explanation") == case.get("explanation")) {
            Some((names, _)) => names.extend([", ", &name]),
            None => rows.push((name, case)),
        }
    }
    if rows.is_empty() {
        return String::new();
    }
    let mut table = format!("Seen with {version}:\n\n| case | expected | seen |\n|---|---|---|\n");
    for (names, case) in rows {
        let [asked, source] = ["explanation", "source"].map(|field| case.get(field));
        let _ = writeln!(table, "| {names} | {asked} ({source}) | {} |", seen(case.get("reason")));
    }
    table
}

fn first_column(table: &str) -> Vec<&str> {
    table.lines().filter_map(|line| line.strip_prefix("| `")?.split(" | ").next()).collect()
}

/// A reason as a code span in a table, without what differs from run to run: the processes above,
/// process ids and other long numbers.
fn seen(reason: &str) -> String {
    let reason = reason.split(" (process ").next().unwrap_or_default();
    let reason = reason.replace('`', "'").replace('|', "\\|");
    let chars: Vec<_> = reason.chars().collect();
    let alike = chars.chunk_by(|one, next| one.is_ascii_hexdigit() == next.is_ascii_hexdigit());
    let kept = |run: &[char]| match run {
        [_, _, _, _, ..] if run.iter().any(char::is_ascii_digit) => "N".to_owned(),
        run => run.iter().collect(),
    };
    format!("`{}`", alike.map(kept).collect::<String>())
}

#[test]
fn a_page_is_read_as_it_was_written() {
    let (cell, preface) = (key(&names()[3], COLUMNS[6]), "Preface.\n\n");
    let page = render(preface, &Cells::from([(cell.clone(), "yes".to_owned())]));
    let cells = parse(page.strip_prefix(preface).expect("it is kept"));
    assert_eq!(cells.get(&cell).map(String::as_str), Some("yes"));
    assert_eq!(seen("LISTEN_PID=17430: a|b (process 17430 is x"), "`LISTEN_PID=N: a\\|b`");
}
