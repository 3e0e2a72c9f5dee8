//! The report for people.

use std::fmt::Write;

use super::report::{Inherited, Options, Report, Sandbox, Variable};
use crate::proc::describe_chain;
use crate::text::Escaped;

/// The report as text.
pub(super) fn render(report: &Report) -> String {
    let mut text = wrap(&Escaped::new(&verdict(report)).to_string(), 2) + "\n";
    for (title, rows) in [
        ("Passed", inherited(&report.fds)),
        ("Options", options(&report.fds)),
        ("Refused", refused(&report.fds)),
        ("Expected against actual", open(report)),
        ("Environment", report.environment.iter().map(variable).collect()),
        ("Process", process(report)),
    ] {
        section(title, &rows, &mut text);
    }
    text
}

fn verdict(report: &Report) -> String {
    match (&report.serve.error, report.fds.len()) {
        (None, 1) => "`serve` would take the socket that was passed".to_owned(),
        (None, count) => format!("`serve` would take the {count} sockets that were passed"),
        (Some(error), _) => {
            format!("`serve` would exit with status {}: {error}", report.serve.exit_status)
        }
    }
}

type Row = Vec<String>;

/// Every cell passes here and is escaped to one line.
fn section(title: &str, rows: &[Row], text: &mut String) {
    if rows.is_empty() {
        return;
    }
    let escape = |row: &Row| row.iter().map(|cell| Escaped::new(cell).to_string()).collect();
    let rows: Vec<Row> = rows.iter().map(escape).collect();
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<_> = (0..columns).map(width).collect();
    let _ = writeln!(text, "\n{title}");
    for row in &rows {
        let (last, before) = row.split_last().expect("a row has cells");
        let mut line = String::new();
        for (cell, width) in before.iter().zip(&widths) {
            let _ = write!(line, "  {cell:width$}");
        }
        let indent = line.chars().count() + 2;
        let _ = writeln!(text, "{}", wrap(&format!("{line}  {last}"), indent).trim_end());
    }
}

/// Wraps the text between words to the usual width of a terminal, and indents the following lines
/// by `indent` spaces. If there is no room for a sentence, the line stays as it is.
fn wrap(text: &str, indent: usize) -> String {
    const WIDTH: usize = 80;
    const ROOM: usize = 30;
    let (mut wrapped, mut column) = (String::new(), 0);
    for (index, word) in text.split(' ').enumerate() {
        let len = word.chars().count();
        if column > indent && column + 1 + len > WIDTH && indent + ROOM <= WIDTH {
            let _ = write!(wrapped, "\n{:indent$}{word}", "");
            column = indent + len;
        } else {
            let space = if index == 0 { "" } else { " " };
            let _ = write!(wrapped, "{space}{word}");
            column += space.len() + len;
        }
    }
    wrapped
}

fn cells<const N: usize>(cells: [&str; N]) -> Row {
    cells.map(str::to_owned).to_vec()
}

fn or_dash(text: &Option<String>) -> &str {
    text.as_deref().unwrap_or("-")
}

fn inherited(fds: &[Inherited]) -> Vec<Row> {
    if fds.is_empty() {
        return Vec::new();
    }
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

/// Empty if there is only one refusal, because that is the verdict.
fn refused(fds: &[Inherited]) -> Vec<Row> {
    let rows: Vec<Row> = fds.iter().filter_map(|fd| Some(vec![fd.refusal.clone()?])).collect();
    if rows.len() > 1 { rows } else { Vec::new() }
}

/// The options that are on or have a value, in one line.
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

/// Empty if the open descriptors are those that were announced.
fn open(report: &Report) -> Vec<Row> {
    let is_surplus = report.open.iter().any(|row| row.fd > 2 && row.announced.is_none());
    if report.serve.exit_status == 0 && !is_surplus {
        return Vec::new();
    }
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

fn variable(variable: &Variable) -> Row {
    let assignment = match &variable.value {
        Some(value) => format!("{}={value}", variable.name),
        None => format!("{} is not set", variable.name),
    };
    let verdict = match (variable.ok, &variable.value) {
        (true, Some(_)) => "ok",
        (true, None) => "",
        (false, Some(_)) => "WRONG",
        (false, None) => "MISSING",
    };
    cells([&assignment, verdict, &variable.note])
}

/// What `serve --sandbox auto` would use here.
fn in_words(sandbox: &Sandbox) -> String {
    let landlock = match sandbox.landlock_abi {
        Some(abi) => format!("Landlock ABI {abi}"),
        None => "no Landlock".to_owned(),
    };
    let seccomp = if sandbox.seccomp { "seccomp" } else { "no seccomp" };
    let no_new_privs = if sandbox.no_new_privileges { "no_new_privs" } else { "no no_new_privs" };
    format!("`serve` can use {no_new_privs}, {landlock}, {seccomp}")
}

fn process(report: &Report) -> Vec<Row> {
    let (activator, confinement) = (&report.activator, &report.confinement);
    let chain = describe_chain(&activator.ancestry);
    let sandbox = in_words(&confinement.sandbox);
    let user = format!("uid {}, gid {}", confinement.uid, confinement.gid);
    let rows = [
        ("activator", Some(activator.guess.as_str())),
        ("ancestry", Some(&chain)),
        ("user", Some(&user)),
        ("container", confinement.container.as_deref()),
        ("cgroup", activator.cgroup.as_deref()),
        ("security label", confinement.security_label.as_deref()),
        ("seccomp", confinement.seccomp),
        (
            "no_new_privs",
            confinement.no_new_privileges.map(|on| if on { "set" } else { "not set" }),
        ),
        ("capabilities", confinement.capabilities.as_deref()),
        ("sandbox", Some(&sandbox)),
    ];
    rows.into_iter().filter_map(|(name, value)| Some(cells([name, value?]))).collect()
}
