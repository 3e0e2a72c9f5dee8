//! Finds datagrams that must not be answered, because the reply would be answered in turn for ever.
//!
//! A sender that chooses or forges its address can make two echo servers answer each other, or one
//! server answer itself: CERT advisory CA-1996-01. RFC 862 does not mention it. There are three
//! rules:
//!
//! - A datagram from this socket itself, or from a service that answers everything, is not
//!   answered.
//! - A reply has a hop limit one lower than the datagram that it answers, as if a router had
//!   forwarded it. So a datagram that circles between any number of servers like this one ends.
//! - Other echo servers start with a new hop limit. They are recognised because they send the same
//!   bytes thousands of times a second: for a second from the port of a service, and for longer
//!   than clients do from a port that a client could have.

use std::hash::{BuildHasher, RandomState};
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use super::run::Reply;
use super::socket::Socket;
use super::unsent::Refusal;
use crate::activation::Family;
use crate::address::{Address, Host};
use crate::server::peer::Peer;
use crate::sys::control::{HopLimit, PacketInfo};
use crate::sys::option;

/// The small services that answer everything: echo (RFC 862), daytime (RFC 867), qotd (RFC 865),
/// chargen (RFC 864), time (RFC 868). No client sends from their ports.
const ANSWERING_PORTS: [u16; 5] = [7, 13, 17, 19, 37];
/// The first port that Linux gives to clients without a chosen port (ip(7), `ip_local_port_range`).
const FIRST_CLIENT_PORT: u16 = 32_768;

/// The sender is a server after this many datagrams, from the port of a service or from a port that
/// a client could have, if they come at this rate or faster and repeat the same bytes.
const REPEATS_OF_SERVICE: u32 = 4096;
const REPEATS_OF_CLIENT: u32 = 1 << 24;
const REPEATS_PER_SECOND: u32 = 4096;
/// From a port that a client could have, only one of this many datagrams is examined and counts for
/// all of them.
const SAMPLE: u32 = 64;
/// How often the same bytes must return among the examined datagrams.
const RETURNS: u32 = 4;
/// How many datagrams of a recognised server are not answered: more than two socket buffers hold,
/// so that no circling datagram is left.
const SILENCE: u32 = 1024;
/// For how long each datagram is examined after that.
const WATCHFUL_TIME: Duration = Duration::from_secs(1);
/// How many senders are remembered.
const SENDERS: usize = 64;

/// Distinguishes loops from clients on one socket.
#[derive(Debug)]
pub(super) struct Loops {
    local: Option<SocketAddr>,
    /// The socket's own hop limits for IPv4 and IPv6.
    hops: [u8; 2],
    hasher: RandomState,
    /// Allocated when the first datagram is examined.
    senders: Vec<Sender>,
    /// How many datagrams came from client ports.
    passed: u32,
    /// Until when each of these is examined, because a sender was recognised as a server.
    watchful_until: Option<Instant>,
}

/// A sender.
#[derive(Debug, Clone, Copy, Default)]
struct Sender {
    peer: u64,
    content: u64,
    /// Datagrams since this content was first seen, and how often the content has returned.
    count: u32,
    returns: u32,
    since: Option<Instant>,
    /// How many more datagrams are not answered.
    silence: u32,
}

impl Loops {
    pub(super) fn new(socket: &Socket) -> Self {
        let hops = |level, name| {
            option::get(socket.as_fd(), level, name)
                .ok()
                .and_then(|hops| hops.try_into().ok())
                .unwrap_or(64)
        };
        let is_v6 = socket.kind.family == Family::Inet6;
        Self {
            local: match &socket.kind.local {
                Some(Address::Inet(_, Host::V4(ip), port)) => Some(((*ip), *port).into()),
                Some(Address::Inet(_, Host::V6(ip, _), port)) => Some(((*ip), *port).into()),
                _ => None,
            },
            hops: [
                hops(libc::IPPROTO_IP, libc::IP_TTL),
                if is_v6 { hops(libc::IPPROTO_IPV6, libc::IPV6_UNICAST_HOPS) } else { 64 },
            ],
            hasher: RandomState::new(),
            senders: Vec::new(),
            passed: 0,
            watchful_until: None,
        }
    }

    /// The hop limit of the reply; `None` if the socket's own limit is not higher.
    ///
    /// # Errors
    ///
    /// The reason why there is no reply.
    pub(super) fn reply_hops(
        &self,
        received: Option<HopLimit>,
    ) -> Result<Option<HopLimit>, Refusal> {
        let Some(limit) = received else { return Ok(None) };
        let own = self.hops[usize::from(limit.is_v6)];
        match limit.hops.saturating_sub(1) {
            0 => Err(Refusal::new(
                true,
                "its hop limit is used up: it went in circles between servers, or its sender set a \
                 hop limit of 1",
            )),
            hops if hops >= own => Ok(None),
            hops => Ok(Some(HopLimit { hops, ..limit })),
        }
    }

    /// Why `count` datagrams are not answered; `None` if they are. `first` is the reply to the
    /// first one.
    pub(super) fn refusal(&mut self, first: Reply<'_>, count: u32) -> Option<Refusal> {
        let name = first.name;
        // The port decides in most cases, so the hot path reads only the port.
        let port = u16::from_be_bytes(name.get(2..4)?.try_into().ok()?);
        let could_be_client = port >= FIRST_CLIENT_PORT;
        let is_own_port = self.local.is_some_and(|local| local.port() == port);
        let (mut count, most) =
            (count, if could_be_client { REPEATS_OF_CLIENT } else { REPEATS_OF_SERVICE });
        if could_be_client && !is_own_port && !self.is_watchful() {
            self.passed = self.passed.wrapping_add(1);
            if self.passed % SAMPLE != 0 {
                return None;
            }
            count = count.max(SAMPLE);
        }
        let Peer::Ip(peer) = Peer::from_sockaddr(name) else { return None };
        let why = if port == 0 {
            "its port is 0, which cannot be answered"
        } else if self.is_ourselves(peer, first.control.packet_info) {
            "its sender is this socket itself"
        } else if ANSWERING_PORTS.contains(&port) {
            "its port is that of a service that would answer back"
        } else if self.repeats(first, count, most) {
            return Some(Refusal::new(
                true,
                format!(
                    "{peer} sends the same bytes thousands of times a second, as a server does \
                     that echoes our replies"
                ),
            ));
        } else {
            return None;
        };
        Some(Refusal::new(false, why))
    }

    /// Whether each datagram is examined.
    fn is_watchful(&mut self) -> bool {
        let Some(until) = self.watchful_until else { return false };
        let is_watchful = Instant::now() < until;
        if !is_watchful {
            self.watchful_until = None;
        }
        is_watchful
    }

    /// Whether `peer` is this socket. A socket bound to the wildcard has every local address: the
    /// known ones are those of the loopback interface and the destination of the datagram.
    fn is_ourselves(&self, peer: SocketAddr, packet_info: Option<PacketInfo>) -> bool {
        let Some(local) = self.local else { return false };
        let ip = peer.ip().to_canonical();
        let destination = match packet_info {
            Some(PacketInfo::V4(ip)) => ip.into(),
            Some(PacketInfo::V6(ip, _)) => ip.into(),
            None => local.ip(),
        };
        let has_every_address = local.ip().to_canonical().is_unspecified();
        peer.port() == local.port()
            && (ip == destination.to_canonical() || (has_every_address && ip.is_loopback()))
    }

    /// Whether the sender repeats itself as only an echo server does.
    fn repeats(&mut self, first: Reply<'_>, count: u32, most: u32) -> bool {
        if self.senders.is_empty() {
            self.senders.resize(SENDERS, Sender::default());
        }
        let peer = self.hasher.hash_one(first.name);
        let content = self.hasher.hash_one((first.data.len(), ends(first.data)));
        let sender = &mut self.senders[peer as usize % SENDERS];
        if sender.peer != peer {
            *sender = Sender { peer, ..Sender::default() };
        }
        let repeats = sender.repeats(content, count, most);
        if repeats {
            self.watchful_until = Some(Instant::now() + WATCHFUL_TIME);
        }
        repeats
    }
}

impl Sender {
    fn repeats(&mut self, content: u64, count: u32, most: u32) -> bool {
        if self.silence > 0 {
            self.silence = self.silence.saturating_sub(count);
            return true;
        }
        if self.since.is_none() {
            (self.content, self.since) = (content, Some(Instant::now()));
        } else if self.content == content {
            self.returns += 1;
        }
        self.count += count;
        if self.count < most {
            return false;
        }
        let time = Duration::from_secs(u64::from(most / REPEATS_PER_SECOND));
        let is_fast = self.since.is_some_and(|since| since.elapsed() < time);
        let is_loop = is_fast && self.returns >= RETURNS;
        let silence = if is_loop { SILENCE } else { 0 };
        *self = Self { peer: self.peer, silence, ..Self::default() };
        is_loop
    }
}

/// The first and the last bytes. They are the same each time in a loop, while a client that
/// measures puts a number or a time at one of the ends.
fn ends(data: &[u8]) -> (&[u8], &[u8]) {
    const LEN: usize = 32;
    (&data[..data.len().min(LEN)], &data[data.len().saturating_sub(LEN)..])
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use super::*;
    use crate::server::shared::ServedSocket;
    use crate::sys::control::Received;
    use crate::sys::sockaddr;

    fn inet(ip: [u8; 4], port: u16) -> Vec<u8> {
        sockaddr::to_bytes(&SocketAddr::from((ip, port)).into())
    }

    fn loops(local: &str) -> Loops {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("bind");
        let local = local.parse().expect("an address");
        let socket = Socket::prepare(ServedSocket::first(socket)).expect("it is prepared");
        Loops { local: Some(local), ..Loops::new(&socket) }
    }

    #[test]
    fn loops_are_refused_and_clients_are_not() {
        let (local, wildcard) = ("127.0.0.1:3000", "0.0.0.0:3000");
        let to = |ip: [u8; 4]| Some(PacketInfo::V4(ip.into()));
        for (ip, port, packet_info, local, refused) in [
            ([127, 0, 0, 1], 40000, None, local, false),
            ([127, 0, 0, 1], 3000, None, local, true),
            ([127, 0, 0, 9], 3000, None, local, false),
            ([127, 0, 0, 2], 3000, to([127, 0, 0, 2]), wildcard, true),
            ([127, 0, 0, 1], 3000, to([127, 0, 0, 2]), wildcard, true),
            ([10, 0, 0, 1], 3000, to([10, 0, 0, 1]), wildcard, true),
            // Another machine's address. If it is another address of this machine, the hop limit
            // ends the loop.
            ([10, 0, 0, 1], 3000, to([10, 0, 0, 2]), wildcard, false),
            ([10, 0, 0, 1], 7, None, local, true),
            ([10, 0, 0, 1], 19, None, local, true),
            ([10, 0, 0, 1], 53, None, local, false),
            ([10, 0, 0, 1], 0, None, local, true),
            ([127, 0, 0, 1], 50000, None, "127.0.0.1:50000", true),
        ] {
            let received = Received { packet_info, ..Received::default() };
            let first = Reply { name: &inet(ip, port), control: &received, data: b"hello" };
            let refusal = loops(local).refusal(first, 1);
            assert_eq!(refusal.is_some(), refused, "{ip:?}:{port} {refusal:?}");
        }
    }

    #[test]
    fn a_reply_has_one_hop_less_and_the_last_one_is_not_answered() {
        let loops = Loops { hops: [64, 64], ..loops("127.0.0.1:3000") };
        let v4 = |hops| Some(HopLimit { hops, is_v6: false });
        let v6 = |hops| Some(HopLimit { hops, is_v6: true });
        for (received, reply) in [
            (None, Some(None)),
            (v4(255), Some(None)),
            (v4(65), Some(None)),
            (v4(64), Some(v4(63))),
            (v6(2), Some(v6(1))),
            (v6(1), None),
            (v4(0), None),
        ] {
            assert_eq!(loops.reply_hops(received).ok(), reply, "{received:?}");
        }
    }

    /// How many of `count` datagrams with the bytes of `content` are refused.
    fn refused(port: u16, count: u32, content: impl Fn(u32) -> Vec<u8>) -> u32 {
        let mut loops = loops("127.0.0.1:3000");
        let name = inet([127, 0, 0, 1], port);
        let mut refused = 0;
        for index in 0..count {
            let data = content(index);
            let first = Reply { name: &name, control: &Received::default(), data: &data };
            let refusal = loops.refusal(first, 1);
            refused += u32::from(refusal.is_some());
        }
        refused
    }

    #[test]
    fn a_server_that_echoes_our_replies_is_left_alone() {
        // One circling datagram, and several.
        for different in [1, 2, 100, 400] {
            let circle = |index: u32| (index % different).to_be_bytes().to_vec();
            assert!(refused(5000, REPEATS_OF_SERVICE + SILENCE, circle) >= SILENCE, "{different}");
        }
    }

    #[test]
    fn one_on_a_port_of_clients_is_left_alone_too_in_the_end() {
        assert!(refused(40_000, REPEATS_OF_CLIENT + SILENCE, |_| Vec::new()) >= SILENCE);
    }

    #[test]
    fn a_client_is_answered_whatever_it_sends() {
        // From a client port: the same bytes all the time. From a service port: numbered ones.
        assert_eq!(refused(40_000, 100_000, |_| b"hello".to_vec()), 0);
        assert_eq!(refused(5000, 100_000, |index| index.to_be_bytes().to_vec()), 0);
    }
}
