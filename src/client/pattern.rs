//! The bytes to send. They are pseudo-random, so that lost, doubled or moved bytes can be located.

use std::hash::{BuildHasher, Hasher, RandomState};

/// How far from a difference the received bytes are searched for.
const SEARCH_REACH: u64 = 128 * 1024;
/// How many bytes must agree to be recognised.
const SEARCH_LENGTH: usize = 8;
/// How many earlier messages a late or doubled reply is compared with.
const SEARCH_MESSAGES: u32 = 64;
/// The period of a random pattern: a prime, and several times the search range.
const PERIOD: usize = 1_048_573;
/// The distance between the starts of two messages in a pattern, beyond the search range.
const STRIDE: u64 = 655_357;

/// A sequence of bytes that repeats after its period. A prime period is not a multiple of a
/// server's buffer size, so the loss of a whole buffer is noticed.
#[derive(Debug)]
pub struct Pattern {
    bytes: Vec<u8>,
    period: u64,
}

impl Pattern {
    /// The pattern of a seed, for slices of up to `longest` bytes.
    pub fn new(seed: u64, period: usize, longest: usize) -> Self {
        let mut bytes = vec![0; period + longest];
        for (index, chunk) in bytes[..period].chunks_mut(8).enumerate() {
            chunk.copy_from_slice(&word(seed, index as u64)[..chunk.len()]);
        }
        for at in period..bytes.len() {
            bytes[at] = bytes[at - period];
        }
        Self { bytes, period: period as u64 }
    }

    /// A pattern that differs in each run, for messages of which up to `longest` bytes are compared
    /// at once.
    pub fn random(longest: usize) -> Self {
        // The standard library seeds its hash maps from the kernel's random numbers.
        let seed = RandomState::new().build_hasher().finish();
        Self::new(seed, PERIOD, longest.max(2 * SEARCH_REACH as usize))
    }

    /// `length` bytes of the sequence from `position` on.
    #[inline]
    pub fn at(&self, position: u64, length: usize) -> &[u8] {
        let start = (position % self.period) as usize;
        &self.bytes[start..start + length]
    }

    /// Message number `number` of `size` bytes.
    pub fn message(&self, number: u32, size: usize) -> Message<'_> {
        Message { pattern: self, number, size }
    }
}

/// splitmix64: the 64-bit words of a pattern all differ, without a visible order.
fn word(seed: u64, index: u64) -> [u8; 8] {
    let mut z = seed.wrapping_add((index + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (z ^ (z >> 31)).to_le_bytes()
}

/// One message of a pattern.
#[derive(Debug, Clone, Copy)]
pub struct Message<'a> {
    pattern: &'a Pattern,
    number: u32,
    /// Its length in bytes.
    pub(super) size: usize,
}

impl<'a> Message<'a> {
    /// `length` bytes of the message from `offset` on.
    pub(super) fn part(self, offset: u64, length: usize) -> &'a [u8] {
        self.pattern.at(u64::from(self.number) * STRIDE + offset, length)
    }

    /// How the bytes received at `offset` differ from the sent ones, and where they belong, in
    /// words.
    pub(super) fn difference(self, offset: u64, got: &[u8]) -> Option<String> {
        let expected = self.part(offset, got.len());
        if expected == got {
            return None;
        }
        let at = expected.iter().zip(got).take_while(|(expected, got)| expected == got).count();
        let offset = offset + at as u64;
        let instead = self.recognise(offset, &got[at..]);
        Some(format!(
            "message {} differs at offset {offset} of {}: 0x{:02x} was sent, 0x{:02x} came back{}",
            self.number + 1,
            self.size,
            expected[at],
            got[at],
            instead.map_or_else(String::new, |words| format!(" ({words})"))
        ))
    }

    /// Where the received bytes belong; `None` if they are not from this pattern.
    fn recognise(self, at: u64, got: &[u8]) -> Option<String> {
        let needle = got.get(..SEARCH_LENGTH)?;
        for number in (self.number.saturating_sub(SEARCH_MESSAGES)..self.number).rev() {
            if self.pattern.message(number, self.size).part(at, SEARCH_LENGTH) == needle {
                return Some(format!("it is the reply to message {} again", number + 1));
            }
        }
        let from = at.saturating_sub(SEARCH_REACH);
        let to = (self.size as u64).min(at + SEARCH_REACH);
        let window = self.part(from, (to - from) as usize);
        let found = window.windows(SEARCH_LENGTH).position(|bytes| bytes == needle)?;
        let found = from + found as u64;
        Some(match found > at {
            true => format!("{} bytes are missing there", found - at),
            false => format!("the bytes from offset {found} on are repeated"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_repeats_after_its_period_and_not_before() {
        for longest in [0, 10, 1009, 5000] {
            let pattern = Pattern::new(7, 1009, longest);
            assert_eq!(pattern.bytes.len(), 1009 + longest);
            assert!(pattern.bytes.iter().zip(&pattern.bytes[1009..]).all(|(a, b)| a == b));
        }
        let pattern = Pattern::new(7, 1009, 8);
        assert!((1..1009).all(|position| pattern.at(position, 8) != pattern.at(0, 8)));
        assert_ne!(pattern.at(0, 8), Pattern::new(8, 1009, 8).at(0, 8));
    }

    #[test]
    fn what_came_instead_is_recognised() {
        // Bytes that are equal by chance would move the place.
        let pattern = Pattern::new(7, PERIOD, 2 * SEARCH_REACH as usize);
        let message = pattern.message(5, 4096);
        let whole = message.part(0, 4096);
        let earlier = pattern.message(4, 4096).part(0, 4096);
        for (at, got, words) in [
            (100, &whole[150..], "(50 bytes are missing there)"),
            (100, &whole[20..], "(the bytes from offset 20 on are repeated)"),
            (0, earlier, "(it is the reply to message 5 again)"),
            (4090, &whole[4093..], "message 6 differs at offset 4090 of 4096: 0x"),
        ] {
            let got = [&whole[..at], got].concat();
            let difference = message.difference(0, &got[..got.len().min(4096)]);
            assert!(difference.as_ref().is_some_and(|said| said.contains(words)), "{difference:?}");
        }
        assert_eq!(message.difference(40, &whole[40..]), None);
    }
}
