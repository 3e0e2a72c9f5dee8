//! The socket that was asked.

use serde::Serialize;
use socket2::{Protocol, Type};

use super::short::{ADDRESS_MAX, short};
use crate::activation::{Family, InheritedSocket};
use crate::command::inspect;
use crate::sys::descriptor;

/// The longest fd name, as bytes of JSON.
const NAME_MAX: usize = 200;

/// The socket that was passed.
#[derive(Debug, Serialize)]
pub(super) struct Socket {
    fd: i32,
    name: String,
    family: String,
    r#type: String,
    protocol: Option<String>,
    address: Option<String>,
    /// Whether its connections carry bytes, and not messages.
    #[serde(skip)]
    pub(super) is_stream: bool,
    #[serde(skip)]
    pub(super) is_unix: bool,
    #[serde(skip)]
    pub(super) is_tcp: bool,
}

impl Socket {
    pub(super) fn of(socket: &InheritedSocket) -> Self {
        let kind = &socket.kind;
        Self {
            fd: descriptor::number(&socket.fd),
            name: short(&socket.name, NAME_MAX),
            family: kind.family.to_string(),
            r#type: kind.type_name(),
            protocol: kind.protocol.map(inspect::protocol),
            address: kind.local.as_ref().map(|address| short(&address.to_string(), ADDRESS_MAX)),
            is_stream: kind.r#type == Type::STREAM,
            is_unix: kind.family == Family::Unix,
            is_tcp: matches!(kind.protocol, Some(Protocol::TCP | Protocol::MPTCP)),
        }
    }
}

#[cfg(test)]
impl Socket {
    pub(super) fn longest(long: &str) -> Self {
        Self {
            fd: i32::MIN,
            name: short(long, NAME_MAX),
            family: "AF_UNIX or longer".to_owned(),
            r#type: "SOCK_SEQPACKET".to_owned(),
            protocol: Some("4294967295".to_owned()),
            address: Some(short(long, ADDRESS_MAX)),
            is_stream: true,
            is_unix: true,
            is_tcp: true,
        }
    }
}
