//! The environment, variable by variable: its value and the expected one.

use std::env::var_os;

use super::report::{Open, Variable};
use crate::activation::{Environment, EnvironmentError, LISTEN_FDS_MAX, Process};
use crate::notify::{NotifySocket, Watchdog};
use crate::proc;

/// Whether a value is right, and which value is right.
type Verdict = (bool, String);

/// Explains the variables of sd_listen_fds(3) always, and the others if they are set. With a socket
/// as standard input, the former are not needed.
pub(super) fn explain(
    environment: &Environment,
    open: &[Open],
    is_standard_input: bool,
) -> Vec<Variable> {
    let process = Process::reading(environment);
    let needed = |note| match is_standard_input {
        true => (true, "not needed: the socket is standard input".to_owned()),
        false => (false, note),
    };
    let judged = [
        (
            "LISTEN_PID",
            Some(listen_pid(environment, process).unwrap_or_else(|| {
                needed(format!("the process id that the sockets are for, here {}", process.pid))
            })),
        ),
        (
            "LISTEN_FDS",
            Some(listen_fds(environment, open).unwrap_or_else(|| {
                needed("the number of descriptors that are passed, from fd 3 on".to_owned())
            })),
        ),
        ("LISTEN_FDNAMES", Some(listen_fdnames(environment))),
        ("LISTEN_PIDFDID", listen_pidfdid(environment, process)),
        ("NOTIFY_SOCKET", notify_socket()),
        ("WATCHDOG_USEC", watchdog()),
    ];
    let others = INFORMATION.map(|(name, note)| (name, var_os(name).map(|_| (true, note.into()))));
    let row = |(name, verdict): (_, Option<Verdict>)| {
        let value = var_os(name).map(|value| value.to_string_lossy().into_owned());
        verdict.map(|(ok, note)| Variable { name, value, ok, note })
    };
    judged.into_iter().chain(others).filter_map(row).collect()
}

/// Variables without a check, which show who started this process: systemd.exec(5),
/// systemd.socket(5) and systemd's container interface.
const INFORMATION: [(&str, &str); 8] = [
    ("INVOCATION_ID", "systemd started this process, or a parent of it, as part of a unit"),
    ("SYSTEMD_EXEC_PID", "the process that systemd started"),
    ("JOURNAL_STREAM", "the device and inode number of the journal, if output goes there"),
    ("FDSTORE", "how many descriptors the service manager stores for this process"),
    ("REMOTE_ADDR", "the client's address: Accept=yes, or `activate --accept`"),
    ("REMOTE_PORT", "the client's port"),
    ("SO_COOKIE", "the kernel's number for the connection"),
    ("container", "the engine whose container this is"),
];

/// `None` if the variable is not set, as in the functions below.
fn listen_pid(environment: &Environment, process: Process) -> Option<Verdict> {
    environment.listen_pid.as_ref()?;
    let pid = process.pid;
    Some(match environment.check_pid(process) {
        Ok(()) => (true, "this process".to_owned()),
        Err(EnvironmentError::OtherPid { listen_pid, .. }) => {
            let other = proc::describe(listen_pid);
            (false, format!("expected {pid}, this process; {other}"))
        }
        Err(_) => (false, format!("expected {pid}, this process")),
    })
}

fn listen_pidfdid(environment: &Environment, process: Process) -> Option<Verdict> {
    environment.listen_pidfdid.as_ref()?;
    Some(match (environment.check_pidfd(process), process.pidfd_id) {
        (Ok(()), Some(_)) => (true, "the inode number of this process's pidfd".to_owned()),
        (Ok(()), None) => (true, "not checked: this kernel has no pidfs (Linux 6.9)".to_owned()),
        (Err(EnvironmentError::OtherPidfd { pidfd_id, .. }), _) => {
            // With the `LISTEN_PID` of another process, it belongs to that process.
            let is_our_pid = environment.check_pid(process).is_ok();
            let why = if is_our_pid { ": an earlier process had the same process id" } else { "" };
            (false, format!("expected {pidfd_id}, the inode number of this process's pidfd{why}"))
        }
        (Err(_), _) => (false, "expected the inode number of a pidfd".to_owned()),
    })
}

fn listen_fds(environment: &Environment, open: &[Open]) -> Option<Verdict> {
    environment.listen_fds.as_ref()?;
    let Ok(count) = environment.check_count() else {
        return Some((false, format!("expected a count of 1 or more, {LISTEN_FDS_MAX} at most")));
    };
    let is_closed = |row: &&Open| row.announced.is_some() && !row.is_open;
    let closed: Vec<_> = open.iter().filter(is_closed).map(|row| row.fd.to_string()).collect();
    let why = "closed on the way, or LISTEN_FDS is left over from a parent process";
    Some(match (count, closed.as_slice()) {
        (1, []) => (true, "fd 3, which is open".to_owned()),
        (1, _) => (false, format!("fd 3, which is not open: {why}")),
        (_, []) => (true, format!("fd 3 to fd {}, all open", count + 2)),
        (_, closed) => {
            let (last, closed) = (count + 2, closed.join(", "));
            (false, format!("fd 3 to fd {last}, of which these are not open: {closed}; {why}"))
        }
    })
}

fn listen_fdnames(environment: &Environment) -> Verdict {
    if environment.listen_fdnames.is_none() {
        return (
            true,
            "optional: a name for each descriptor, which is otherwise `unknown`".to_owned(),
        );
    }
    // Without a count, every number of names is wrong.
    let count = environment.check_count().unwrap_or(0);
    match environment.check_names(count) {
        Ok(()) => (true, "one name for each descriptor".to_owned()),
        Err(EnvironmentError::NameCount { names, fds, .. }) if fds > 0 => {
            (false, format!("expected {fds} name(s), there are {names}"))
        }
        Err(_) => (false, "needs a LISTEN_FDS that is a valid count".to_owned()),
    }
}

fn notify_socket() -> Option<Verdict> {
    Some(match NotifySocket::parse(&var_os("NOTIFY_SOCKET")?) {
        Ok(_) => (true, "where `serve --sdnotify` sends READY=1".to_owned()),
        Err(error) => (false, error.to_string()),
    })
}

fn watchdog() -> Option<Verdict> {
    var_os("WATCHDOG_USEC")?;
    Some(match Watchdog::from_env() {
        Ok(Some(watchdog)) => (true, format!("a keep-alive is due every {:?}", watchdog.timeout)),
        Ok(None) => {
            (true, "WATCHDOG_PID is another process: nothing is expected from this one".to_owned())
        }
        Err(error) => (false, error.to_string()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

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
            assert!(row.0 == ok && row.1.contains(note), "{value} {pidfd_id:?}: {row:?}");
        }
    }
}
