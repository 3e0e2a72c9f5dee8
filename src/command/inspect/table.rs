//! The report for people.

use std::fmt::Write;

use super::report::{Inherited, Options, Report};
use crate::text::Escaped;

/// The report as text.
pub(super) fn render(report: &Report) -> String {
    let mut text = String::new();
    verdict(report, &mut text);
    if !report.fds.is_empty() {
        section("Handed over", &inherited(&report.fds), &mut text);
        let options = options(&report.fds);
        if !options.is_empty() {
            section("Options", &options, &mut text);
        }
        let refused = refused(&report.fds);
        if !refused.is_empty() {
            section("Refused", &refused, &mut text);
        }
    }
    let is_complete = report.serve.exit_status == 0;
    if !is_complete || report.open.iter().any(|row| row.fd > 2 && row.announced.is_none()) {
        section("Expected against actual", &open(report), &mut text);
    }
    section("Environment", &environment(report), &mut text);
    section("Process", &process(report), &mut text);
    text
}

fn verdict(report: &Report, text: &mut String) {
    let count = report.fds.len();
    let line = match (&report.serve.error, count) {
        (None, 1) => "`serve` would take the socket that was handed over".to_owned(),
        (None, _) => format!("`serve` would take the {count} sockets that were handed over"),
        (Some(error), _) => {
            format!("`serve` would exit with status {}: {error}", report.serve.exit_status)
        }
    };
    let _ = writeln!(text, "{}", Escaped::new(&line));
}

type Row = Vec<String>;

/// Every cell comes through here, and each is shown as one line, whatever somebody put into it.
fn section(title: &str, rows: &[Row], text: &mut String) {
    let escape = |row: &Row| row.iter().map(|cell| Escaped::new(cell).to_string()).collect();
    let rows: Vec<Row> = rows.iter().map(escape).collect();
    let _ = writeln!(text, "\n{title}");
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let widths: Vec<_> = (0..columns)
        .map(|column| {
            rows.iter().filter_map(|row| row.get(column)).map(|c| c.chars().count()).max()
        })
        .map(Option::unwrap_or_default)
        .collect();
    for row in &rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            let _ = write!(line, "  {cell:width$}");
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
}

fn cells<const N: usize>(cells: [&str; N]) -> Row {
    cells.map(str::to_owned).to_vec()
}

fn or_dash(text: &Option<String>) -> &str {
    text.as_deref().unwrap_or("-")
}

fn inherited(fds: &[Inherited]) -> Vec<Row> {
    let mut rows = vec![cells(["FD", "NAME", "WHAT", "PROTOCOL", "LOCAL", "PEER", "SERVE"])];
    for fd in fds {
        let socket = fd.socket.as_ref();
        let number = fd.fd.to_string();
        rows.push(cells([
            &number,
            &fd.name,
            &fd.what,
            socket.map_or("-", |socket| or_dash(&socket.protocol)),
            socket.map_or("-", |socket| or_dash(&socket.local)),
            socket.map_or("-", |socket| or_dash(&socket.peer)),
            fd.service.unwrap_or("no"),
        ]));
    }
    rows
}

fn options(fds: &[Inherited]) -> Vec<Row> {
    let row =
        |fd: &Inherited| Some(vec![fd.fd.to_string(), option_list(&fd.socket.as_ref()?.options)]);
    fds.iter().filter_map(row).collect()
}

fn refused(fds: &[Inherited]) -> Vec<Row> {
    fds.iter().filter_map(|fd| Some(vec![fd.refusal.clone()?])).collect()
}

/// The options that are on, or have a value, in one line.
fn option_list(options: &Options) -> String {
    let mut list: Vec<String> = [
        ("V6ONLY", options.v6only),
        ("SO_REUSEADDR", options.reuseaddr),
        ("SO_REUSEPORT", options.reuseport),
        ("SO_PASSCRED", options.passcred),
        ("PKTINFO", options.pktinfo),
        ("O_NONBLOCK", options.nonblock),
    ]
    .into_iter()
    .filter(|(_, is_on)| *is_on == Some(true))
    .map(|(name, _)| name.to_owned())
    .collect();
    if options.v6only == Some(false) {
        list.push("dual-stack".to_owned());
    }
    if let (Some(waiting), Some(backlog)) = (options.waiting, options.backlog) {
        list.push(format!("{waiting} of {backlog} connections waiting"));
    } else if options.readable == Some(true) {
        list.push("traffic waiting".to_owned());
    }
    let values = [
        ("SO_RCVBUF", options.rcvbuf.map(|value| value.to_string())),
        ("SO_SNDBUF", options.sndbuf.map(|value| value.to_string())),
        ("congestion control", options.congestion.clone()),
        ("SO_COOKIE", options.cookie.map(|value| value.to_string())),
        ("mode", options.mode.clone()),
        ("uid", options.uid.map(|value| value.to_string())),
        ("gid", options.gid.map(|value| value.to_string())),
    ];
    list.extend(values.into_iter().filter_map(|(name, value)| Some(format!("{name} {}", value?))));
    list.join(", ")
}

fn open(report: &Report) -> Vec<Row> {
    let mut rows = vec![cells(["FD", "EXPECTED", "ACTUAL", "ADDRESS OR FILE", ""])];
    for row in &report.open {
        let number = row.fd.to_string();
        rows.push(cells([
            &number,
            or_dash(&row.announced),
            &row.what,
            row.address.as_deref().or(row.target.as_deref()).unwrap_or("-"),
            row.note.unwrap_or(""),
        ]));
    }
    rows
}

fn environment(report: &Report) -> Vec<Row> {
    let row = |variable: &super::report::Variable| {
        let assignment = match &variable.value {
            Some(value) => format!("{}={value}", variable.name),
            None => format!("{} is not set", variable.name),
        };
        let verdict = if variable.ok { "ok" } else { "WRONG" };
        vec![assignment, verdict.to_owned(), variable.note.clone()]
    };
    report.environment.iter().map(row).collect()
}

fn process(report: &Report) -> Vec<Row> {
    let (activator, confinement) = (&report.activator, &report.confinement);
    let chain: Vec<_> = activator
        .ancestry
        .iter()
        .map(|process| format!("{} ({})", process.pid, process.name))
        .collect();
    let mut rows = vec![
        cells(["activator", &activator.guess]),
        cells(["ancestry", &chain.join(" < ")]),
        vec!["user".to_owned(), format!("uid {}, gid {}", confinement.uid, confinement.gid)],
    ];
    let seccomp = confinement.seccomp.map(str::to_owned);
    let no_new_privileges =
        confinement.no_new_privileges.map(|is_on| if is_on { "set" } else { "not set" }.to_owned());
    for (name, value) in [
        ("container", &confinement.container),
        ("cgroup", &activator.cgroup),
        ("security label", &confinement.security_label),
        ("seccomp", &seccomp),
        ("no_new_privs", &no_new_privileges),
        ("capabilities", &confinement.capabilities),
    ] {
        if let Some(value) = value {
            rows.push(cells([name, value]));
        }
    }
    rows
}
