//! Expected against actual: the announced descriptors and the open ones.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};

use super::super::keep::Role;
use super::report::Open;
use crate::activation::{Environment, Kind, LISTEN_FDS_START, Process, SocketKind};
use crate::proc;
use crate::sys::descriptor;

/// More rows than anybody reads; a wrong `LISTEN_FDS` may announce millions.
const ANNOUNCED_MAX: usize = 256;

/// Every open or announced descriptor, in numeric order.
pub(super) fn list(environment: &Environment) -> Vec<Open> {
    let mut rows = BTreeMap::new();
    let whose = Whose {
        announced: environment.listen_pid.is_some()
            && environment.check_pid(Process::reading(environment)).is_ok(),
        standard_input: !environment.is_set(),
    };
    for (fd, name) in announced(environment) {
        rows.insert(fd, row(fd, Some(name), whose));
    }
    for fd in proc::own_descriptors() {
        rows.entry(fd).or_insert_with(|| row(fd, None, whose));
    }
    // The descriptor through which the numbers were read is closed again.
    rows.into_values().filter(|row| row.announced.is_some() || row.is_open).collect()
}

/// The numbers and names that `LISTEN_FDS` and `LISTEN_FDNAMES` announce, for any process.
fn announced(environment: &Environment) -> Vec<(i32, String)> {
    let count = environment.listen_fds.as_ref().and_then(|value| value.to_str()?.parse().ok());
    let names = environment.listen_fdnames.as_ref().map(|names| names.to_string_lossy());
    let mut names = names.iter().flat_map(|names| names.split(':'));
    (LISTEN_FDS_START..)
        .take(count.unwrap_or(0).min(ANNOUNCED_MAX))
        .map(|fd| (fd, names.next().unwrap_or(crate::activation::UNKNOWN_NAME).to_owned()))
        .collect()
}

/// Which descriptors are meant for this process.
#[derive(Clone, Copy)]
struct Whose {
    /// The descriptors that `LISTEN_FDS` announces.
    announced: bool,
    /// Standard input, if it is a socket.
    standard_input: bool,
}

fn row(fd: i32, announced: Option<String>, whose: Whose) -> Open {
    let kind =
        descriptor::duplicate(fd).ok().flatten().and_then(|fd: OwnedFd| Kind::of(fd.as_fd()).ok());
    let kind = kind.unwrap_or(Kind::Closed);
    let target = proc::own_descriptor_target(fd);
    Open {
        fd,
        is_open: kind != Kind::Closed,
        note: match announced.as_ref().and_then(|name| Role::of(name, &kind)) {
            Some(_) if whose.announced => Some("kept by the process before"),
            _ => note(fd, announced.is_some(), &kind, whose),
        },
        announced,
        what: kind.to_string(),
        address: match &kind {
            Kind::Socket(SocketKind { local, peer, .. }) => {
                local.as_ref().or(peer.as_ref()).map(ToString::to_string)
            }
            _ => None,
        },
        target: target.map(|target| target.to_string_lossy().into_owned()),
    }
}

fn note(fd: i32, announced: bool, kind: &Kind, whose: Whose) -> Option<&'static str> {
    match (announced, kind) {
        (true, Kind::Closed) => Some("announced, but not open"),
        (true, Kind::File(_)) => Some("announced, but not a socket"),
        (true, Kind::Socket(socket)) if socket.service().is_none() => {
            Some("announced, but cannot be served")
        }
        (true, Kind::Socket(_)) if !whose.announced => Some("announced, but not for this process"),
        (true, Kind::Socket(_)) => Some("as announced"),
        (false, Kind::Socket(_)) if fd == 0 && whose.standard_input => {
            Some("passed as standard input")
        }
        (false, Kind::Socket(_)) if fd >= LISTEN_FDS_START => Some("a socket, but not announced"),
        (false, Kind::File(_)) if fd >= LISTEN_FDS_START => Some("inherited, but not announced"),
        (false, _) => None,
    }
}
