//! Limits how many of something exist: each one owns a permit, and dropping it returns the permit.
//!
//! The permits of connections are also the gate of a server that ends when it is idle. Whoever
//! accepts or receives has a permit first, and the gate closes only at a moment when nobody has
//! one: so whatever comes later stays in the kernel, for the next server.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::per_source::SourcePermit;

/// One number, so that closing the gate is one atomic step: from the lowest bit, whether the gate
/// is closed, how many permits are out (24 bits), how many activities (17 bits), and how often one
/// of them was taken (22 bits, then it starts over).
type State = AtomicU64;

const CLOSED: u64 = 1;
const PERMIT: u64 = 1 << 1;
const PERMITS_MAX: u64 = (1 << 24) - 1;
const ACTIVITY: u64 = 1 << 25;
const ACTIVITIES_MAX: u64 = (1 << 17) - 1;
const TAKEN: u64 = 1 << 42;
/// Everything that is out.
const OUT: u64 = PERMIT * PERMITS_MAX + ACTIVITY * ACTIVITIES_MAX;

/// The permits for one kind of object, over all workers.
#[derive(Debug)]
pub(super) struct Permits {
    state: Arc<State>,
    most: u64,
}

/// The permission for one object to exist, with the permit of its source if it needs one.
#[derive(Debug)]
#[allow(dead_code, reason = "a source is counted by its existence")]
pub(super) struct Permit(Arc<State>, Option<SourcePermit>);

/// The permission to receive, for what is no connection. It counts against no limit, and keeps the
/// gate open.
#[derive(Debug)]
pub(super) struct Activity(Arc<State>);

/// A moment at which nothing was out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rest(u64);

impl Permits {
    pub(super) fn new(most: usize) -> Self {
        Self { state: Arc::default(), most: (most as u64).min(PERMITS_MAX) }
    }

    /// A permit; `None` if all of them are taken, or if the gate is closed.
    pub(super) fn take(&self) -> Option<Permit> {
        let has_room = |state: u64| state / PERMIT % (PERMITS_MAX + 1) < self.most;
        self.add(PERMIT, has_room).then(|| Permit(Arc::clone(&self.state), None))
    }

    /// A permit for an object that already exists, even beyond the limit.
    pub(super) fn take_beyond(&self) -> Permit {
        self.state.fetch_add(PERMIT + TAKEN, Ordering::AcqRel);
        Permit(Arc::clone(&self.state), None)
    }

    /// The permission to receive; `None` if the gate is closed.
    pub(super) fn begin_activity(&self) -> Option<Activity> {
        self.add(ACTIVITY, |_| true).then(|| Activity(Arc::clone(&self.state)))
    }

    fn add(&self, unit: u64, has_room: impl Fn(u64) -> bool) -> bool {
        let added = |state: u64| {
            let may = state & CLOSED == 0 && has_room(state);
            may.then(|| state.wrapping_add(unit + TAKEN))
        };
        self.state.fetch_update(Ordering::AcqRel, Ordering::Relaxed, added).is_ok()
    }

    /// This moment, if nothing is out and the gate is open.
    pub(super) fn rest(&self) -> Option<Rest> {
        let state = self.state.load(Ordering::Acquire);
        (state & (OUT | CLOSED) == 0).then_some(Rest(state))
    }

    /// Closes the gate, if nothing was taken since `rest`. Returns whether it was closed: from then
    /// on nothing can be taken.
    pub(super) fn close(&self, rest: Rest) -> bool {
        let (open, closed) = (rest.0, rest.0 | CLOSED);
        self.state.compare_exchange(open, closed, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }

    pub(super) fn are_closed(&self) -> bool {
        self.state.load(Ordering::Acquire) & CLOSED != 0
    }
}

impl Permit {
    /// Keeps the permit of a connection's source with it.
    pub(super) fn with(mut self, source: Option<SourcePermit>) -> Self {
        self.1 = source;
        self
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.fetch_sub(PERMIT, Ordering::AcqRel);
    }
}

impl Drop for Activity {
    fn drop(&mut self) {
        self.0.fetch_sub(ACTIVITY, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use super::*;

    #[test]
    fn a_permit_returns_when_it_is_dropped() {
        let permits = Permits::new(2);
        let first = permits.take().expect("the first of two");
        let second = permits.take().expect("the second of two");
        assert!(permits.take().is_none());
        let activity = permits.begin_activity().expect("it has no limit");
        drop(first);
        let third = permits.take().expect("the first one is back");
        let regardless = permits.take_beyond();
        drop((second, activity));
        assert!(permits.take().is_none(), "one too many is still one");
        drop((third, regardless));
        assert!(permits.take().is_some());
    }

    #[test]
    fn the_gate_closes_only_if_nothing_was_taken_since() {
        let permits = Permits::new(2);
        let rest = permits.rest().expect("nothing is out");
        let taken: [fn(&Permits); 3] = [
            |permits| drop(permits.take()),
            |permits| drop(permits.take_beyond()),
            |permits| drop(permits.begin_activity()),
        ];
        for take in taken {
            take(&permits);
            assert!(!permits.close(rest), "something was taken, although it is back");
        }
        for round in 0..3 * (u64::MAX / TAKEN) {
            drop(permits.take().unwrap_or_else(|| panic!("round {round}")));
        }
        let (permit, activity) = (permits.take(), permits.begin_activity());
        assert_eq!(permits.rest(), None);
        drop(permit);
        assert_eq!(permits.rest(), None);
        drop(activity);
        assert!(permits.close(permits.rest().expect("all is back")));
        assert!(permits.are_closed());
        assert!(permits.take().is_none() && permits.begin_activity().is_none());
        assert_eq!(permits.rest(), None);
    }

    /// Threads take and return permits, and any of them closes the gate: nobody has a permit then,
    /// and nobody gets one later.
    #[test]
    fn nobody_is_inside_when_the_gate_closes() {
        const THREADS: usize = 4;
        for round in 0..300 {
            let permits = Permits::new(if round % 2 == 0 { 1 } else { usize::MAX });
            let inside = AtomicU64::new(0);
            let is_closed = AtomicBool::new(false);
            let work = |number: usize| {
                for step in number.. {
                    let was_closed = is_closed.load(Ordering::SeqCst);
                    let permit = permits.take();
                    let activity = if step % 3 == 0 { permits.begin_activity() } else { None };
                    if permit.is_some() || activity.is_some() {
                        assert!(!was_closed, "taken after the end");
                        inside.fetch_add(1, Ordering::SeqCst);
                        inside.fetch_sub(1, Ordering::SeqCst);
                    }
                    drop((permit, activity));
                    if permits.are_closed() {
                        return;
                    }
                    let Some(rest) = permits.rest().filter(|_| step % 16 == 0) else { continue };
                    if permits.close(rest) {
                        assert_eq!(inside.load(Ordering::SeqCst), 0, "somebody is inside");
                        is_closed.store(true, Ordering::SeqCst);
                    }
                }
            };
            std::thread::scope(|scope| {
                let threads = (0..THREADS).map(|number| scope.spawn(move || work(number)));
                let threads: Vec<_> = threads.collect();
                threads.into_iter().for_each(|thread| thread.join().expect("no panic"));
            });
            assert!(is_closed.into_inner());
        }
    }
}
