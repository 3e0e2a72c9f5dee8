//! The options that a socket was given before it was handed over.

use std::net::{Ipv6Addr, SocketAddrV6};

use serde_json::{Value, json};
use socket2::{Domain, Socket, Type};

use super::list;
use crate::activator::Bound;
use crate::command::conform::case::{Case, Miss, Seen};
use crate::command::conform::clients::knock;
use crate::command::conform::engine::{Engine, INSPECT};

const BACKLOG: u32 = 7;

pub(super) fn cases(engine: &Engine) -> Vec<Case<'_>> {
    vec![Case::new(
        "options.kept",
        "IPV6_V6ONLY, the backlog, the buffer sizes, SO_REUSEADDR and O_NONBLOCK stay as they are",
        "systemd.socket(5): BindIPv6Only=, Backlog=, ReceiveBuffer=, SendBuffer=",
        || kept(engine),
    )]
}

fn kept(engine: &Engine) -> Seen {
    let socket = socket().map_err(|error| Miss::Skip(format!("listen over IPv6: {error}")))?;
    let expected = [
        ("v6only", json!(true)),
        ("reuseaddr", json!(true)),
        ("nonblock", json!(true)),
        ("backlog", json!(BACKLOG)),
        ("rcvbuf", number(socket.recv_buffer_size())),
        ("sndbuf", number(socket.send_buffer_size())),
    ];
    let sockets = [Bound::from_fd(socket, "options")];
    let _client = knock(&sockets[0], engine.timeout)?;
    let inspection = engine.inspect(&sockets, INSPECT)?;
    let arrived = inspection.arrived()?;
    let one = arrived.first().ok_or_else(|| Miss::Fail("nothing arrived".to_owned()))?;
    let differs = |(name, expected): &(&str, Value)| {
        let found = one.get(&format!("/socket/options/{name}"));
        (found != expected).then(|| format!("{name} is {found}, and was {expected}"))
    };
    let wrong: Vec<_> = expected.iter().filter_map(differs).collect();
    if wrong.is_empty() { Ok("all are kept".to_owned()) } else { Err(Miss::Fail(list(&wrong))) }
}

fn number(size: std::io::Result<usize>) -> Value {
    size.map_or(Value::Null, |size| json!(size))
}

/// A listener whose options all differ from the defaults.
fn socket() -> std::io::Result<Socket> {
    let socket = Socket::new(Domain::IPV6, Type::STREAM, None)?;
    socket.set_only_v6(true)?;
    socket.set_reuse_address(true)?;
    socket.set_recv_buffer_size(50_000)?;
    socket.set_send_buffer_size(40_000)?;
    socket.set_nonblocking(true)?;
    socket.bind(&SocketAddrV6::new(Ipv6Addr::LOCALHOST, 0, 0, 0).into())?;
    socket.listen(BACKLOG as i32)?;
    Ok(socket)
}
