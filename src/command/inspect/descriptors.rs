//! The descriptors that were handed over, one by one.

use std::os::fd::AsFd;

use socket2::Protocol;

use super::super::keep::Role;
use super::{options, report};
use crate::activation::{InheritedFd, Kind, Origin, Service, SocketKind};
use crate::address::KINDS;

pub(super) fn describe(fd: &InheritedFd) -> report::Inherited {
    let service = match Role::of(&fd.name, &fd.kind) {
        Some(role) => Some(role.in_words()),
        None => fd.kind.service().map(in_words),
    };
    report::Inherited {
        fd: fd.number,
        name: fd.name.clone(),
        origin: match fd.origin {
            Origin::ListenFds => "LISTEN_FDS",
            Origin::StandardInput => "standard input",
        },
        what: fd.kind.to_string(),
        socket: match (&fd.kind, &fd.fd) {
            (Kind::Socket(kind), Some(fd)) => Some(socket(kind, options::read(fd.as_fd(), kind))),
            _ => None,
        },
        serve: service.is_some(),
        service,
        refusal: service.is_none().then(|| fd.refusal().to_string()),
    }
}

fn socket(kind: &SocketKind, options: report::Options) -> report::Socket {
    report::Socket {
        family: kind.family.to_string(),
        r#type: kind.type_name(),
        protocol: kind.protocol.map(protocol),
        role: kind.role.to_string(),
        local: kind.local.as_ref().map(ToString::to_string),
        peer: kind.peer.as_ref().map(ToString::to_string),
        options,
    }
}

/// The name of a protocol, or its number.
pub(in crate::command) fn protocol(protocol: Protocol) -> String {
    let number = i32::from(protocol);
    let mut known = KINDS.iter().filter_map(|kind| kind.protocol);
    let name = known.find(|known| known.0 == number).map(|known| known.1);
    name.map_or_else(|| number.to_string(), str::to_owned)
}

fn in_words(service: Service) -> &'static str {
    match service {
        Service::StreamListener => "accepts connections, echoes bytes",
        Service::SeqpacketListener => "accepts connections, echoes messages",
        Service::Datagram => "echoes each datagram to its sender",
        Service::StreamConnection => "echoes bytes on this connection, then ends",
        Service::SeqpacketConnection => "echoes messages on this connection, then ends",
    }
}
