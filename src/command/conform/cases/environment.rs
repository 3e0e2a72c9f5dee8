//! What the variables say inside.

use super::list;
use crate::address::Style;
use crate::command::conform::case::{Case, Miss, Seen};
use crate::command::conform::clients::{Client, knock};
use crate::command::conform::engine::{Engine, INSPECT, SERVE};
use crate::command::conform::inspection::Inspection;
use crate::command::conform::processes::{descendants, inner_pid, is_program};
use crate::proc;

pub(super) fn cases(engine: &Engine) -> Vec<Case<'_>> {
    vec![
        Case::new(
            "env.pid",
            "LISTEN_PID is the process id that the program has inside",
            "sd_listen_fds(3)",
            || variable(engine, "LISTEN_PID"),
        ),
        Case::new(
            "env.pidfdid",
            "LISTEN_PIDFDID is that of the program's pidfd, or is not set",
            "sd_listen_fds(3), from systemd 259 on",
            || variable(engine, "LISTEN_PIDFDID"),
        ),
        Case::new("env.count", "LISTEN_FDS is the number of sockets", "sd_listen_fds(3)", || {
            variable(engine, "LISTEN_FDS")
        }),
        Case::new(
            "env.not-inherited-further",
            "no helper process is told that the sockets are for it",
            "sd_listen_fds(3); containers/podman#27854",
            || not_inherited_further(engine),
        ),
    ]
}

fn variable(engine: &Engine, name: &str) -> Seen {
    let sockets = engine.listeners(&["a", "b"])?;
    let _client = knock(&sockets[0], engine.timeout)?;
    let inspection: Inspection = engine.inspect(&sockets, INSPECT)?;
    let (value, is_right, note) = inspection.variable(name);
    match value {
        Some(value) if is_right => Ok(format!("{value}: {note}")),
        None if is_right => Ok("not set".to_owned()),
        None => Err(Miss::Fail(format!("{name} is not set inside: {note}"))),
        Some(value) => Err(Miss::Fail(format!("{name} is {value} inside: {note}"))),
    }
}

fn not_inherited_further(engine: &Engine) -> Seen {
    let sockets = [engine.unix(Style::Stream, "a")?];
    let mut client = Client::new(&sockets[0], engine.timeout)?;
    let mut running = engine.start(&sockets, SERVE)?;
    client.echoed_by(&mut running)?;
    let told: Vec<_> = descendants()
        .into_iter()
        .filter(|process| process.pid != running.pid() && is_told(process.pid))
        .collect();
    // The program is one of them, unless the command has become the program. Both have its name.
    let (programs, helpers): (Vec<_>, Vec<_>) = told.into_iter().partition(is_program);
    let helpers: Vec<_> =
        helpers.iter().map(|one| format!("{} (pid {})", one.name, one.pid)).collect();
    if !helpers.is_empty() {
        return Err(Miss::Fail(format!("also told that they are for it: {}", list(&helpers))));
    }
    match programs.len() {
        0 | 1 => Ok("only the program is told".to_owned()),
        more => Err(Miss::Fail(format!("{more} processes of the program are told"))),
    }
}

/// Whether the variables name the process itself, by the id that it has in its innermost namespace.
fn is_told(pid: u32) -> bool {
    let Some(listen_pid) = proc::variable(pid, "LISTEN_PID") else { return false };
    proc::variable(pid, "LISTEN_FDS").is_some() && listen_pid.parse().ok() == inner_pid(pid)
}
