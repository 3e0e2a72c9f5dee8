//! The environment, variable by variable: its value, and what was expected.

use std::ffi::{OsStr, OsString};

use super::report::{Open, Variable};
use crate::activation::{Ancestor, Environment};
use crate::notify::{NotifySocket, Watchdog};

/// Explains the variables of sd_listen_fds(3) always, the others if they are set.
pub(super) fn explain(environment: &Environment, open: &[Open]) -> Vec<Variable> {
    let mut rows = vec![
        listen_pid(environment, std::process::id()),
        listen_fds(environment, open),
        listen_fdnames(environment),
    ];
    if let Some(value) = &environment.listen_pidfdid {
        let ok = is_number(value);
        let note = if ok {
            "the inode number of the pidfd that LISTEN_PID has to have"
        } else {
            "expected the inode number of a pidfd"
        };
        rows.push(row("LISTEN_PIDFDID", Some(value), ok, note));
    }
    let lookup = |name: &str| std::env::var_os(name);
    rows.extend(notify_socket(lookup("NOTIFY_SOCKET")));
    rows.extend(watchdog(lookup));
    for (name, note) in INFORMATION {
        if let Some(value) = lookup(name) {
            rows.push(row(name, Some(&value), true, note));
        }
    }
    rows
}

/// What is shown as it is, because it tells who started us: systemd.exec(5), systemd.socket(5) and
/// the container interface of systemd.
const INFORMATION: [(&str, &str); 8] = [
    ("INVOCATION_ID", "systemd started this process, or a parent of it, as part of a unit"),
    ("SYSTEMD_EXEC_PID", "the process that systemd started"),
    ("JOURNAL_STREAM", "the journal's device and inode number, if output goes there"),
    ("FDSTORE", "how many descriptors the manager would keep for us"),
    ("REMOTE_ADDR", "the peer of an Accept=yes connection"),
    ("REMOTE_PORT", "its port"),
    ("SO_COOKIE", "the kernel's number of the connection"),
    ("container", "the engine whose container this is"),
];

fn row(
    name: &'static str,
    value: Option<&OsString>,
    ok: bool,
    note: impl Into<String>,
) -> Variable {
    let value = value.map(|value| value.to_string_lossy().into_owned());
    Variable { name, value, ok, note: note.into() }
}

fn is_number(value: &OsStr) -> bool {
    value.to_str().is_some_and(|text| text.parse::<u64>().is_ok())
}

fn listen_pid(environment: &Environment, pid: u32) -> Variable {
    let name = "LISTEN_PID";
    let Some(value) = &environment.listen_pid else {
        let ok = environment.listen_fds.is_none();
        return row(name, None, ok, format!("goes with LISTEN_FDS; this process would be {pid}"));
    };
    match value.to_str().and_then(|text| text.parse::<u32>().ok()) {
        Some(listed) if listed == pid => row(name, Some(value), true, "this process"),
        Some(listed) => {
            let other = match Ancestor::of(listed) {
                Some(other) => format!("process {listed} is {}", other.name),
                None => format!("there is no process {listed}"),
            };
            row(name, Some(value), false, format!("expected {pid}, this process; {other}"))
        }
        None => row(name, Some(value), false, format!("expected {pid}, this process")),
    }
}

fn listen_fds(environment: &Environment, open: &[Open]) -> Variable {
    let name = "LISTEN_FDS";
    let Some(value) = &environment.listen_fds else {
        let ok = environment.listen_pid.is_none();
        return row(name, None, ok, "goes with LISTEN_PID; a count of descriptors");
    };
    let count = value.to_str().and_then(|text| text.parse::<i64>().ok()).filter(|&n| n > 0);
    let Some(count) = count else {
        return row(name, Some(value), false, "expected a count of 1 or more");
    };
    let (first, last) = (3, count.saturating_add(2));
    let closed: Vec<_> = open
        .iter()
        .filter(|row| row.announced.is_some() && row.what == "closed")
        .map(|row| row.fd.to_string())
        .collect();
    if closed.is_empty() {
        let note = format!("fd {first} to fd {last}, all open");
        return row(name, Some(value), true, note);
    }
    let note = format!(
        "fd {first} to fd {last}, not open: {}; a stale value of a parent, or something closed them",
        closed.join(", ")
    );
    row(name, Some(value), false, note)
}

fn listen_fdnames(environment: &Environment) -> Variable {
    let name = "LISTEN_FDNAMES";
    let Some(value) = &environment.listen_fdnames else {
        return row(name, None, true, "optional: without it each descriptor is called `unknown`");
    };
    let names = value.to_string_lossy().split(':').count();
    let count = environment.listen_fds.as_ref().and_then(|value| value.to_str()?.parse().ok());
    let ok = count == Some(names);
    let note = match (ok, count) {
        (true, _) => "one name for each descriptor".to_owned(),
        (false, Some(count)) => format!("expected {count} name(s), there are {names}"),
        (false, None) => "expected only beside a LISTEN_FDS that is a number".to_owned(),
    };
    row(name, Some(value), ok, note)
}

fn notify_socket(value: Option<OsString>) -> Option<Variable> {
    let value = value?;
    let (ok, note) = match NotifySocket::parse(&value) {
        Ok(_) => (true, "where `serve --sdnotify` sends READY=1".to_owned()),
        Err(error) => (false, error.to_string()),
    };
    Some(row("NOTIFY_SOCKET", Some(&value), ok, note))
}

fn watchdog(lookup: impl Fn(&str) -> Option<OsString>) -> Option<Variable> {
    let value = lookup("WATCHDOG_USEC")?;
    let (ok, note) = match Watchdog::from_lookup(&lookup, std::process::id()) {
        Ok(Some(watchdog)) => (true, format!("a keep-alive is due every {:?}", watchdog.timeout)),
        Ok(None) => (true, "WATCHDOG_PID is another process: none of our business".to_owned()),
        Err(error) => (false, error.to_string()),
    };
    Some(row("WATCHDOG_USEC", Some(&value), ok, note))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(pid: Option<&str>, fds: Option<&str>, names: Option<&str>) -> Environment {
        Environment {
            listen_pid: pid.map(Into::into),
            listen_fds: fds.map(Into::into),
            listen_fdnames: names.map(Into::into),
            listen_pidfdid: None,
        }
    }

    #[test]
    fn pids() {
        for (pid, fds, ok, note) in [
            (None, None, true, "would be 7"),
            (None, Some("1"), false, "would be 7"),
            (Some("7"), Some("1"), true, "this process"),
            (Some("x"), Some("1"), false, "expected 7, this process"),
            (Some("4194305"), Some("1"), false, "there is no process 4194305"),
            (Some("1"), Some("1"), false, "process 1 is "),
        ] {
            let row = listen_pid(&set(pid, fds, None), 7);
            assert!(row.ok == ok && row.note.contains(note), "{pid:?} {fds:?}: {row:?}");
        }
    }

    #[test]
    fn counts() {
        let closed = Open {
            fd: 4,
            announced: Some("a".into()),
            what: "closed".into(),
            address: None,
            target: None,
            note: None,
        };
        for (pid, fds, open, ok, note) in [
            (None, None, &[][..], true, "a count of"),
            (Some("7"), None, &[], false, "a count of"),
            (Some("7"), Some("x"), &[], false, "1 or more"),
            (Some("7"), Some("0"), &[], false, "1 or more"),
            (Some("7"), Some("2"), &[], true, "fd 3 to fd 4, all open"),
            (Some("7"), Some("2"), std::slice::from_ref(&closed), false, "not open: 4; a stale"),
        ] {
            let row = listen_fds(&set(pid, fds, None), open);
            assert!(row.ok == ok && row.note.contains(note), "{fds:?}: {row:?}");
        }
    }

    #[test]
    fn names() {
        for (fds, names, ok, note) in [
            (Some("2"), None, true, "`unknown`"),
            (Some("2"), Some("a:b"), true, "one name for each"),
            (Some("2"), Some("a"), false, "expected 2 name(s), there are 1"),
            (None, Some("a"), false, "expected only beside"),
        ] {
            let row = listen_fdnames(&set(Some("7"), fds, names));
            assert!(row.ok == ok && row.note.contains(note), "{names:?}: {row:?}");
        }
    }
}
