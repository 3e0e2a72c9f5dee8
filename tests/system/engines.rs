//! docs/engines.md: what `conform` finds wrong, for each engine.
//!
//! The tables are between the lines `<!-- conform: NAME -->` and `<!-- end -->`. What is around them
//! is written by hand. A test fails if its engine's table names other cases than failed. With
//! `UPDATE_MATRIX=1` it writes the table instead.

use std::fmt::Write as _;

use crate::conform::Case;
use crate::matrix::{is_update, page};

const END: &str = "<!-- end -->\n";

/// Compares what has failed with the engine's table, or writes the table.
#[track_caller]
pub(crate) fn record(engine: &str, version: &str, cases: &[Case]) {
    let failed: Vec<_> = cases.iter().filter(|case| case.cell() == "no").collect();
    let (path, text, _one_at_a_time) = page("engines.md");
    let begin = format!("<!-- conform: {engine} -->\n");
    let (before, found, after) = match text.split_once(&begin) {
        Some((before, rest)) => {
            let (found, after) = rest.split_once(END).expect("the table has an end");
            (before.to_owned(), found, after)
        }
        None if failed.is_empty() => return,
        None => (format!("{text}\n## {engine}\n\n"), "", ""),
    };
    let made = table(version, &failed);
    if is_update() {
        let text = format!("{before}{begin}{made}{END}{after}");
        std::fs::write(path, text).expect("the page can be written");
        return;
    }
    let stale = "docs/engines.md is stale; UPDATE_MATRIX=1 rewrites its table";
    assert_eq!(first_column(found), first_column(&made), "{stale} of {engine}");
}

fn first_column(table: &str) -> Vec<&str> {
    table.lines().filter_map(|line| line.strip_prefix("| ")?.split(" | ").next()).collect()
}

/// Cases that ask for the same share a row, with what was seen first.
fn table(version: &str, failed: &[&Case]) -> String {
    let mut asked: Vec<&str> = Vec::new();
    for case in failed {
        if !asked.contains(&case.get("explanation")) {
            asked.push(case.get("explanation"));
        }
    }
    let mut table = format!("Seen with {version}:\n\n| case | expected | seen |\n|---|---|---|\n");
    for asked in asked {
        let alike: Vec<_> = failed.iter().filter(|case| case.get("explanation") == asked).collect();
        let names: Vec<_> = alike.iter().map(|case| format!("`{}`", case.get("name"))).collect();
        let source = alike[0].get("source");
        let seen = without_numbers(alike[0].get("reason"));
        let _ = writeln!(table, "| {} | {asked} ({source}) | {seen} |", names.join(", "));
    }
    table
}

/// A reason without what differs from run to run: process ids, temporary paths, and the processes
/// above.
fn without_numbers(reason: &str) -> String {
    let reason = reason.split(" (process ").next().unwrap_or_default();
    let is_id = |word: &str| word.len() >= 12 && word.bytes().all(|byte| byte.is_ascii_hexdigit());
    let word = |word: &str| match word {
        path if path.starts_with("/tmp/") => "PATH".to_owned(),
        id if is_id(id.trim_matches(|c: char| !c.is_ascii_alphanumeric())) => "ID".to_owned(),
        word => numbers(word),
    };
    let reason = reason.split(' ').map(word).collect::<Vec<_>>().join(" ");
    // A code span, in a table.
    format!("`{}`", reason.replace('`', "'").replace('|', "\\|"))
}

/// Digits in a row that may be a process id become an N.
fn numbers(word: &str) -> String {
    let is_digit = |c: &char| c.is_ascii_digit();
    let chars: Vec<_> = word.chars().collect();
    let alike = chars.chunk_by(|one, next| is_digit(one) == is_digit(next));
    alike
        .map(|run| match run {
            [first, ..] if is_digit(first) && run.len() >= 4 => "N".to_owned(),
            run => run.iter().collect(),
        })
        .collect()
}

#[test]
fn a_reason_is_the_same_in_each_run() {
    for (reason, kept) in [
        (
            "LISTEN_PID=17430 is another process, this one is 17431: the sockets (process 17430 is x",
            "`LISTEN_PID=N is another process, this one is N: the sockets`",
        ),
        ("pid 12345) in /tmp/x/1: 100 of 100, a|b `c`", "`pid N) in PATH 100 of 100, a\\|b 'c'`"),
        ("container 0123456789abcdef: gone", "`container ID gone`"),
    ] {
        assert_eq!(without_numbers(reason), kept);
    }
}
