//! The bytes that are sent: no part of a message equals another part, of this message, of another
//! one or of another run, so that what is lost, doubled or moved is seen, and where.

use std::hash::{BuildHasher, Hasher, RandomState};

/// How far from a difference the bytes that came are looked for.
const SEARCH_REACH: u64 = 128 * 1024;
/// How many bytes have to agree before they are recognised.
const SEARCH_LENGTH: usize = 8;
/// How many earlier messages a late or doubled reply is compared with.
const SEARCH_MESSAGES: u32 = 64;

/// The bytes of all messages of a run.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pattern {
    seed: u64,
}

/// The first byte that differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Difference {
    pub(super) offset: u64,
    pub(super) expected: u8,
    pub(super) got: u8,
}

impl Pattern {
    /// A pattern that no other run has.
    pub(super) fn random() -> Self {
        // The standard library seeds its hash maps from the kernel's random numbers.
        Self::new(RandomState::new().build_hasher().finish())
    }

    pub(super) fn new(seed: u64) -> Self {
        Self { seed }
    }

    /// Fills `buffer` with the bytes of `message` from `offset` on.
    pub(super) fn fill(self, message: u32, offset: u64, buffer: &mut [u8]) {
        let mut position = offset;
        let mut rest = buffer;
        while !rest.is_empty() {
            let word = self.word(message, position / 8).to_le_bytes();
            let start = (position % 8) as usize;
            let length = rest.len().min(8 - start);
            rest[..length].copy_from_slice(&word[start..start + length]);
            rest = &mut rest[length..];
            position += length as u64;
        }
    }

    /// The bytes of a whole message.
    pub(super) fn message(self, message: u32, size: usize) -> Vec<u8> {
        let mut bytes = vec![0; size];
        self.fill(message, 0, &mut bytes);
        bytes
    }

    /// Compares what came for `message` at `offset`. `scratch` is as long as `got`, at least.
    pub(super) fn compare(
        self,
        message: u32,
        offset: u64,
        got: &[u8],
        scratch: &mut [u8],
    ) -> Result<(), Difference> {
        let expected = &mut scratch[..got.len()];
        self.fill(message, offset, expected);
        if expected == got {
            return Ok(());
        }
        let at = expected.iter().zip(got).take_while(|(expected, got)| expected == got).count();
        Err(Difference { offset: offset + at as u64, expected: expected[at], got: got[at] })
    }

    /// Where the bytes that came instead belong, in words; `None` if they are not ours.
    ///
    /// `got` starts at the difference.
    pub(super) fn recognise(self, message: u32, size: u64, at: u64, got: &[u8]) -> Option<String> {
        let needle = got.get(..SEARCH_LENGTH)?;
        let from = at.saturating_sub(SEARCH_REACH);
        let to = size.min(at + SEARCH_REACH);
        let mut window = vec![0; (to - from) as usize];
        self.fill(message, from, &mut window);
        let found = window.windows(SEARCH_LENGTH).position(|bytes| bytes == needle);
        if let Some(found) = found.map(|found| from + found as u64) {
            return Some(match found > at {
                true => format!("{} bytes are missing there", found - at),
                false => format!("bytes from offset {found} on come again"),
            });
        }
        let mut other = [0; SEARCH_LENGTH];
        for earlier in (message.saturating_sub(SEARCH_MESSAGES)..message).rev() {
            self.fill(earlier, at, &mut other);
            if other == needle {
                return Some(format!("it is the reply to message {} again", earlier + 1));
            }
        }
        None
    }

    /// splitmix64: every 64-bit word of a run is another one, in no visible order.
    fn word(self, message: u32, index: u64) -> u64 {
        let position = (u64::from(message) << 32).wrapping_add(index);
        let mut z =
            self.seed.wrapping_add(position.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_the_same_in_any_pieces() {
        let pattern = Pattern::new(7);
        let whole = pattern.message(3, 1000);
        for piece in [1, 3, 7, 8, 9, 64, 999] {
            let mut pieces = vec![0; 1000];
            for (index, chunk) in pieces.chunks_mut(piece).enumerate() {
                pattern.fill(3, (index * piece) as u64, chunk);
            }
            assert_eq!(pieces, whole, "pieces of {piece}");
        }
        assert_ne!(whole, pattern.message(4, 1000));
        assert_ne!(whole, Pattern::new(8).message(3, 1000));
    }

    #[test]
    fn a_difference_is_found_where_it_is() {
        let pattern = Pattern::new(1);
        let mut scratch = [0; 100];
        for at in [0, 1, 50, 99] {
            let mut got = pattern.message(0, 100);
            got[at] ^= 0x20;
            let difference = pattern.compare(0, 0, &got, &mut scratch).unwrap_err();
            assert_eq!((difference.offset, difference.got), (at as u64, got[at]));
            assert_eq!(difference.expected, got[at] ^ 0x20);
        }
        assert_eq!(pattern.compare(0, 40, &pattern.message(0, 100)[40..], &mut scratch), Ok(()));
    }

    #[test]
    fn what_came_instead_is_recognised() {
        let pattern = Pattern::new(2);
        let whole = pattern.message(5, 4096);
        let earlier = pattern.message(4, 4096);
        for (at, got, words) in [
            (100, &whole[150..], Some("50 bytes are missing there")),
            (100, &whole[20..], Some("bytes from offset 20 on come again")),
            (0, &earlier[..], Some("it is the reply to message 5 again")),
            (0, b"SSH-2.0-OpenSSH".as_slice(), None),
            (4090, &whole[4093..], None),
        ] {
            assert_eq!(pattern.recognise(5, 4096, at, got).as_deref(), words, "at {at}");
        }
    }
}
