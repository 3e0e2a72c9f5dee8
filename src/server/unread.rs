//! How many bytes a worker keeps for peers that do not read.

use std::cell::Cell;
use std::rc::Rc;

/// What one worker may keep, for all of its connections together.
#[derive(Debug)]
pub(super) struct Unread {
    kept: Rc<Cell<usize>>,
    most: usize,
}

/// Bytes that are kept. Dropping it makes room for others.
#[derive(Debug)]
pub(super) struct Kept {
    all: Rc<Cell<usize>>,
    bytes: usize,
}

/// The least room with which a connection receives more than it has sent back. With less, each
/// receive would bring next to nothing.
const ROOM_MIN: usize = 4096;

impl Unread {
    pub(super) fn new(most: usize) -> Self {
        Self { kept: Rc::default(), most }
    }

    /// How much of a receive of `wanted` bytes could be kept if the peer does not read: 0 if there
    /// is too little room for any. `overhead`: bytes that are needed to keep anything.
    pub(super) fn room(&self, wanted: usize, overhead: usize) -> usize {
        let left = self.most.saturating_sub(self.kept.get()).saturating_sub(overhead);
        if left < wanted.min(ROOM_MIN) { 0 } else { left.min(wanted) }
    }

    /// How many bytes are kept.
    #[cfg(test)]
    pub(super) fn kept(&self) -> usize {
        self.kept.get()
    }

    /// Counts bytes that are kept from now on, even beyond the limit.
    pub(super) fn keep(&self, bytes: usize) -> Kept {
        self.kept.set(self.kept.get() + bytes);
        Kept { all: Rc::clone(&self.kept), bytes }
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.all.set(self.all.get() - self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_leaves_less_room_and_returns() {
        let unread = Unread::new(100_000);
        assert_eq!(unread.room(65_536, 64), 65_536);
        let first = unread.keep(90_000);
        assert_eq!(unread.room(65_536, 64), 10_000 - 64, "it is cut");
        assert_eq!(unread.room(1, 64), 1);
        let second = unread.keep(9000);
        assert_eq!(unread.room(65_536, 64), 0, "too little to be worth it");
        assert_eq!(unread.room(1000 - 64, 64), 1000 - 64, "unless no more is wanted");
        let beyond = unread.keep(9000);
        assert_eq!(unread.room(1, 64), 0);
        drop((first, beyond));
        assert_eq!(unread.room(1 << 20, 64), 91_000 - 64);
        drop(second);
        assert_eq!(unread.kept(), 0);
    }
}
