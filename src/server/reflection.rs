//! Datagrams that must not be answered, because the answer would be answered in turn, forever.
//!
//! Whoever can forge a sender's address can set two echo servers on each other, or one on itself:
//! CERT advisory CA-1996-01, and RFC 862's silence about it.

use std::net::{IpAddr, SocketAddr};

use super::peer::Peer;
use crate::address::{Address, Host};
use crate::sys::control::PacketInfo;

/// The small services that answer whatever they get: echo (RFC 862), daytime (RFC 867), qotd
/// (RFC 865), chargen (RFC 864), time (RFC 868). No client sends from their ports.
const ANSWERING_PORTS: [u16; 5] = [7, 13, 17, 19, 37];

/// Why a datagram from the `sockaddr` in `name`, sent to `packet_info` or to the address `local`
/// that the socket is bound to, is not answered.
pub(super) fn refusal(
    name: &[u8],
    packet_info: Option<PacketInfo>,
    local: Option<&Address>,
) -> Option<String> {
    // The port is what decides in all but a few cases, and the hot path looks at nothing else.
    let port = u16::from_be_bytes(name.get(2..4)?.try_into().ok()?);
    let own_port = match local {
        Some(Address::Inet(_, _, port)) => *port,
        _ => 0,
    };
    if port != 0 && port != own_port && !ANSWERING_PORTS.contains(&port) {
        return None;
    }
    let Peer::Ip(peer) = Peer::from_sockaddr(name) else { return None };
    if port == 0 {
        return Some(format!("came from {peer}, and nobody can have port 0"));
    }
    if is_ourselves(peer, packet_info, local, own_port) {
        return Some(format!("came from {peer}, which is this very socket"));
    }
    if ANSWERING_PORTS.contains(&port) {
        return Some(format!("came from {peer}, the port of a service that would answer back"));
    }
    None
}

fn is_ourselves(
    peer: SocketAddr,
    packet_info: Option<PacketInfo>,
    local: Option<&Address>,
    own_port: u16,
) -> bool {
    let own_ip: Option<IpAddr> = match (packet_info, local) {
        (Some(PacketInfo::V4(ip)), _) => Some(ip.into()),
        (Some(PacketInfo::V6(ip, _)), _) => Some(ip.into()),
        (None, Some(Address::Inet(_, Host::V4(ip), _))) => Some((*ip).into()),
        (None, Some(Address::Inet(_, Host::V6(ip, _), _))) => Some((*ip).into()),
        _ => None,
    };
    peer.port() == own_port
        && own_ip.is_some_and(|ip| ip.to_canonical() == peer.ip().to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inet(ip: [u8; 4], port: u16) -> Vec<u8> {
        let family = (libc::AF_INET as u16).to_ne_bytes();
        [&family[..], &port.to_be_bytes(), &ip, &[0; 8]].concat()
    }

    #[test]
    fn loops_are_refused_and_clients_are_not() {
        let local: Address = "udp:127.0.0.1:3000".parse().expect("parses");
        let wildcard: Address = "udp:0.0.0.0:3000".parse().expect("parses");
        let to = Some(PacketInfo::V4([127, 0, 0, 2].into()));
        for (ip, port, packet_info, local, refused) in [
            ([127, 0, 0, 1], 40000, None, &local, false),
            ([127, 0, 0, 1], 3000, None, &local, true),
            ([127, 0, 0, 9], 3000, None, &local, false),
            ([127, 0, 0, 2], 3000, to, &wildcard, true),
            ([127, 0, 0, 1], 3000, to, &wildcard, false),
            ([10, 0, 0, 1], 7, None, &local, true),
            ([10, 0, 0, 1], 19, None, &local, true),
            ([10, 0, 0, 1], 53, None, &local, false),
            ([10, 0, 0, 1], 0, None, &local, true),
        ] {
            let refusal = refusal(&inet(ip, port), packet_info, Some(local));
            assert_eq!(refusal.is_some(), refused, "{ip:?}:{port} {refusal:?}");
        }
    }
}
