//! Runs: datagrams that one send answers, and what the kernel joined into one.

use std::net::Ipv6Addr;
use std::ops::Range;

use crate::sys::control::{self, PacketInfo, Received};
use crate::sys::message::Batch;

/// The most datagrams that Linux sends as one with `UDP_SEGMENT`: `UDP_MAX_SEGMENTS`.
const SEGMENTS_MAX: usize = 64;
/// The most bytes of one such send: what fits an IPv4 packet with its headers.
const SEGMENTED_BYTES_MAX: usize = 65_507;
/// The longest datagram of a run of several.
const SEGMENT_MAX: usize = 32_767;

/// Datagrams of one sender that are answered with one send.
#[derive(Debug, Clone, Copy)]
pub(super) struct Run {
    pub(super) slot: usize,
    pub(super) count: usize,
    /// What the kernel told of each of them, with the size of the segments that one send is split
    /// into.
    pub(super) control: Received,
}

/// One datagram as it is sent back.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reply<'a> {
    /// The `sockaddr` of the sender.
    pub(super) name: &'a [u8],
    /// What the kernel told of the datagram.
    pub(super) control: &'a Received,
    pub(super) data: &'a [u8],
}

impl Run {
    /// The datagrams from `slot` on that one send can answer: of one sender and one size, but for
    /// the last, which may be shorter. They are several only of those that `batch` has received,
    /// `count` in all, and if the kernel `has_segments`.
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

    /// The first of them.
    pub(super) fn first<'a>(&self, batch: &'a Batch) -> &'a [u8] {
        self.split(batch.data(self.slot)).next().unwrap_or_default()
    }

    /// How many bytes they have.
    pub(super) fn bytes(&self, batch: &Batch) -> usize {
        self.slots().map(|slot| batch.data(slot).len()).sum()
    }

    fn slots(&self) -> Range<usize> {
        self.slot..self.slot + self.count
    }

    /// The replies to its datagrams, each by itself.
    pub(super) fn replies<'a>(&'a self, batch: &'a Batch) -> impl Iterator<Item = Reply<'a>> {
        let (name, control) = (batch.name(self.slot), &self.control);
        let all = self.slots().flat_map(move |slot| self.split(batch.data(slot)));
        all.map(move |data| Reply { name, control, data })
    }

    /// The datagrams in a slot: one, or as many as the kernel joined.
    fn split<'a>(&self, data: &'a [u8]) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let size = match self.control.segment_size {
            Some(size) if self.count == 1 => usize::from(size),
            _ => data.len(),
        };
        // An empty datagram is one chunk too.
        let empty = data.is_empty().then_some(data);
        empty.into_iter().chain(data.chunks(size.max(1)))
    }
}

fn received(batch: &Batch, slot: usize) -> Received {
    let mut received = control::parse(batch.control(slot));
    let size = batch.data(slot).len();
    // A lone datagram may be reported as a run of one.
    received.segment_size = received.segment_size.filter(|&segment| usize::from(segment) < size);
    if let Some(PacketInfo::V6(ip, interface)) = &mut received.packet_info {
        // A reply cannot come from a group; and only a link-local address needs its link.
        if ip.is_multicast() {
            *ip = Ipv6Addr::UNSPECIFIED;
        } else if !ip.is_unicast_link_local() {
            *interface = 0;
        }
    }
    received
}
