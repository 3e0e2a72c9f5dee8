//! Runs: datagrams that one send answers, and what the kernel joined into one.

use super::Datagram;
use crate::sys::control::{self, PacketInfo, Received};
use crate::sys::message::Batch;

/// The most datagrams that Linux sends as one with `UDP_SEGMENT`: `UDP_MAX_SEGMENTS`.
const SEGMENTS_MAX: usize = 64;
/// The most bytes of one such send: what fits an IPv4 packet with its headers.
const SEGMENTED_BYTES_MAX: usize = 65_507;
/// Datagrams of one sender that are answered with one send.
#[derive(Debug, Clone, Copy)]
pub(super) struct Run {
    pub(super) slot: usize,
    pub(super) count: usize,
    /// What the kernel told of each of them, with the size of the segments that one send is split
    /// into.
    pub(super) control: Received,
}

impl Datagram {
    /// The datagrams from `slot` on that one send can answer: of one sender and one size, but for
    /// the last, which may be shorter.
    pub(super) fn run_at(&self, batch: &Batch, slot: usize, count: usize) -> Run {
        let received = self.received(batch, slot);
        let size = batch.data(slot).len();
        let mut run = Run { slot, count: 1, control: received };
        if !self.socket.has_segments
            || received.segment_size.is_some()
            || size == 0
            || size > 32_767
        {
            return run;
        }
        let mut bytes = size;
        for next in slot + 1..count.min(slot + SEGMENTS_MAX) {
            let len = batch.data(next).len();
            let belongs = len > 0
                && len <= size
                && bytes + len <= SEGMENTED_BYTES_MAX
                && batch.name(next) == batch.name(slot)
                && self.received(batch, next) == received;
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

    fn received(&self, batch: &Batch, slot: usize) -> Received {
        let mut received = control::parse(batch.control(slot));
        let size = batch.data(slot).len();
        // A lone datagram may be reported as a run of one.
        received.segment_size =
            received.segment_size.filter(|&segment| usize::from(segment) < size);
        if let Some(PacketInfo::V6(ip, interface)) = &mut received.packet_info {
            // A reply cannot come from a group; and only a link-local address needs its link.
            if ip.is_multicast() {
                *ip = std::net::Ipv6Addr::UNSPECIFIED;
            } else if !ip.is_unicast_link_local() {
                *interface = 0;
            }
        }
        received
    }
}

/// The datagrams in a slot: one, or as many as the kernel joined.
pub(super) fn segments(data: &[u8], run: Run) -> impl Iterator<Item = &[u8]> {
    let size = match run.control.segment_size {
        Some(size) if run.count == 1 => usize::from(size),
        _ => data.len(),
    };
    // An empty datagram is one chunk too.
    let empty = data.is_empty().then_some(data);
    empty.into_iter().chain(data.chunks(size.max(1)))
}
