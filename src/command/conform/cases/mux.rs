//! Clients of a hypervisor's vsock multiplexer: what they get, and what they leave behind.

use std::io;
use std::thread;

use rustix::event::PollFlags;

use crate::client::{Connection, Deadline, Failure, Symptom};
use crate::command::conform::case::{Case, Miss, Seen};
use crate::command::conform::mux::{Descriptors, Mux};
use crate::error::Error;

/// How many clients behave in each of the ways of a case.
const CLIENTS: usize = 20;
/// How many clients are connected at the same time.
const AT_ONCE: usize = 100;
/// A request that fits into every buffer on the way.
const REQUEST: usize = 4096;
/// Several times what the buffers on the way hold: 64 KiB in Firecracker and in vhost-device-vsock,
/// 256 KiB in the guest's kernel.
const BULK: usize = 1_000_000;
/// A reply can overtake a half-close that was passed on wrongly, so one request is not enough.
const REQUESTS: usize = 20;
/// A port that no service is known to use; [`u32::MAX`] is `VMADDR_PORT_ANY` of vsock(7).
const UNUSED_PORT: u32 = u32::MAX - 1;

pub(super) fn cases(mux: &Mux) -> Vec<Case<'_>> {
    vec![
        Case::new(
            "mux.echo",
            "CONNECT is answered with OK, and a message comes back",
            "Firecracker, docs/vsock.md: host-initiated connections",
            || mux.served().map(|_| "it came back".to_owned()).map_err(failed),
        ),
        Case::new(
            "mux.no-listener",
            "CONNECT to a port without a listener ends the connection, without OK",
            "Firecracker, docs/vsock.md: host-initiated connections",
            || in_between(mux, CLIENTS, || no_listener(mux)),
        ),
        Case::new(
            "mux.partial-connect",
            "a client that sends nothing, or a part of CONNECT, stops nobody and leaves nothing",
            "cloud-hypervisor#6621, #6798: such a client ended the hypervisor",
            || partial(mux),
        ),
        Case::new(
            "mux.abrupt-close",
            "a client that closes before OK, or with a reply unread, stops nobody and leaves nothing",
            "firecracker#2464: such a client ended the hypervisor",
            || in_between(mux, 3 * CLIENTS, || abrupt(mux)),
        ),
        Case::new(
            "mux.half-close",
            "after shutdown(SHUT_WR), the whole reply comes, then the end",
            "cloud-hypervisor#8300: the reply was dropped; rust-vmm/vhost-device#874",
            || in_between(mux, REQUESTS, || half_close(mux)),
        ),
        Case::new(
            "mux.many",
            "100 clients at the same time are all served",
            "liquidmetal-dev/flintlock#1205: CONNECT failed after many in a row",
            || in_between(mux, AT_ONCE, || many(mux)),
        ),
        // The last one: a multiplexer that is stuck serves nobody afterwards.
        Case::new(
            "mux.bulk",
            "1,000,000 bytes come back while they are sent",
            "cloud-hypervisor#7672, libkrun#674: large packets of the guest were dropped",
            || in_between(mux, 1, || mux.served_with(BULK).map(drop).map_err(failed)),
        ),
    ]
}

fn failed(failure: Failure) -> Miss {
    Miss::Fail(Error::from(failure).to_string())
}

/// Runs `clients` between two clients that have to be served, by the same process. It must not have
/// more descriptors afterwards.
fn in_between(mux: &Mux, count: usize, clients: impl FnOnce() -> Result<(), Miss>) -> Seen {
    let not_usable = |failure| Miss::Skip(format!("no echo before it: {}", Error::from(failure)));
    let first = mux.served().map_err(not_usable)?;
    let before = Descriptors::of(&first);
    let process = first.process;
    drop(first);
    clients()?;
    // It comes after the others in the backlog, so all of them were accepted before.
    let last = mux.served().map_err(|failure| {
        let why = Error::from(failure);
        Miss::Fail(format!("after {count} such clients, another one is not served: {why}"))
    })?;
    if process != last.process {
        return Err(Miss::Fail("another process serves the socket than before".to_owned()));
    }
    let left = before.and_then(|before| Some((before, before.excess_within(mux.timeout)?)));
    match left {
        None => Ok(format!(
            "{count} clients; this user cannot see the descriptors of the process, so a leak would \
             not be noticed"
        )),
        Some((before, 0)) => Ok(format!("{count} clients; {before}, no more than before")),
        Some((before, more)) => Err(Miss::Fail(format!(
            "{count} such clients left {more} descriptors open: there were {before}"
        ))),
    }
}

fn no_listener(mux: &Mux) -> Result<(), Miss> {
    let port = if mux.port == UNUSED_PORT { UNUSED_PORT - 1 } else { UNUSED_PORT };
    for _ in 0..CLIENTS {
        let wrong = match mux.connected_to(port).map_err(|failure| failure.symptom) {
            Err(Symptom::MuxRefused) => continue,
            Ok(_) => "it was answered with OK".to_owned(),
            Err(Symptom::ConnectTimeout) => {
                format!("the connection did not end within {:?}", mux.timeout)
            }
            Err(symptom) => format!("the verdict is {symptom}"),
        };
        return Err(Miss::Fail(format!("CONNECT {port}, where nobody should listen: {wrong}")));
    }
    Ok(())
}

/// Half of the clients go away at once; the others stay until the next one was served.
fn partial(mux: &Mux) -> Seen {
    let line = format!("CONNECT {}", mux.port);
    let parts = ["", "C", "CONNECT", "CONNECT ", &line[..line.len() - 1], &line];
    in_between(mux, parts.len() * CLIENTS, || {
        let mut staying = Vec::with_capacity(parts.len() * CLIENTS / 2);
        for number in 0..CLIENTS {
            for part in parts {
                let connection = mux.raw().map_err(failed)?;
                // What it answers does not matter: it may have closed the connection already.
                let _ = connection.try_send(part.as_bytes());
                if number % 2 == 0 {
                    staying.push(connection);
                }
            }
        }
        let count = staying.len();
        mux.served().map(drop).map_err(|failure| {
            let why = Error::from(failure);
            Miss::Fail(format!("while {count} such clients stay, another one is not served: {why}"))
        })
    })
}

fn abrupt(mux: &Mux) -> Result<(), Miss> {
    let line = format!("CONNECT {}\n", mux.port);
    for _ in 0..CLIENTS {
        let before_ok = mux.raw().map_err(failed)?;
        let _ = before_ok.try_send(line.as_bytes());
        drop(before_ok);
        let at_once = mux.connected().map_err(failed)?;
        let _ = at_once.try_send(mux.bytes(REQUEST));
        drop(at_once);
        let unread = mux.connected().map_err(failed)?;
        let _ = unread.try_send(mux.bytes(REQUEST));
        Deadline::after(mux.timeout)
            .wait(&unread, PollFlags::IN)
            .map_err(|error| Miss::Fail(format!("wait for the begin of the reply: {error}")))?;
    }
    Ok(())
}

fn half_close(mux: &Mux) -> Result<(), Miss> {
    for number in 1..=REQUESTS {
        let connection = mux.connected().map_err(failed)?;
        let mut reply = Vec::with_capacity(REQUEST);
        let ended = request(&connection, mux.bytes(REQUEST), &mut reply, mux);
        let got = reply.len();
        let wrong = match ended {
            Ok(()) if reply == mux.bytes(REQUEST) => continue,
            Ok(()) if got < REQUEST => format!("{got} of {REQUEST} bytes came, then the end"),
            Ok(()) => "what came differs from what was sent".to_owned(),
            Err(error) if error.kind() == io::ErrorKind::TimedOut && got == REQUEST => {
                format!("the whole reply came, and no end within {:?}", mux.timeout)
            }
            Err(error) => format!("{got} of {REQUEST} bytes came, then: {error}"),
        };
        return Err(Miss::Fail(format!("request {number} of {REQUESTS}: {wrong}")));
    }
    Ok(())
}

/// Sends the request and the end of the stream, and receives until the end of the other one.
fn request(
    connection: &Connection,
    request: &[u8],
    reply: &mut Vec<u8>,
    mux: &Mux,
) -> io::Result<()> {
    let deadline = Deadline::after(mux.timeout);
    let mut buffer = [0; 8192];
    let mut unsent = request;
    loop {
        let bytes = Some(unsent).filter(|bytes| !bytes.is_empty());
        let (sent, received) = connection.send_and_receive(bytes, &mut buffer, deadline)?;
        unsent = &unsent[sent.unwrap_or(0)..];
        if sent.is_some() && unsent.is_empty() {
            connection.half_close()?;
        }
        match received {
            Some(0) => return Ok(()),
            Some(length) => reply.extend_from_slice(&buffer[..length]),
            None => {}
        }
        if reply.len() > request.len() {
            return Ok(());
        }
    }
}

fn many(mux: &Mux) -> Result<(), Miss> {
    let results: io::Result<Vec<_>> = thread::scope(|scope| {
        let client = |_| thread::Builder::new().spawn_scoped(scope, || mux.served());
        let clients = (0..AT_ONCE).map(client).collect::<io::Result<Vec<_>>>()?;
        // Those that were served stay connected until the last one is.
        Ok(clients.into_iter().map(|client| client.join().expect("it does not panic")).collect())
    });
    let results = results.map_err(|error| Miss::Skip(format!("start a thread: {error}")))?;
    let mut lost: Vec<_> = results.into_iter().filter_map(Result::err).collect();
    match lost.pop() {
        None => Ok(()),
        Some(one) => {
            let (count, why) = (lost.len() + 1, Error::from(one));
            Err(Miss::Fail(format!("{count} of {AT_ONCE} were not served; one of them: {why}")))
        }
    }
}
