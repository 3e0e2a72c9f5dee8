//! The bytes that are sent: pseudo-random, so that a shifted, repeated or stale echo differs.

/// Messages and stream positions repeat after this many; a prime, so that no buffer size of a
/// server divides it.
const PERIOD: usize = 65_521;

/// A periodic sequence of bytes of which any slice up to `longest` is contiguous in memory.
#[derive(Debug)]
pub(super) struct Pattern {
    bytes: Vec<u8>,
}

impl Pattern {
    /// A pattern that gives slices of up to `longest` bytes.
    pub(super) fn new(longest: usize) -> Self {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut period = Vec::with_capacity(PERIOD);
        for _ in 0..PERIOD {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            period.push((state >> 32) as u8);
        }
        let bytes = period.iter().copied().cycle().take(PERIOD + longest).collect();
        Self { bytes }
    }

    /// `length` bytes from `position` of the sequence.
    pub(super) fn at(&self, position: u64, length: usize) -> &[u8] {
        let start = (position % PERIOD as u64) as usize;
        &self.bytes[start..start + length]
    }

    /// Message number `sequence` of `length` bytes: neighbours differ in almost every byte.
    pub(super) fn message(&self, sequence: u32, length: usize) -> &[u8] {
        self.at(u64::from(sequence), length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_repeats_after_its_period_and_not_before() {
        let pattern = Pattern::new(4096);
        assert_eq!(pattern.at(5, 4096), pattern.at(5 + PERIOD as u64, 4096));
        for sequence in 1..1000 {
            assert_ne!(pattern.message(0, 8), pattern.message(sequence, 8), "{sequence}");
        }
        // Four bytes are enough to tell each message from the one before it.
        for sequence in 0..=PERIOD as u32 {
            let next = pattern.message(sequence + 1, 4);
            assert_ne!(pattern.message(sequence, 4), next, "{sequence}");
        }
    }
}
