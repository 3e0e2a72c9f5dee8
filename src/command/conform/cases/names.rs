//! Which names arrive.

use super::list;
use crate::activation::UNKNOWN_NAME;
use crate::activator::HandOver;
use crate::command::conform::case::{Case, Miss, Seen};
use crate::command::conform::clients::knock;
use crate::command::conform::engine::{Engine, INSPECT, Run};
use crate::notify::FdName;
use crate::text::Escaped;

const SOURCE: &str = "sd_listen_fds_with_names(3); systemd/systemd#43764";

pub(super) fn cases(engine: &Engine) -> Vec<Case<'_>> {
    vec![
        Case::new("names.kept", "LISTEN_FDNAMES arrives as it was set", SOURCE, || {
            names(engine, &["alpha", "beta", "alpha"])
        }),
        Case::new(
            "names.absent",
            "without LISTEN_FDNAMES, no names are invented",
            "sd_listen_fds_with_names(3)",
            || absent(engine),
        ),
        Case::new(
            "names.special",
            "a name may have every printable ASCII character except the colon",
            "systemd.socket(5), FileDescriptorName=",
            || names(engine, &["$HOME", "a b", "%n=\"'*;|&<>\\", "~"]),
        ),
        Case::new(
            "names.long",
            "a name may have 255 characters",
            "systemd.socket(5), FileDescriptorName=",
            || names(engine, &["n".repeat(FdName::LEN_MAX).as_str(), "short"]),
        ),
    ]
}

fn names(engine: &Engine, names: &[&str]) -> Seen {
    let found = arrived(engine, names, INSPECT)?;
    if found == names {
        return Ok(format!("{} names", names.len()));
    }
    let shown = |names: &[String]| {
        let cut = |name: &String| Escaped::new(name).to_string().chars().take(20).collect();
        list(&names.iter().map(cut).collect::<Vec<String>>())
    };
    let expected: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
    let expected = shown(&expected);
    if found.iter().all(|name| name == UNKNOWN_NAME) {
        return Err(Miss::Fail(format!("LISTEN_FDNAMES is not set inside; expected {expected}")));
    }
    Err(Miss::Fail(format!("expected {expected}, found {}", shown(&found))))
}

fn absent(engine: &Engine) -> Seen {
    let run = Run { hand_over: HandOver::ListenFdsWithoutNames, ..INSPECT };
    let found = arrived(engine, &["a", "b"], run)?;
    if found.iter().all(|name| name == UNKNOWN_NAME) {
        return Ok(format!("each is `{UNKNOWN_NAME}`"));
    }
    Err(Miss::Fail(format!("no name was handed over, these arrived: {}", list(&found))))
}

fn arrived(engine: &Engine, names: &[&str], run: Run<'_>) -> Result<Vec<String>, Miss> {
    let sockets = engine.listeners(names)?;
    let _client = knock(&sockets[0], engine.timeout)?;
    let inspection = engine.inspect(&sockets, run)?;
    Ok(inspection.arrived()?.iter().map(|one| one.name().to_owned()).collect())
}
