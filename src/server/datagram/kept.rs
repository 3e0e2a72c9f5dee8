//! Replies that their receivers were not ready for: kept for a while, in order, and not for ever.
//!
//! What one user's clients leave unread must not take the room of the others', so a user may have
//! at most half of what nobody else has.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::time::Instant;

use crate::server::limits::Limits;
use crate::sys::control::Received;

/// What a kept reply needs beside its bytes: an estimate of this structure, the allocator and the
/// queue.
const OVERHEAD: usize = 200;

/// A reply with all that it takes to send it.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) control: Received,
    pub(super) data: Box<[u8]>,
    expires: Instant,
}

/// The replies that wait for one receiver, the oldest first.
#[derive(Debug)]
struct Queue {
    uid: Option<u32>,
    replies: VecDeque<Reply>,
}

/// The replies of one socket that wait.
#[derive(Debug, Default)]
pub(super) struct Kept {
    /// By the name of the receiver. Who chooses many names makes no search longer.
    queues: HashMap<Box<[u8]>, Queue>,
    /// The names, in the order in which they have their turn.
    order: VecDeque<Box<[u8]>>,
    /// What each user has.
    users: HashMap<Option<u32>, usize>,
    bytes: usize,
}

/// How many receivers are tried in one turn: each costs a system call.
const TURN_RECEIVERS: usize = 128;

/// What came of sending a kept reply.
pub(super) enum Sent {
    /// It is off our hands: the kernel has it, or it can never be sent.
    Done,
    /// Its receiver is still not ready.
    NotReady,
}

impl Kept {
    pub(super) fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// Whether a reply to `name` waits, so that the next one has to wait behind it.
    pub(super) fn holds(&self, name: &[u8]) -> bool {
        !self.is_empty() && self.queues.get(name).is_some_and(|queue| !queue.replies.is_empty())
    }

    /// Whether somebody's share is nearly used up: more may have to be dropped.
    pub(super) fn is_pressing(&self, limits: &Limits) -> bool {
        self.users.values().any(|&used| used > self.share_of(used, limits) / 4 * 3)
    }

    /// What a user may have who has `used` of it.
    fn share_of(&self, used: usize, limits: &Limits) -> usize {
        limits.deferred_bytes_max.saturating_sub(self.bytes - used) / 2
    }

    /// Keeps a reply to a user's datagram for the receiver `name`.
    ///
    /// # Errors
    ///
    /// Why it is dropped instead.
    pub(super) fn keep(
        &mut self,
        name: &[u8],
        control: &Received,
        data: &[u8],
        limits: &Limits,
    ) -> Result<(), &'static str> {
        let bytes = data.len() + OVERHEAD;
        // The first ones may have come before the kernel told whose they are.
        let uid = self.queues.get(name).map_or(control.uid, |queue| queue.uid);
        let used = self.users.get(&uid).copied().unwrap_or_default();
        // A lone one may be as long as any message.
        if self.bytes > 0 && used + bytes > self.share_of(used, limits) {
            return Err("too many of its replies wait already");
        }
        let mut copy = Vec::new();
        if copy.try_reserve_exact(data.len()).is_err() {
            return Err("there is no memory to keep its reply in");
        }
        copy.extend_from_slice(data);
        let expires = Instant::now() + limits.deferred_reply_age_max;
        let reply = Reply { control: *control, data: copy.into(), expires };
        self.bytes += bytes;
        self.users.insert(uid, used + bytes);
        match self.queues.get_mut(name) {
            Some(queue) => queue.replies.push_back(reply),
            None => {
                let queue = Queue { uid, replies: [reply].into() };
                self.queues.insert(name.into(), queue);
                self.order.push_back(name.into());
            }
        }
        Ok(())
    }

    /// Sends the next receivers what they are ready for, and tells `expired` of what has waited too
    /// long. Returns whether any reply is off our hands.
    pub(super) fn send(
        &mut self,
        now: Instant,
        mut send: impl FnMut(&[u8], &Reply) -> Sent,
        mut expired: impl FnMut(&[u8], &Reply),
    ) -> bool {
        let before = self.bytes;
        for _ in 0..TURN_RECEIVERS.min(self.order.len()) {
            let Some(name) = self.order.pop_front() else { break };
            self.send_to(&name, now, &mut send, &mut expired);
            if self.holds(&name) {
                self.order.push_back(name);
            } else {
                self.queues.remove(&name);
            }
        }
        self.bytes < before
    }

    /// Sends the receiver `name` what it is ready for, and tells `expired` of what has waited too
    /// long.
    pub(super) fn send_to(
        &mut self,
        name: &[u8],
        now: Instant,
        mut send: impl FnMut(&[u8], &Reply) -> Sent,
        mut expired: impl FnMut(&[u8], &Reply),
    ) {
        let Some(queue) = self.queues.get_mut(name) else { return };
        let mut is_ready = true;
        let mut bytes = 0;
        while let Some(reply) = queue.replies.front() {
            is_ready = is_ready && matches!(send(name, reply), Sent::Done);
            if !is_ready {
                if reply.expires > now {
                    break;
                }
                expired(name, reply);
            }
            bytes += reply.data.len() + OVERHEAD;
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

/// Whether a send failed only for now.
pub(super) fn is_not_ready(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::ENOBUFS | libc::ENOMEM))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_user(uid: u32) -> Received {
        Received { uid: Some(uid), ..Received::default() }
    }

    #[test]
    fn the_order_of_each_receiver_is_kept_and_one_that_is_not_ready_stops_no_other() {
        let limits = Limits::default();
        let mut kept = Kept::default();
        for (name, data) in [("a", "1"), ("b", "2"), ("a", "3"), ("b", "4")] {
            let kept = kept.keep(name.as_bytes(), &of_user(7), data.as_bytes(), &limits);
            kept.expect("there is room");
        }
        let mut sent = Vec::new();
        let mut send = |name: &[u8], reply: &Reply| {
            if name == b"a" {
                return Sent::NotReady;
            }
            sent.extend_from_slice(&reply.data);
            Sent::Done
        };
        let now = Instant::now();
        assert!(kept.send(now, &mut send, |_, _| panic!("none is old")));
        assert!(!kept.send(now, send, |_, _| panic!("none is old")));
        assert_eq!(sent, b"24");
        assert!(kept.holds(b"a") && !kept.holds(b"b"));
        // One of them again, whose user was not told before.
        kept.keep(b"a", &Received::default(), b"5", &limits).expect("there is room");
        let mut expired = Vec::new();
        let later = now + limits.deferred_reply_age_max * 2;
        kept.send(later, |_, _| Sent::NotReady, |_, reply| expired.extend_from_slice(&reply.data));
        assert_eq!(expired, b"135");
        assert!(kept.is_empty() && kept.users.is_empty());
    }

    #[test]
    fn one_turn_is_bounded_and_all_have_theirs() {
        let limits = Limits::default();
        let mut kept = Kept::default();
        for name in 0..3 * TURN_RECEIVERS as u32 {
            kept.keep(&name.to_ne_bytes(), &of_user(7), b"", &limits).expect("there is room");
        }
        let mut tried: Vec<Box<[u8]>> = Vec::new();
        for turn in 1..=3 {
            kept.send(
                Instant::now(),
                |name, _| {
                    tried.push(name.into());
                    Sent::NotReady
                },
                |_, _| panic!("none is old"),
            );
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
        let mut keep = |uid, name: &str| {
            let mut count = 0;
            while kept.keep(name.as_bytes(), &of_user(uid), &[0; 100], &limits).is_ok() {
                count += 1;
            }
            count
        };
        assert_eq!([keep(1, "a"), keep(1, "b"), keep(2, "c"), keep(3, "d")], [4, 0, 2, 1]);
        assert!(kept.is_pressing(&limits));
        // A lone reply may be of any size, and takes the room of all others for as long as it waits.
        let mut kept = Kept::default();
        kept.keep(b"a", &of_user(1), &[0; 9000], &limits).expect("a lone one");
        kept.keep(b"b", &of_user(2), b"", &limits).expect_err("there is no room");
    }
}
