//! The environment, variable by variable: its value, and what was expected.

use std::ffi::OsString;

use super::report::{Open, Variable};
use crate::activation::{Ancestor, Environment, EnvironmentError, LISTEN_FDS_MAX, Process};
use crate::notify::{NotifySocket, Watchdog};

/// Explains the variables of sd_listen_fds(3) always, the others if they are set.
pub(super) fn explain(environment: &Environment, open: &[Open]) -> Vec<Variable> {
    let process = Process::reading(environment);
    let mut rows = vec![
        listen_pid(environment, process),
        listen_fds(environment, open),
        listen_fdnames(environment),
    ];
    rows.extend(listen_pidfdid(environment, process));
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

fn listen_pid(environment: &Environment, process: Process) -> Variable {
    let (name, pid) = ("LISTEN_PID", process.pid);
    let Some(value) = &environment.listen_pid else {
        let ok = environment.listen_fds.is_none();
        return row(name, None, ok, format!("goes with LISTEN_FDS; this process would be {pid}"));
    };
    let (ok, note) = match environment.check_pid(process) {
        Ok(()) => (true, "this process".to_owned()),
        Err(EnvironmentError::OtherPid { listen_pid, .. }) => {
            let other = match Ancestor::of(listen_pid) {
                Some(other) => format!("process {listen_pid} is {}", other.name),
                None => format!("there is no process {listen_pid}"),
            };
            (false, format!("expected {pid}, this process; {other}"))
        }
        Err(_) => (false, format!("expected {pid}, this process")),
    };
    row(name, Some(value), ok, note)
}

fn listen_pidfdid(environment: &Environment, process: Process) -> Option<Variable> {
    let value = environment.listen_pidfdid.as_ref()?;
    let (ok, note) = match (environment.check_pidfd(process), process.pidfd_id) {
        (Ok(()), Some(_)) => (true, "the inode number of this process's pidfd".to_owned()),
        (Ok(()), None) => (true, "not checked: this kernel has no pidfs (Linux 6.9)".to_owned()),
        (Err(EnvironmentError::OtherPidfd { pidfd_id, .. }), _) => (
            false,
            format!(
                "expected {pidfd_id}, the inode number of this process's pidfd: the process \
                     id was used again"
            ),
        ),
        (Err(_), _) => (false, "expected the inode number of a pidfd".to_owned()),
    };
    Some(row("LISTEN_PIDFDID", Some(value), ok, note))
}

fn listen_fds(environment: &Environment, open: &[Open]) -> Variable {
    let name = "LISTEN_FDS";
    let Some(value) = &environment.listen_fds else {
        let ok = environment.listen_pid.is_none();
        return row(name, None, ok, "goes with LISTEN_PID; a count of descriptors");
    };
    let Ok(count) = environment.check_count() else {
        let note = format!("expected a count of 1 or more, {LISTEN_FDS_MAX} at most");
        return row(name, Some(value), false, note);
    };
    let (first, last) = (3, count + 2);
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
    // Without a count, any number of names is wrong.
    let count = environment.check_count().unwrap_or(0);
    let (ok, note) = match environment.check_names(count) {
        Ok(()) => (true, "one name for each descriptor".to_owned()),
        Err(EnvironmentError::NameCount { names, fds, .. }) if fds > 0 => {
            (false, format!("expected {fds} name(s), there are {names}"))
        }
        Err(_) => (false, "expected only beside a LISTEN_FDS that is a number".to_owned()),
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
            let process = Process { pid: 7, pidfd_id: None };
            let row = listen_pid(&set(pid, fds, None), process);
            assert!(row.ok == ok && row.note.contains(note), "{pid:?} {fds:?}: {row:?}");
        }
    }

    #[test]
    fn pidfds() {
        for (value, pidfd_id, ok, note) in [
            ("70", Some(70), true, "this process's pidfd"),
            ("71", Some(70), false, "expected 70, the inode number"),
            ("71", None, true, "not checked"),
            ("x", Some(70), false, "expected the inode number of a pidfd"),
        ] {
            let environment =
                Environment { listen_pidfdid: Some(value.into()), ..Environment::default() };
            let row = listen_pidfdid(&environment, Process { pid: 7, pidfd_id }).expect("a row");
            assert!(row.ok == ok && row.note.contains(note), "{value} {pidfd_id:?}: {row:?}");
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
            (Some("7"), Some("2000000000"), &[], false, "65536 at most"),
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
