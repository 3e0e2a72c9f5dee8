//! Who is at the other end, as the program sees it.

use std::path::Path;

use serde_json::Value;
use socket2::SockRef;

use crate::activation::UNKNOWN_NAME;
use crate::activator::Bound;
use crate::address::{Address, Style};
use crate::client::{Exchange, connect};
use crate::command::conform::case::{Case, Miss, Seen};
use crate::command::conform::engine::{Engine, Run, Running, SERVE};
use crate::command::conform::processes;
use crate::command::info::ANSWER_MAX;
use crate::error::Error;

/// The name that a socket has inside if the engine drops its name: other cases are about that.
const NAME: &str = UNKNOWN_NAME;
const INFO: Run<'_> = Run { arguments: &["serve", "--info", NAME], ..SERVE };
/// The kernel's stand-in for a user that the user namespace does not have.
const OVERFLOW_ID: u64 = 65534;

pub(super) fn cases(engine: &Engine) -> Vec<Case<'_>> {
    vec![
        Case::new(
            "peer.address",
            "the program sees the address and the port of the client itself",
            "getpeername(2); containers/podman#29064",
            || address(engine),
        ),
        Case::new(
            "peer.credentials",
            "over a unix socket, the program sees the process and the user of the client, as the \
             kernel translates them for its namespaces",
            "unix(7), SO_PEERCRED; user_namespaces(7)",
            || credentials(engine),
        ),
    ]
}

/// A client that asks what the program sees.
struct Asker(Exchange);

impl Asker {
    fn new(engine: &Engine, socket: &Bound) -> Result<Self, Miss> {
        let address = socket.address().map(Address::to_client);
        let address = address.ok_or_else(|| Miss::Skip(format!("{socket}: no address")))?;
        let timeout = engine.timeout;
        let connection = connect(&address, timeout)
            .map_err(|failure| Miss::Skip(Error::from(failure).to_string()))?;
        let sent = connection.try_send(b"?");
        sent.map_err(|error| Miss::Skip(format!("send to {address}: {error}")))?;
        Ok(Self(Exchange { connection, timeout }))
    }

    fn answer(&mut self, running: &mut Running<'_>) -> Result<Value, Miss> {
        running.answers(&self.0.connection)?;
        // The answer does not depend on what comes after the first byte.
        let answer = self.0.ask(b"?", ANSWER_MAX, |got| got.ends_with(b"\n"));
        let answer = answer.map_err(|failure| Miss::Fail(Error::from(failure).to_string()))?;
        serde_json::from_slice(&answer)
            .map_err(|error| Miss::Fail(format!("the answer of `serve --info`: {error}")))
    }
}

fn address(engine: &Engine) -> Seen {
    let mut seen = Vec::new();
    for address in ["tcp:127.0.0.1:0", "tcp:[::1]:0"] {
        let address: Address = address.parse().expect("an address");
        let sockets = [engine.bind(&address, NAME)?];
        let mut asker = Asker::new(engine, &sockets[0])?;
        let mut running = engine.start(&sockets, INFO)?;
        let answer = asker.answer(&mut running)?;
        let own = SockRef::from(&asker.0.connection).local_addr();
        let own = own.ok().and_then(|own| own.as_socket());
        let own = own.ok_or_else(|| Miss::Skip("the client has no address".to_owned()))?;
        let peer = &answer["peer"];
        let is_it = peer["address"] == own.ip().to_string() && peer["port"] == own.port();
        if !is_it {
            let found = format!("{} port {}", peer["address"], peer["port"]);
            return Err(Miss::Fail(format!("the client is {own}, the program sees {found}")));
        }
        seen.push(own.to_string());
    }
    Ok(seen.join(" and "))
}

fn credentials(engine: &Engine) -> Seen {
    let sockets = [engine.unix(Style::Stream, NAME)?];
    let mut asker = Asker::new(engine, &sockets[0])?;
    let mut running = engine.start(&sockets, INFO)?;
    let answer = asker.answer(&mut running)?;
    let peer = &answer["peer"];
    let inside_pid = answer["process"]["pid"].as_u64().and_then(|pid| u32::try_from(pid).ok());
    let program = processes::program(inside_pid.unwrap_or(0))?;
    let uid = u64::from(rustix::process::geteuid().as_raw());
    let gid = u64::from(rustix::process::getegid().as_raw());
    for (name, own, map) in [("uid", uid, "uid_map"), ("gid", gid, "gid_map")] {
        let map = Path::new("/proc").join(program.to_string()).join(map);
        let map = std::fs::read_to_string(&map)
            .map_err(|error| Miss::Skip(format!("read {}: {error}", map.display())))?;
        let expected = inside(own, &map);
        if peer[name] != expected {
            let found = &peer[name];
            return Err(Miss::Fail(format!(
                "the client's {name} is {own} here and {expected} inside, the program sees {found}"
            )));
        }
    }
    // Outside of the program's PID namespace, a process has the id 0.
    let pid = &peer["pid"];
    if *pid == std::process::id() || *pid == 0 {
        return Ok(format!("pid {pid}, uid {}, gid {}", peer["uid"], peer["gid"]));
    }
    Err(Miss::Fail(format!("the client is process {}, the program sees {pid}", std::process::id())))
}

/// What an id of this user namespace is in the one with this map, which is read from here:
/// user_namespaces(7).
fn inside(id: u64, map: &str) -> u64 {
    let rows = map.lines().filter_map(|row| {
        let mut numbers = row.split_whitespace().map_while(|number| number.parse::<u64>().ok());
        Some((numbers.next()?, numbers.next()?, numbers.next()?))
    });
    let mut found = rows.filter_map(|(inside, outside, count)| {
        let offset = id.checked_sub(outside).filter(|offset| *offset < count)?;
        Some(inside + offset)
    });
    found.next().unwrap_or(OVERFLOW_ID)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_in_a_user_namespace() {
        let rootless = "0 1000 1\n1 100000 65536\n";
        for (id, map, expected) in [
            (0, "0 0 4294967295\n", 0),
            (1000, rootless, 0),
            (100_005, rootless, 6),
            (0, rootless, OVERFLOW_ID),
            (7, "", OVERFLOW_ID),
        ] {
            assert_eq!(inside(id, map), expected, "{id} in {map:?}");
        }
    }
}
