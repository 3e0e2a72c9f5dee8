//! Sums over all peers.

use crate::peer::Peer;
use crate::schedule::Kind;

/// What peers did that are gone, and how many ever connected.
#[derive(Debug, Default, Clone)]
pub(crate) struct Totals {
    pub(crate) connections: usize,
    pub(crate) sent: usize,
    pub(crate) received: usize,
    pub(crate) closed_connections: usize,
    pub(crate) messages_sent: usize,
    pub(crate) messages_received: usize,
    /// Messages that may have come back to somebody who was not there any more.
    pub(crate) messages_owed: usize,
    udp_owed: [usize; 2],
}

impl Totals {
    pub(crate) fn add_gone(&mut self, peer: &Peer) {
        self.sent += peer.books.sent;
        self.received += peer.books.received;
        if !peer.kind.is_datagram() {
            self.closed_connections += 1;
            return;
        }
        self.messages_sent += peer.books.messages_sent();
        self.messages_received += peer.books.messages_received();
        self.messages_owed += peer.books.messages_owed();
        if peer.kind.is_udp() {
            self.udp_owed[usize::from(peer.kind == Kind::Udp6)] += peer.books.messages_owed();
        }
    }

    /// The bystander's datagrams: one byte each, and all of them came back.
    pub(crate) fn add_bystander(&mut self, round_trips: usize) {
        for count in [
            &mut self.sent,
            &mut self.received,
            &mut self.messages_sent,
            &mut self.messages_received,
        ] {
            *count += round_trips;
        }
    }

    /// How many datagrams may be in the server's socket of this kind, or on their way.
    pub(crate) fn udp_owed(&self, peers: &[Peer], kind: Kind) -> usize {
        let of_kind = peers.iter().filter(|peer| peer.kind == kind);
        let owed: usize = of_kind.map(|peer| peer.books.messages_owed()).sum();
        owed + self.udp_owed[usize::from(kind == Kind::Udp6)]
    }
}
