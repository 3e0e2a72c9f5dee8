//! How many datagrams a receive asks for: as many as the load brings.

/// The longest row of lone receives: each of them that a burst begins with costs a system call.
const LONE_MAX: u8 = 64;

/// How many datagrams the next receive asks for.
///
/// Asking for a second one that is not there costs a part of a system call, and a lone receive does
/// not tell whether there was one. So it is tried now and then: the more rarely, the more often it
/// was in vain.
#[derive(Debug)]
pub(super) struct BatchSize {
    next: usize,
    /// How many lone receives there are before two datagrams are asked for, and how many are left.
    lone: u8,
    lone_left: u8,
}

impl Default for BatchSize {
    fn default() -> Self {
        Self { next: 1, lone: 1, lone_left: 1 }
    }
}

impl BatchSize {
    /// How many to ask for, of at most `slots`.
    pub(super) fn next(&self, slots: usize) -> usize {
        self.next.min(slots)
    }

    /// `received` datagrams were there when `asked` were asked for: the next time twice as many if
    /// that was all of them, half if it was mostly in vain.
    pub(super) fn follow(&mut self, asked: usize, received: usize) {
        if received < asked {
            if received * 2 <= asked {
                self.next = (asked / 2).max(1);
            }
            if asked == 2 {
                self.lone = (self.lone * 2).min(LONE_MAX);
                self.lone_left = self.lone;
            }
        } else if asked > 1 {
            self.next = asked * 2;
            self.lone = 1;
        } else {
            self.lone_left = self.lone_left.saturating_sub(1);
            self.next = if self.lone_left == 0 { 2 } else { 1 };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SLOTS: usize = 64;

    /// How many datagrams each receive asks for while `waiting` are there each time.
    fn asked(batch_size: &mut BatchSize, waiting: usize, receives: usize) -> Vec<usize> {
        let one = |_| {
            let asked = batch_size.next(SLOTS);
            batch_size.follow(asked, waiting.min(asked));
            asked
        };
        (0..receives).map(one).collect()
    }

    #[test]
    fn a_lone_datagram_is_asked_for_alone() {
        let asked = asked(&mut BatchSize::default(), 1, 1000);
        let in_vain = asked.iter().filter(|&&asked| asked > 1).count();
        assert!(in_vain <= 6 + 1000 / usize::from(LONE_MAX), "{asked:?}");
        assert!(asked.iter().all(|&asked| asked <= 2));
    }

    #[test]
    fn it_follows_the_load() {
        let mut batch_size = BatchSize::default();
        asked(&mut batch_size, 1, 1000);
        let burst = asked(&mut batch_size, 1000, 100);
        assert!(burst[usize::from(LONE_MAX)..].contains(&SLOTS), "{burst:?}");
        assert_eq!(asked(&mut batch_size, 20, 10)[3..], [32; 7]);
        let fewer = asked(&mut batch_size, 1, 10);
        assert_eq!(fewer[..6], [32, 16, 8, 4, 2, 1]);
        // What found a second one recently is tried again at once.
        assert_eq!(asked(&mut batch_size, 2, 5).iter().max(), Some(&4));
    }
}
