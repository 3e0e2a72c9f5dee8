//! A socket as standard input, and a connection that was accepted outside.

use std::io;
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;

use socket2::Socket;

use crate::activator::{Bound, HandOver};
use crate::address::Style;
use crate::command::conform::case::{Case, Miss, Seen};
use crate::command::conform::clients::{Client, OurEnd};
use crate::command::conform::engine::{Engine, Run, SERVE};

/// The name that systemd gives to the only socket of an `Accept=yes` process.
const CONNECTION_NAME: &str = "connection";
const AS_STANDARD_INPUT: Run<'_> = Run { hand_over: HandOver::StandardInput, ..SERVE };

pub(super) fn cases(engine: &Engine) -> Vec<Case<'_>> {
    vec![
        Case::new(
            "stdin.listening",
            "a listening socket may be standard input",
            "systemd.exec(5), StandardInput=socket",
            || listening(engine),
        ),
        Case::new(
            "stdin.connected",
            "a connection may be standard input and output, as with inetd",
            "systemd.exec(5), StandardInput=socket; inetd(8)",
            || connected(engine, "tcp", AS_STANDARD_INPUT),
        ),
        Case::new(
            "accept.connected",
            "a connection that was accepted outside arrives as fd 3, for TCP and for unix",
            "systemd.socket(5), Accept=yes",
            || {
                connected(engine, "tcp", SERVE)?;
                connected(engine, "unix", SERVE)
            },
        ),
    ]
}

fn listening(engine: &Engine) -> Seen {
    let sockets = [engine.unix(Style::Stream, "stdin")?];
    let mut client = Client::new(&sockets[0], engine.timeout)?;
    let mut running = engine.start(&sockets, AS_STANDARD_INPUT)?;
    client.echoed_by(&mut running)?;
    running.stop()?;
    Ok("it is served".to_owned())
}

/// The client has sent before the start, and ends its stream after the echo.
fn connected(engine: &Engine, family: &str, run: Run<'_>) -> Seen {
    let pair = if family == "tcp" { tcp_pair() } else { unix_pair() };
    let (ours, theirs) =
        pair.map_err(|error| Miss::Skip(format!("connect over {family}: {error}")))?;
    let ours = OurEnd::new(ours, engine.timeout)
        .map_err(|error| Miss::Skip(format!("send over {family}: {error}")))?;
    let sockets = [Bound::from_fd(theirs, CONNECTION_NAME)];
    let mut running = engine.start(&sockets, run)?;
    drop(sockets);
    ours.echoed_by(&mut running)?;
    let status = running.wait()?;
    Ok(format!("the echo came, then the end of the stream, then {status}"))
}

fn tcp_pair() -> io::Result<(Socket, Socket)> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let ours = TcpStream::connect(listener.local_addr()?)?;
    let (theirs, _) = listener.accept()?;
    Ok((ours.into(), theirs.into()))
}

fn unix_pair() -> io::Result<(Socket, Socket)> {
    let (ours, theirs) = UnixStream::pair()?;
    Ok((ours.into(), theirs.into()))
}
