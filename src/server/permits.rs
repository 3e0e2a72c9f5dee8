//! Limits how many of something exist: each one owns a permit, and dropping it returns the permit.

use std::sync::Arc;

/// The permits for one kind of object, over all workers.
#[derive(Debug)]
pub(super) struct Permits {
    taken: Arc<()>,
    most: usize,
}

/// The permission for one object to exist.
#[derive(Debug)]
pub(super) struct Permit(#[allow(dead_code, reason = "it counts by existing")] Arc<()>);

impl Permits {
    pub(super) fn new(most: usize) -> Self {
        Self { taken: Arc::default(), most }
    }

    /// A permit; `None` if all of them are taken.
    pub(super) fn take(&self) -> Option<Permit> {
        // It takes the permit first and counts then: two threads that both want the last permit may
        // both be refused, but never both get it.
        let permit = self.take_beyond();
        (Arc::strong_count(&self.taken) - 1 <= self.most).then_some(permit)
    }

    /// A permit for an object that already exists, even beyond the limit.
    pub(super) fn take_beyond(&self) -> Permit {
        Permit(Arc::clone(&self.taken))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_permit_returns_when_it_is_dropped() {
        let permits = Permits::new(2);
        let first = permits.take().expect("the first of two");
        let second = permits.take().expect("the second of two");
        assert!(permits.take().is_none());
        drop(first);
        let third = permits.take().expect("the first one is back");
        let regardless = permits.take_beyond();
        drop(second);
        assert!(permits.take().is_none(), "one too many is still one");
        drop((third, regardless));
        assert!(permits.take().is_some());
    }
}
