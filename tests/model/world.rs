//! The server with its peers, and what a step does to them.

use std::fs::File;
use std::os::fd::AsFd;

use crate::doors::{Doors, INHERITED, inherited};
use crate::peer::{Did, Peer};
use crate::schedule::{Act, Kind, Schedule, Step};
use crate::serving::Serving;
use crate::settle::settle;
use crate::tcp::Unacknowledged;
use crate::totals::Totals;

/// The most that may have been taken from a peer that does not read. The kernel's buffers are at
/// most 208 KiB in each of four places (the default of an accepted unix socket), and the server has
/// one buffer or one pipe; the kernel counts what holds the bytes as well.
const UNREAD_MAX: usize = 3 << 20;
/// A server with a small buffer takes many turns for many bytes.
const BUFFERS_MAX: usize = 700;
/// Datagrams of UDP that may be on their way to, from and inside one socket: they fit its buffer.
const UDP_MAX: usize = 60;
const UDP_BYTES_MAX: usize = 1400;
/// So many replies to one unix datagram peer are more than its queue has room for.
const DATAGRAMS_MAX: usize = 60;
/// Both ends of their connections are descriptors of this process.
const PEERS_MAX: usize = 400;
/// How often a full server is waited for until it is taken for really full.
const FULL_ROUNDS: usize = 3;

pub(crate) struct World<'a> {
    schedule: &'a Schedule,
    pub(crate) doors: Doors,
    /// Those that are there. They are gone before a server is waited for that cannot end otherwise.
    pub(crate) peers: Vec<Peer>,
    pub(crate) serving: Serving,
    /// Those that were, and how many connected.
    pub(crate) totals: Totals,
    /// What is passed with `SCM_RIGHTS`.
    passed: File,
}

impl<'a> World<'a> {
    pub(crate) fn start(schedule: &'a Schedule) -> Self {
        let passed = File::open("/dev/null").expect("/dev/null");
        let mut doors = Doors::open(&schedule.settings);
        let mut sockets = doors.duplicates();
        let mut peers = Vec::new();
        for (kind, slot) in INHERITED {
            if schedule.settings.keeps {
                break;
            }
            let (peer, theirs) = doors.inherited(kind, slot);
            sockets.push(inherited(theirs));
            peers.push(peer);
        }
        let serving = Serving::start(&schedule.settings, sockets);
        let mut totals = Totals::default();
        totals.connections = peers.len();
        Self { schedule, doors, peers, serving, totals, passed }
    }

    pub(crate) fn step(&mut self, step: Step) -> Result<(), String> {
        match step {
            Step::On(kind, slot, act) => {
                if let Some(index) = self.find_or_connect(kind, slot) {
                    self.act(index, act)?;
                }
            }
            Step::Crowd(kind, count) => self.crowd(kind, count)?,
            Step::Settle => self.settle()?,
            Step::Rest => self.serving.rests()?,
            Step::Restart if self.schedule.settings.keeps && !self.serving.is_stopping => {
                self.serving.restart(&self.schedule.settings, self.doors.duplicates())?;
            }
            Step::Restart => {}
            Step::Shutdown => self.stop()?,
        }
        if self.schedule.settings.races { Ok(()) } else { self.serving.sync() }
    }

    fn find_or_connect(&mut self, kind: Kind, slot: u8) -> Option<usize> {
        let is_it = |peer: &Peer| (peer.kind, peer.slot) == (kind, Some(slot));
        self.peers.iter().position(is_it).or_else(|| self.connect(kind, Some(slot)))
    }

    /// A new peer's place; `None` if it cannot connect.
    pub(crate) fn connect(&mut self, kind: Kind, slot: Option<u8>) -> Option<usize> {
        let peer = self.doors.connect(kind, slot)?;
        self.totals.connections += usize::from(!kind.is_datagram());
        self.peers.push(peer);
        Some(self.peers.len() - 1)
    }

    fn crowd(&mut self, kind: Kind, count: u8) -> Result<(), String> {
        for number in 0..usize::from(count) {
            if self.peers.len() >= PEERS_MAX {
                break;
            }
            if let Some(index) = self.connect(kind, None) {
                self.send(index, 1 + number * 37 % 150, false)?;
            }
        }
        Ok(())
    }

    fn act(&mut self, index: usize, act: Act) -> Result<(), String> {
        match act {
            Act::Send(len) => self.send(index, len, false).map(drop),
            Act::Pass(len) => self.send(index, len, true).map(drop),
            Act::Urgent => {
                let did = self.peers[index].send_urgent()?;
                self.expect_open(index, &did)
            }
            Act::Fill => self.fill(index),
            Act::Receive(most) => {
                let did = self.peers[index].receive(most)?;
                self.expect_open(index, &did)
            }
            Act::HalfClose => {
                self.peers[index].half_close();
                Ok(())
            }
            Act::Close | Act::Reset => {
                let peer = self.peers.swap_remove(index);
                self.doors.leave(&peer);
                self.totals.add_gone(&peer);
                if act == Act::Reset {
                    peer.reset();
                }
                Ok(())
            }
        }
    }

    /// Sends as much of `len` bytes as is good for this kind of peer, if it may send now.
    pub(crate) fn send(&mut self, index: usize, len: usize, passes: bool) -> Result<Did, String> {
        let settings = &self.schedule.settings;
        let kind = self.peers[index].kind;
        if kind.is_udp() && self.totals.udp_owed(&self.peers, kind) >= UDP_MAX {
            return Ok(Did::NotNow);
        }
        let len = match kind {
            _ if kind.is_udp() => len.min(UDP_BYTES_MAX),
            _ if kind.is_stream() => len.min(settings.stream_buffer_bytes * BUFFERS_MAX),
            _ => len.min(settings.kernel_buffer_bytes),
        };
        let is_unix = !kind.is_udp() && !kind.is_tcp();
        let passed = (passes && is_unix).then(|| self.passed.as_fd());
        let did = self.peers[index].send(len, passed)?;
        self.expect_open(index, &did)?;
        Ok(did)
    }

    /// A connection ends only if its peer has sent its end and has received everything, or if the
    /// server was told to stop.
    fn expect_open(&self, index: usize, did: &Did) -> Result<(), String> {
        let peer = &self.peers[index];
        let may_end = self.serving.is_stopping || (peer.is_half_closed && peer.is_satisfied());
        if *did == Did::Ended && !may_end {
            return Err(format!("the server ended it: {}", peer.describe()));
        }
        Ok(())
    }

    fn fill(&mut self, index: usize) -> Result<(), String> {
        let kind = self.peers[index].kind;
        let len = if kind.is_stream() { 16_384 } else { 1000 };
        let mut full = 0;
        while full < FULL_ROUNDS {
            match self.send(index, len, false)? {
                Did::Something(_) => full = 0,
                Did::NotNow | Did::Ended => {
                    full += 1;
                    self.serving.sync()?;
                }
            }
            let books = &self.peers[index].books;
            let unread = books.sent - books.received;
            // A server that was told to stop drops what a peer still sends, however much that is.
            if unread > UNREAD_MAX && self.serving.is_stopping {
                break;
            }
            if unread > UNREAD_MAX {
                return Err(format!("{unread} bytes are taken from a peer that does not read"));
            }
            let most = self.schedule.settings.stream_buffer_bytes * BUFFERS_MAX;
            if (kind.is_stream() && unread > most) || books.messages_owed() >= DATAGRAMS_MAX {
                break;
            }
        }
        Ok(())
    }

    /// Everybody who is served receives everything.
    pub(crate) fn settle(&mut self) -> Result<(), String> {
        if self.serving.is_stopping {
            return Ok(());
        }
        let is_open = |peer: &&Peer| !peer.kind.is_datagram() && peer.end.is_none();
        let open = self.peers.iter().filter(is_open).count();
        // Past the limit some wait in the backlog.
        let all_are_served = open <= self.schedule.settings.connections_max as usize;
        settle(self.peers.iter_mut(), |peer| {
            let is_served = all_are_served
                || peer.kind.is_datagram()
                || peer.kind.is_inherited()
                || peer.books.received > 0;
            is_served && !peer.is_satisfied()
        })
    }

    fn stop(&mut self) -> Result<(), String> {
        if self.serving.is_stopping {
            return Ok(());
        }
        let may_be_on_the_way = |peer: &Peer| peer.kind.is_tcp() && !peer.books.is_owed_nothing();
        let unacknowledged = self.peers.iter().any(may_be_on_the_way).then(Unacknowledged::read);
        for peer in self.peers.iter_mut().filter(|peer| !peer.kind.is_datagram()) {
            let of = |unacknowledged: &Unacknowledged| unacknowledged.of(&peer.socket);
            let bytes = if peer.kind.is_tcp() { unacknowledged.as_ref().map_or(0, of) } else { 0 };
            peer.books.server_stops(bytes);
        }
        self.serving.stop();
        Ok(())
    }
}
