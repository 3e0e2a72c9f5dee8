//! Keeps replies for receivers that are not ready: in order, and for a limited time.
//!
//! What the clients of one user leave unread must not use up the room of others. So a user may have
//! at most half of what nobody else has.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use super::run::Reply;
use crate::server::limits::Limits;
use crate::sys::control::Received;

/// The overhead of a kept reply: an estimate of this structure, the allocator and the queue.
const OVERHEAD: usize = 200;

#[derive(Debug)]
struct KeptReply {
    control: Received,
    data: Box<[u8]>,
}

/// The replies that wait for one receiver, the oldest first.
#[derive(Debug)]
struct Queue {
    uid: Option<u32>,
    replies: VecDeque<KeptReply>,
    /// How long the replies may wait while the receiver accepts none, and when that time ends.
    age_max: Duration,
    expires: Instant,
}

/// The waiting replies of one socket.
#[derive(Debug, Default)]
pub(super) struct Kept {
    /// By the receiver's name. Many names do not make the search slower.
    queues: HashMap<Box<[u8]>, Queue>,
    /// The names, in the order of their turns.
    order: VecDeque<Box<[u8]>>,
    /// The bytes of each user.
    users: HashMap<Option<u32>, usize>,
    bytes: usize,
}

/// How many receivers are tried in one turn: each costs a system call.
const TURN_RECEIVERS: usize = 128;

/// What to do with a waiting reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Due {
    /// Try to send it again.
    Send,
    /// Drop it, because its receiver has accepted nothing for too long.
    Drop,
}

impl Kept {
    pub(super) fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// Whether a reply to `name` waits, so that the next one must wait too.
    pub(super) fn holds(&self, name: &[u8]) -> bool {
        !self.is_empty() && self.queues.get(name).is_some_and(|queue| !queue.replies.is_empty())
    }

    /// Whether a user's share is nearly used up, so that more may have to be dropped.
    pub(super) fn is_pressing(&self, limits: &Limits) -> bool {
        self.users.values().any(|&used| used > self.share_of(used, limits) / 4 * 3)
    }

    /// The share of a user who has already `used` bytes.
    fn share_of(&self, used: usize, limits: &Limits) -> usize {
        limits.deferred_bytes_max.saturating_sub(self.bytes - used) / 2
    }

    /// All waiting replies, those of each receiver in their order.
    pub(super) fn replies(&self) -> impl Iterator<Item = Reply<'_>> {
        let queues = self.order.iter().filter_map(|name| Some((name, self.queues.get(name)?)));
        queues.flat_map(|(name, queue)| {
            queue.replies.iter().map(|reply| {
                let KeptReply { control, data } = reply;
                Reply { name, control, data }
            })
        })
    }

    /// The user whose share the reply is part of.
    fn uid(&self, reply: &Reply<'_>) -> Option<u32> {
        // The first replies may be older than the kernel's report of the user.
        self.queues.get(reply.name).map_or(reply.control.uid, |queue| queue.uid)
    }

    /// Keeps a reply for its receiver.
    ///
    /// # Errors
    ///
    /// The reason for dropping it.
    pub(super) fn keep(&mut self, reply: Reply<'_>, limits: &Limits) -> Result<(), &'static str> {
        let bytes = reply.data.len() + OVERHEAD;
        let uid = self.uid(&reply);
        let used = self.users.get(&uid).copied().unwrap_or_default();
        // A single reply may be as long as any message.
        if self.bytes > 0 && used + bytes > self.share_of(used, limits) {
            return Err("too many replies wait already");
        }
        self.add(reply, limits)
    }

    /// As [`Kept::keep`], whatever the share of the user is.
    ///
    /// # Errors
    ///
    /// There is no memory.
    pub(super) fn add(&mut self, reply: Reply<'_>, limits: &Limits) -> Result<(), &'static str> {
        let Reply { name, control, data } = reply;
        let bytes = data.len() + OVERHEAD;
        let uid = self.uid(&reply);
        let mut copy = Vec::new();
        if copy.try_reserve_exact(data.len()).is_err() {
            return Err("there is no memory to keep the reply");
        }
        copy.extend_from_slice(data);
        let reply = KeptReply { control: *control, data: copy.into() };
        self.bytes += bytes;
        *self.users.entry(uid).or_default() += bytes;
        let queue = self.queues.entry(name.into()).or_insert_with(|| {
            self.order.push_back(name.into());
            let age_max = limits.deferred_reply_age_max;
            Queue { uid, replies: VecDeque::new(), age_max, expires: Instant::now() }
        });
        if queue.replies.is_empty() {
            queue.expires = Instant::now() + queue.age_max;
        }
        queue.replies.push_back(reply);
        Ok(())
    }

    /// Calls `step` for the waiting replies of the receiver `only`, or of the receivers whose turn
    /// it is. Removes each reply for which `step` returns that it is done (sent or refused).
    /// Returns whether any was removed.
    pub(super) fn send(
        &mut self,
        only: Option<&[u8]>,
        now: Instant,
        mut step: impl FnMut(Due, Reply<'_>) -> bool,
    ) -> bool {
        let before = self.bytes;
        if let Some(name) = only {
            self.send_to(name, now, &mut step);
            return self.bytes < before;
        }
        for _ in 0..TURN_RECEIVERS.min(self.order.len()) {
            let Some(name) = self.order.pop_front() else { break };
            self.send_to(&name, now, &mut step);
            if self.holds(&name) {
                self.order.push_back(name);
            } else {
                self.queues.remove(&name);
            }
        }
        self.bytes < before
    }

    fn send_to(
        &mut self,
        name: &[u8],
        now: Instant,
        step: &mut impl FnMut(Due, Reply<'_>) -> bool,
    ) {
        let Some(queue) = self.queues.get_mut(name) else { return };
        let mut is_ready = true;
        let mut bytes = 0;
        while let Some(KeptReply { control, data }) = queue.replies.front() {
            let reply = Reply { name, control, data };
            is_ready = is_ready && step(Due::Send, reply);
            if is_ready {
                // The receiver reads, even if slowly.
                queue.expires = now + queue.age_max;
            } else if queue.expires > now {
                break;
            } else {
                step(Due::Drop, reply);
            }
            bytes += data.len() + OVERHEAD;
            queue.replies.pop_front();
        }
        self.bytes -= bytes;
        let uid = queue.uid;
        if let Some(used) = self.users.get_mut(&uid) {
            *used -= bytes;
            if *used == 0 {
                self.users.remove(&uid);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keep(kept: &mut Kept, uid: Option<u32>, name: &[u8], data: &[u8], limits: &Limits) -> bool {
        let control = &Received { uid, ..Received::default() };
        kept.keep(Reply { name, control, data }, limits).is_ok()
    }

    #[test]
    fn the_order_of_each_receiver_is_kept_and_one_that_is_not_ready_stops_no_other() {
        let limits = Limits::default();
        let mut kept = Kept::default();
        for (name, data) in [("a", "1"), ("b", "2"), ("a", "3"), ("b", "4")] {
            assert!(keep(&mut kept, Some(7), name.as_bytes(), data.as_bytes(), &limits));
        }
        let mut sent = Vec::new();
        let mut step = |due, reply: Reply<'_>| {
            assert_eq!(due, Due::Send, "none is old");
            if reply.name == b"b" {
                sent.extend_from_slice(reply.data);
            }
            reply.name == b"b"
        };
        let now = Instant::now();
        assert!(kept.send(None, now, &mut step));
        assert!(!kept.send(None, now, step));
        assert_eq!(sent, b"24");
        assert!(kept.holds(b"a") && !kept.holds(b"b"));
        // The same receiver again, whose user the kernel did not report before.
        assert!(keep(&mut kept, None, b"a", b"5", &limits));
        let mut dropped = Vec::new();
        kept.send(None, now + limits.deferred_reply_age_max * 2, |due, reply| {
            if due == Due::Drop {
                dropped.extend_from_slice(reply.data);
            }
            due == Due::Drop
        });
        assert_eq!(dropped, b"135");
        assert!(kept.is_empty() && kept.users.is_empty());
    }

    #[test]
    fn a_receiver_that_takes_one_now_and_then_loses_none() {
        let limits = Limits::default();
        let (age, mut now) = (limits.deferred_reply_age_max, Instant::now());
        let mut kept = Kept::default();
        for _ in 0..10 {
            assert!(keep(&mut kept, Some(7), b"a", b"", &limits));
        }
        for left in (0..10).rev() {
            now += age * 9 / 10;
            let mut is_first = true;
            kept.send(None, now, |due, _| {
                assert_eq!(due, Due::Send);
                std::mem::take(&mut is_first)
            });
            assert_eq!(kept.holds(b"a"), left > 0);
        }
    }

    #[test]
    fn one_turn_is_bounded_and_all_have_theirs() {
        let limits = Limits::default();
        let mut kept = Kept::default();
        for name in 0..3 * TURN_RECEIVERS as u32 {
            assert!(keep(&mut kept, Some(7), &name.to_ne_bytes(), b"", &limits));
        }
        let mut tried: Vec<Box<[u8]>> = Vec::new();
        for turn in 1..=3 {
            kept.send(None, Instant::now(), |_, reply| {
                tried.push(reply.name.into());
                false
            });
            assert_eq!(tried.len(), turn * TURN_RECEIVERS);
        }
        tried.sort_unstable();
        tried.dedup();
        assert_eq!(tried.len(), 3 * TURN_RECEIVERS, "each was tried");
    }

    #[test]
    fn one_user_leaves_room_for_the_others() {
        let limits = Limits { deferred_bytes_max: 8 * (OVERHEAD + 100), ..Limits::default() };
        let mut kept = Kept::default();
        let mut fill = |uid, name: &str| {
            let count = 0..;
            count
                .take_while(|_| keep(&mut kept, Some(uid), name.as_bytes(), &[0; 100], &limits))
                .count()
        };
        assert_eq!([fill(1, "a"), fill(1, "b"), fill(2, "c"), fill(3, "d")], [4, 0, 2, 1]);
        assert!(kept.is_pressing(&limits));
        // A single reply may be of any size. While it waits, it uses the room of all others.
        let mut kept = Kept::default();
        assert!(keep(&mut kept, Some(1), b"a", &[0; 9000], &limits));
        assert!(!keep(&mut kept, Some(2), b"b", b"", &limits));
    }
}
