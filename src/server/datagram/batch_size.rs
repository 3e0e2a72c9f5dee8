//! How many datagrams a receive asks for: it follows the load.

/// The longest series of receives for one datagram. When a burst begins, each of them costs one
/// more system call.
const LONE_MAX: u8 = 64;

/// How many datagrams the next receive asks for.
///
/// To ask for a second datagram that is not there costs a part of a system call, and a receive for
/// one does not tell whether there is a second. So two are asked for now and then, and less often
/// the more often there was only one.
#[derive(Debug)]
pub(super) struct BatchSize {
    next: usize,
    /// How many receives ask for one before two are asked for, and how many of these are left.
    lone: u8,
    lone_left: u8,
}

impl Default for BatchSize {
    fn default() -> Self {
        Self { next: 1, lone: 1, lone_left: 1 }
    }
}

impl BatchSize {
    /// How many datagrams to ask for, at most `slots`.
    pub(super) fn next(&self, slots: usize) -> usize {
        self.next.min(slots)
    }

    /// Adapts after a receive: if all `asked` datagrams were there, it asks for twice as many next
    /// time, and for half if few were there.
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

    /// How many datagrams each receive asks for if `waiting` are there each time.
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
        // After a second datagram was found recently, two are asked for again at once.
        assert_eq!(asked(&mut batch_size, 2, 5).iter().max(), Some(&4));
    }
}
