//! The fields of an answer: docs/info.md. Where `inspect --json` has the same fact, it has the same
//! word.

use std::ffi::OsString;

use serde::Serialize;

use super::peer::Peer;
use super::short::short;
use super::socket::Socket;
use crate::activation::Environment;
use crate::command::inspect;

/// The version of the document. It changes when a field changes its meaning or is removed.
pub(super) const SCHEMA: u32 = 1;

/// The longest texts, as bytes of JSON.
const HOST_MAX: usize = 128;
const NUMBER_MAX: usize = 32;
const NAMES_MAX: usize = 700;

#[derive(Debug, Serialize)]
pub(super) struct Document<'a> {
    /// It is the first one: by it, an answer is known.
    pub(super) schema: u32,
    pub(super) socket: &'a Socket,
    pub(super) peer: Peer,
    pub(super) process: &'a Process,
    pub(super) activation: Activation,
}

/// This process, and what its environment said.
#[derive(Debug, Serialize)]
pub(super) struct Process {
    pid: u32,
    uid: u32,
    gid: u32,
    hostname: String,
    container: Option<String>,
    listen_pid: Option<String>,
    listen_fds: Option<String>,
    listen_fdnames: Option<String>,
    listen_pidfdid: Option<String>,
}

/// Times, as microseconds of unix time.
#[derive(Debug, Serialize)]
pub(super) struct Activation {
    pub(super) started_us: u64,
    pub(super) first_byte_us: u64,
    pub(super) asked_us: u64,
}

impl Process {
    pub(super) fn this() -> Self {
        let Environment { listen_pid, listen_pidfdid, listen_fds, listen_fdnames } =
            Environment::of_this_process();
        let text = |value: Option<OsString>, most| {
            value.map(|value| short(&value.to_string_lossy(), most))
        };
        let host = rustix::system::uname();
        Self {
            pid: std::process::id(),
            uid: rustix::process::geteuid().as_raw(),
            gid: rustix::process::getegid().as_raw(),
            hostname: short(&host.nodename().to_string_lossy(), HOST_MAX),
            container: inspect::container().map(|engine| short(&engine, HOST_MAX)),
            listen_pid: text(listen_pid, NUMBER_MAX),
            listen_fds: text(listen_fds, NUMBER_MAX),
            listen_fdnames: text(listen_fdnames, NAMES_MAX),
            listen_pidfdid: text(listen_pidfdid, NUMBER_MAX),
        }
    }
}

#[cfg(test)]
impl Process {
    pub(super) fn longest(long: &str) -> Self {
        let text = |most| Some(short(long, most));
        Self {
            pid: u32::MAX,
            uid: u32::MAX,
            gid: u32::MAX,
            hostname: short(long, HOST_MAX),
            container: text(HOST_MAX),
            listen_pid: text(NUMBER_MAX),
            listen_fds: text(NUMBER_MAX),
            listen_fdnames: text(NAMES_MAX),
            listen_pidfdid: text(NUMBER_MAX),
        }
    }
}
