//! The datagrams of a flood. No two in a row are equal, because a server may take repeated
//! datagrams for a loop of its own replies.

use std::ops::Range;

use super::{PERIOD, SEED};
use crate::client::Pattern;

/// Datagrams of at least this size have a number. In fewer bytes, a wrong one could equal another.
const STAMPED_MIN: usize = 4;

/// Datagrams in one buffer, as the kernel splits and joins them. The first byte of each is its
/// number, which identifies a reply so that the whole reply can be compared.
#[derive(Debug)]
pub(super) struct Train {
    bytes: Vec<u8>,
    size: usize,
}

impl Train {
    /// `length` datagrams of `size` bytes, at least one.
    pub(super) fn new(size: usize, length: u8) -> Self {
        let pattern = Pattern::new(SEED, PERIOD, size);
        let mut bytes = Vec::with_capacity(size * usize::from(length));
        for number in 0..length {
            let is_stamped = size >= STAMPED_MIN;
            let start = bytes.len();
            bytes.extend(pattern.at(if is_stamped { number.into() } else { 0 }, size));
            if is_stamped {
                bytes[start] = number;
            }
        }
        Self { bytes, size }
    }

    /// The number of datagrams.
    pub(super) fn len(&self) -> usize {
        self.bytes.len() / self.size
    }

    /// The datagrams with these numbers.
    pub(super) fn part(&self, numbers: Range<usize>) -> &[u8] {
        &self.bytes[numbers.start * self.size..numbers.end * self.size]
    }

    /// Whether these bytes are datagrams of the train, in any order.
    pub(super) fn has(&self, received: &[u8]) -> bool {
        !received.is_empty()
            && received.len() % self.size == 0
            // In order, they need only one comparison.
            && (self.goes_on_with(received)
                || received.chunks(self.size).all(|datagram| self.goes_on_with(datagram)))
    }

    fn goes_on_with(&self, received: &[u8]) -> bool {
        let number = if self.size >= STAMPED_MIN { usize::from(received[0]) } else { 0 };
        let start = number * self.size;
        self.bytes.get(start..start + received.len()) == Some(received)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_datagram_passes_for_another() {
        for size in [4, 5, 64, 1400] {
            let train = Train::new(size, 128);
            assert_eq!(train.len(), 128);
            for number in 0..128 {
                let datagram = train.part(number..number + 1).to_vec();
                assert!(train.has(&datagram), "{size}");
                assert_ne!(datagram, train.part((number + 1) % 128..(number + 1) % 128 + 1));
                for at in [0, size - 1] {
                    for bit in 0..8 {
                        let mut spoiled = datagram.clone();
                        spoiled[at] ^= 1 << bit;
                        assert!(!train.has(&spoiled), "{number} of {size} at {at}");
                    }
                }
            }
        }
    }

    #[test]
    fn trains_are_known_in_any_order_and_cut() {
        for size in [1, 3, 4, 100] {
            let train = Train::new(size, 8);
            let joined = |parts: [Range<usize>; 2]| parts.map(|part| train.part(part)).concat();
            assert!(train.has(train.part(0..8)) && train.has(train.part(3..5)), "{size}");
            assert!(train.has(&joined([6..8, 0..2])) && train.has(&joined([5..6, 2..3])), "{size}");
            assert!(!train.has(&[]), "{size}");
            assert_eq!(train.has(&train.part(0..3)[1..]), size == 1, "{size}");
        }
    }
}
