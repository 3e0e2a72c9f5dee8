//! Which descriptors arrive.

use super::list;
use crate::activator::Bound;
use crate::address::Style;
use crate::command::conform::case::{Case, Miss, Seen};
use crate::command::conform::clients::knock;
use crate::command::conform::engine::{Engine, INSPECT};
use crate::command::conform::inspection::Inspection;

const SD_LISTEN_FDS: &str = "sd_listen_fds(3)";

pub(super) fn cases(engine: &Engine) -> Vec<Case<'_>> {
    let source = |count| match count {
        3 => "sd_listen_fds(3); opencontainers/runc#3488",
        _ => SD_LISTEN_FDS,
    };
    let counts = [1, 2, 3, 16, 200].into_iter().map(|number| {
        Case::new(
            format!("fds.count.{number}"),
            "as many sockets arrive as were handed over, and each of them is one of those",
            source(number),
            move || count(engine, number),
        )
    });
    let order = Case::new(
        "fds.order",
        "the first socket is fd 3, the second fd 4, and so on",
        SD_LISTEN_FDS,
        || order(engine),
    );
    let stray = Case::new(
        "fds.stray",
        "no descriptor is open inside that was not handed over",
        "systemd.exec(5); opencontainers/runc#5474",
        || stray(engine),
    );
    counts.chain([order, stray]).collect()
}

fn inspect(engine: &Engine, sockets: &[Bound]) -> Result<Inspection, Miss> {
    let _client = knock(&sockets[0], engine.timeout)?;
    engine.inspect(sockets, INSPECT)
}

fn count(engine: &Engine, number: usize) -> Seen {
    let names: Vec<_> = (0..number).map(|number| format!("s{number}")).collect();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    let sockets = engine.listeners(&names)?;
    let inspection = inspect(engine, &sockets)?;
    let arrived = inspection.arrived()?;
    if arrived.len() != number {
        return Err(Miss::Fail(format!("{number} were handed over, {} arrived", arrived.len())));
    }
    let is_lost = |socket: &&Bound| !arrived.iter().any(|one| one.is(socket));
    let lost: Vec<_> = sockets.iter().filter(is_lost).map(|one| one.name().to_owned()).collect();
    if lost.is_empty() {
        return Ok(format!("{number} of {number}"));
    }
    let found: Vec<_> = arrived.iter().map(|one| one.what().to_owned()).collect();
    Err(Miss::Fail(format!("these did not arrive: {}; instead: {}", list(&lost), list(&found))))
}

fn order(engine: &Engine) -> Seen {
    let styles = [Style::Stream, Style::Datagram, Style::Seqpacket, Style::Stream, Style::Datagram];
    let names = ["first", "second", "third", "fourth", "fifth"];
    let sockets: Result<Vec<_>, _> =
        styles.into_iter().zip(names).map(|(style, name)| engine.unix(style, name)).collect();
    let sockets = sockets?;
    let inspection = inspect(engine, &sockets)?;
    let arrived = inspection.arrived()?;
    if arrived.len() != sockets.len() {
        return Err(Miss::Fail(format!("{} were handed over, {} arrived", 5, arrived.len())));
    }
    let wrong = |(index, socket): (usize, &Bound)| {
        let found = arrived.iter().position(|one| one.is(socket));
        let name = socket.name();
        match found {
            Some(found) if found == index => None,
            Some(found) => Some(format!("{name} is fd {}, and not fd {}", found + 3, index + 3)),
            None => Some(format!("{name} did not arrive")),
        }
    };
    let wrong: Vec<_> = sockets.iter().enumerate().filter_map(wrong).collect();
    if wrong.is_empty() { Ok("fd 3 to fd 7".to_owned()) } else { Err(Miss::Fail(list(&wrong))) }
}

fn stray(engine: &Engine) -> Seen {
    let sockets = engine.listeners(&["a", "b"])?;
    let inspection = inspect(engine, &sockets)?;
    let strays = inspection.strays();
    // Without an announcement, every socket would be one.
    if inspection.get("/open").as_array().is_none_or(|open| open.iter().all(is_unannounced)) {
        return Err(Miss::Fail("no descriptor is announced inside".to_owned()));
    }
    if strays.is_empty() {
        return Ok("nothing else is open".to_owned());
    }
    Err(Miss::Fail(format!("open inside, and not handed over: {}", list(&strays))))
}

fn is_unannounced(row: &serde_json::Value) -> bool {
    row["announced"].is_null()
}
