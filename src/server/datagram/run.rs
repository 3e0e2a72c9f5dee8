//! Runs: datagrams that one send answers, and datagrams that the kernel joined.

use std::net::Ipv6Addr;
use std::ops::Range;

use crate::sys::control::{self, PacketInfo, Received};
use crate::sys::message::Batch;

/// The most datagrams that Linux sends as one with `UDP_SEGMENT`: `UDP_MAX_SEGMENTS`.
const SEGMENTS_MAX: usize = 64;
/// The most bytes of one such send: the largest UDP payload of an IPv4 packet.
const SEGMENTED_BYTES_MAX: usize = 65_507;
/// The longest datagram of a run of several.
const SEGMENT_MAX: usize = 32_767;

/// Datagrams of one sender that are answered with one send.
#[derive(Debug, Clone, Copy)]
pub(super) struct Run {
    pub(super) slot: usize,
    pub(super) count: usize,
    /// What the kernel reported for each of them, with the segment size into which one send is
    /// split.
    pub(super) control: Received,
}

/// One datagram to send back.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reply<'a> {
    /// The `sockaddr` of the sender.
    pub(super) name: &'a [u8],
    /// What the kernel reported for the datagram.
    pub(super) control: &'a Received,
    pub(super) data: &'a [u8],
}

impl Run {
    /// The datagrams from `slot` on that one send can answer. They have the same sender and size;
    /// only the last one may be shorter. There can be several only if the kernel `has_segments`.
    /// `batch` has received `count` datagrams.
    pub(super) fn at(batch: &Batch, slot: usize, count: usize, has_segments: bool) -> Self {
        let received = received(batch, slot);
        let size = batch.data(slot).len();
        let mut run = Self { slot, count: 1, control: received };
        let is_joined = received.segment_size.is_some();
        if !has_segments || is_joined || size == 0 || size > SEGMENT_MAX {
            return run;
        }
        let mut bytes = size;
        for next in slot + 1..count.min(slot + SEGMENTS_MAX) {
            let len = batch.data(next).len();
            let belongs = len > 0
                && len <= size
                && bytes + len <= SEGMENTED_BYTES_MAX
                && batch.name(next) == batch.name(slot)
                && self::received(batch, next) == received;
            if !belongs {
                break;
            }
            bytes += len;
            run.count += 1;
            if len < size {
                break;
            }
        }
        if run.count > 1 {
            run.control.segment_size = Some(size as u16);
        }
        run
    }

    /// How many datagrams there are.
    pub(super) fn datagrams(&self, batch: &Batch) -> usize {
        self.slots().map(|slot| self.split(batch.data(slot)).count()).sum()
    }

    /// The bytes of the first datagram.
    pub(super) fn first<'a>(&self, batch: &'a Batch) -> &'a [u8] {
        self.split(batch.data(self.slot)).next().unwrap_or_default()
    }

    /// How many bytes they have together.
    pub(super) fn bytes(&self, batch: &Batch) -> usize {
        self.slots().map(|slot| batch.data(slot).len()).sum()
    }

    fn slots(&self) -> Range<usize> {
        self.slot..self.slot + self.count
    }

    /// The replies to its datagrams, one for each.
    pub(super) fn replies<'a>(&'a self, batch: &'a Batch) -> impl Iterator<Item = Reply<'a>> {
        let (name, control) = (batch.name(self.slot), &self.control);
        let all = self.slots().flat_map(move |slot| self.split(batch.data(slot)));
        all.map(move |data| Reply { name, control, data })
    }

    /// The datagrams in a slot: one, or several that the kernel joined.
    fn split<'a>(&self, data: &'a [u8]) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let size = match self.control.segment_size {
            Some(size) if self.count == 1 => usize::from(size),
            _ => data.len(),
        };
        // An empty datagram counts too.
        let empty = data.is_empty().then_some(data);
        empty.into_iter().chain(data.chunks(size.max(1)))
    }
}

fn received(batch: &Batch, slot: usize) -> Received {
    let mut received = control::parse(batch.control(slot));
    let size = batch.data(slot).len();
    // The kernel may report a single datagram as a run of one.
    received.segment_size = received.segment_size.filter(|&segment| usize::from(segment) < size);
    if let Some(PacketInfo::V6(ip, interface)) = &mut received.packet_info {
        // The source of a reply cannot be a multicast address, and only a link-local address needs
        // its interface.
        if ip.is_multicast() {
            *ip = Ipv6Addr::UNSPECIFIED;
        } else if !ip.is_unicast_link_local() {
            *interface = 0;
        }
    }
    received
}
