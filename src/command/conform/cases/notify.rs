//! Which messages of sd_notify(3) come out.

use std::cell::OnceCell;
use std::rc::Rc;
use std::time::Duration;

use crate::address::Style;
use crate::command::conform::case::{Case, Miss, Seen};
use crate::command::conform::clients::knock;
use crate::command::conform::engine::{Engine, Run, SERVE};
use crate::command::conform::manager::{Manager, Message};

/// How long a relay may take for a message after the program has ended.
const RELAY_PATIENCE: Duration = Duration::from_millis(500);

/// The name of each case, how its assignment begins, and whether descriptors come with it.
const MESSAGES: [(&str, &str, bool); 8] = [
    ("notify.ready", "READY=1", false),
    ("notify.status", "STATUS=", false),
    ("notify.reloading", "RELOADING=1", false),
    ("notify.extend", "EXTEND_TIMEOUT_USEC=", false),
    ("notify.watchdog", "WATCHDOG=1", false),
    ("notify.fdstore", "FDSTORE=1", true),
    ("notify.barrier", "BARRIER=1", true),
    ("notify.stopping", "STOPPING=1", false),
];

/// All of them come from one run, in this order.
pub(super) fn cases(engine: &Engine) -> Vec<Case<'_>> {
    let seen = Rc::new(OnceCell::new());
    let case = |(name, assignment, has_fds)| {
        let seen = Rc::clone(&seen);
        Case::new(
            name,
            "the message arrives at the service manager, with its descriptors if it has any",
            "sd_notify(3); containers/conmon#393",
            move || came(seen.get_or_init(|| messages(engine)), assignment, has_fds),
        )
    };
    MESSAGES.into_iter().map(case).collect()
}

/// What comes out of a program that sends each message once.
fn messages(engine: &Engine) -> Result<Vec<Message>, Miss> {
    let manager = Manager::new(engine.path());
    let manager = manager.map_err(|error| Miss::Skip(format!("bind NOTIFY_SOCKET: {error}")))?;
    let sockets = [engine.unix(Style::Stream, "notify")?];
    let _client = knock(&sockets[0], engine.timeout)?;
    let run = Run {
        environment: &[manager.variable()],
        arguments: &["inspect", "--json", "--notify"],
        ..SERVE
    };
    let mut running = engine.start(&sockets, run)?;
    let mut messages = Vec::new();
    // A barrier waits for us, so the messages are taken while it runs.
    while !running.has_ended() && running.started.elapsed() < engine.timeout {
        messages.extend(manager.next(Duration::from_millis(20)));
    }
    running.wait()?;
    let is_last = |messages: &[Message]| messages.iter().any(|one| one.has("STOPPING=1"));
    while let Some(message) = (!is_last(&messages)).then(|| manager.next(RELAY_PATIENCE)).flatten()
    {
        messages.push(message);
    }
    Ok(messages)
}

fn came(messages: &Result<Vec<Message>, Miss>, assignment: &str, has_fds: bool) -> Seen {
    let messages = messages.as_ref().map_err(Clone::clone)?;
    let others = || match messages.len() {
        0 => "no message came".to_owned(),
        count => format!("{count} others came"),
    };
    match messages.iter().find(|message| message.has(assignment)) {
        None => Err(Miss::Fail(format!("{assignment} did not come; {}", others()))),
        Some(message) if has_fds && message.fds == 0 => {
            Err(Miss::Fail(format!("{assignment} came without its descriptor")))
        }
        Some(_) => Ok("it came".to_owned()),
    }
}
