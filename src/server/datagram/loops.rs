//! Datagrams that must not be answered, because the answer would be answered in turn, for ever.
//!
//! A sender that chooses or forges its address can set two echo servers on each other, or one on
//! itself: CERT advisory CA-1996-01, and RFC 862's silence about it. Three rules:
//!
//! - What comes from this very socket, or from a service that answers whatever it gets, is not
//!   answered.
//! - Each reply may take one hop less than the datagram that it answers, as if a router had passed
//!   it on. So whatever goes in circles between servers like this one ends, however many they are.
//! - Another kind of echo server starts with a new hop limit. It is known by what it sends: the very same
//!   bytes, thousands of times a second; from the port of a service for a second, and from one that
//!   could be a client's for longer than clients do.

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

/// The small services that answer whatever they get: echo (RFC 862), daytime (RFC 867), qotd
/// (RFC 865), chargen (RFC 864), time (RFC 868). No client sends from their ports.
const ANSWERING_PORTS: [u16; 5] = [7, 13, 17, 19, 37];
/// The first port that Linux gives to clients that ask for none (ip(7), `ip_local_port_range`).
const FIRST_CLIENT_PORT: u16 = 32_768;

/// This many datagrams from the port of a service, or from one that could be a client's, at this
/// rate or faster, with the same bytes among them again and again, come from a server.
const REPEATS_OF_SERVICE: u32 = 4096;
const REPEATS_OF_CLIENT: u32 = 1 << 24;
const REPEATS_PER_SECOND: u32 = 4096;
/// One of this many datagrams from a port that could be a client's is looked at, and stands for
/// all.
const SAMPLE: u32 = 64;
/// How often the same bytes have come back among them.
const RETURNS: u32 = 4;
/// How many datagrams are not answered then: more than wait in two sockets' buffers, so that all
/// that goes in circles is gone.
const SILENCE: u32 = 1024;
/// For how long each datagram is looked at then.
const WATCHFUL_TIME: Duration = Duration::from_secs(1);
/// How many senders are remembered.
const SENDERS: usize = 64;

/// What tells loops from clients on one socket.
#[derive(Debug)]
pub(super) struct Loops {
    local: Option<SocketAddr>,
    /// How many hops a datagram of this socket may take: for IPv4 and for IPv6.
    hops: [u8; 2],
    hasher: RandomState,
    /// Made with the first datagram that is looked at.
    senders: Vec<Sender>,
    /// How many datagrams from clients' ports there were.
    passed: u32,
    /// Until when each of them is looked at, because somebody is not answered.
    watchful_until: Option<Instant>,
}

/// A sender.
#[derive(Debug, Clone, Copy, Default)]
struct Sender {
    peer: u64,
    content: u64,
    /// Datagrams since the content was first seen, and how often it has come back.
    count: u32,
    returns: u32,
    since: Option<Instant>,
    /// How many are still not answered.
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

    /// How many hops the reply may take: none is said where the socket's own number is less.
    ///
    /// # Errors
    ///
    /// Why there is no reply.
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

    /// Why `count` datagrams, of which `first` would be the answer to the first, are not answered;
    /// `None` if they are.
    pub(super) fn refusal(&mut self, first: Reply<'_>, count: u32) -> Option<Refusal> {
        let name = first.name;
        // The port is what decides in most cases, and the hot path looks at nothing else.
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

    /// Whether each datagram is looked at.
    fn is_watchful(&mut self) -> bool {
        let Some(until) = self.watchful_until else { return false };
        let is_watchful = Instant::now() < until;
        if !is_watchful {
            self.watchful_until = None;
        }
        is_watchful
    }

    /// A socket that is bound to the wildcard has every local address. Those of the loopback
    /// interface are known; of others the one that the datagram was sent to.
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

    /// Whether the sender repeats itself as only a machine does that echoes what it gets.
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

/// The first and the last bytes: what goes in circles has the same ones each time, and what a client
/// sends to be measured has a number or a time at one of its ends.
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
            // Another machine's; if it is another address of this one, the hops end it.
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

    /// Counts how many of `count` datagrams that `content` makes are refused.
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
        // One datagram, and several, that go in circles.
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
        // From a client's port: the same bytes, again and again. From a service's: numbered ones.
        assert_eq!(refused(40_000, 100_000, |_| b"hello".to_vec()), 0);
        assert_eq!(refused(5000, 100_000, |index| index.to_be_bytes().to_vec()), 0);
    }
}
