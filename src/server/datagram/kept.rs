//! Replies that their receivers were not ready for: kept for a while, in order, and not for ever.
//!
//! What one user's clients leave unread must not take the room of the others', so a user may have
//! at most half of what nobody else has.

use std::collections::VecDeque;
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
    name: Box<[u8]>,
    uid: Option<u32>,
    replies: VecDeque<Reply>,
    bytes: usize,
}

/// The replies of one socket that wait.
#[derive(Debug, Default)]
pub(super) struct Kept {
    queues: Vec<Queue>,
    bytes: usize,
}

/// What came of sending a kept reply.
pub(super) enum Sent {
    /// It is off our hands: the kernel has it, or it can never be sent.
    Done,
    /// Its receiver is still not ready.
    NotReady,
}

impl Kept {
    pub(super) fn is_empty(&self) -> bool {
        self.queues.is_empty()
    }

    /// Whether a reply to `name` waits, so that the next one has to wait behind it.
    pub(super) fn holds(&self, name: &[u8]) -> bool {
        self.queues.iter().any(|queue| *queue.name == *name)
    }

    /// Whether somebody's share is nearly used up: more may have to be dropped.
    pub(super) fn is_pressing(&self, limits: &Limits) -> bool {
        self.queues.iter().any(|queue| {
            let used = self.bytes_of(queue.uid);
            used > self.share_of(used, limits) / 4 * 3
        })
    }

    fn bytes_of(&self, uid: Option<u32>) -> usize {
        self.queues.iter().filter(|queue| queue.uid == uid).map(|queue| queue.bytes).sum()
    }

    /// What a user may have who has `used` of it.
    fn share_of(&self, used: usize, limits: &Limits) -> usize {
        limits.deferred_bytes_max.saturating_sub(self.bytes - used) / 2
    }

    /// Keeps a reply of the user `uid` for the receiver `name`.
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
        let used = self.bytes_of(control.uid);
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
        match self.queues.iter_mut().find(|queue| *queue.name == *name) {
            Some(queue) => {
                queue.bytes += bytes;
                queue.replies.push_back(reply);
            }
            None => self.queues.push(Queue {
                name: name.into(),
                uid: control.uid,
                replies: [reply].into(),
                bytes,
            }),
        }
        Ok(())
    }

    /// Sends each receiver what it is ready for. Tells `expired` of those that have waited too
    /// long. Returns whether any reply is off our hands.
    pub(super) fn send(
        &mut self,
        now: Instant,
        mut send: impl FnMut(&[u8], &Reply) -> Sent,
        mut expired: impl FnMut(&[u8], &Reply),
    ) -> bool {
        let before = self.bytes;
        for queue in &mut self.queues {
            let mut is_ready = true;
            while let Some(reply) = queue.replies.front() {
                is_ready = is_ready && matches!(send(&queue.name, reply), Sent::Done);
                if !is_ready {
                    if reply.expires > now {
                        break;
                    }
                    expired(&queue.name, reply);
                }
                let bytes = reply.data.len() + OVERHEAD;
                queue.bytes -= bytes;
                self.bytes -= bytes;
                queue.replies.pop_front();
            }
        }
        self.queues.retain(|queue| !queue.replies.is_empty());
        self.bytes < before
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
        let mut expired = Vec::new();
        let later = now + limits.deferred_reply_age_max * 2;
        kept.send(later, |_, _| Sent::NotReady, |_, reply| expired.extend_from_slice(&reply.data));
        assert_eq!(expired, b"13");
        assert!(kept.is_empty() && kept.bytes == 0);
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
