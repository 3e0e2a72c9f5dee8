//! Replies that their receivers were not ready for: kept for a while, in order, and not forever.

use std::collections::VecDeque;
use std::io;
use std::os::fd::BorrowedFd;
use std::time::Instant;

use super::Statistics;
use super::datagram::send_reply;
use super::limits::Limits;
use super::peer::Peer;
use crate::sys::control::PacketInfo;

/// A reply with all that it takes to send it.
#[derive(Debug)]
pub(super) struct Deferred {
    name: Box<[u8]>,
    packet_info: Option<PacketInfo>,
    data: Box<[u8]>,
    expires: Option<Instant>,
}

/// The replies of one socket that wait, the oldest first.
#[derive(Debug, Default)]
pub(super) struct Later(VecDeque<Deferred>);

impl Deferred {
    pub(super) fn new(name: &[u8], packet_info: Option<PacketInfo>, data: &[u8]) -> Self {
        Self { name: name.into(), packet_info, data: data.into(), expires: None }
    }
}

impl Later {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether a reply to `name` waits, so that the next one has to wait behind it.
    pub(super) fn holds(&self, name: &[u8]) -> bool {
        self.0.iter().any(|reply| *reply.name == *name)
    }

    /// Sends a reply now, or keeps it if its receiver is not ready.
    pub(super) fn send_or_keep(
        &mut self,
        fd: BorrowedFd<'_>,
        reply: Deferred,
        socket: &str,
        limits: &Limits,
        statistics: &mut Statistics,
    ) {
        if self.holds(&reply.name) {
            return self.keep(reply, Instant::now(), socket, limits, statistics);
        }
        match send_reply(fd, &reply.name, reply.packet_info, &reply.data) {
            Ok(()) => {}
            Err(error) if is_not_ready(&error) => {
                self.keep(reply, Instant::now(), socket, limits, statistics);
            }
            Err(error) => drop_reply(&reply, &error.to_string(), socket, statistics),
        }
    }

    /// Keeps a reply for later.
    pub(super) fn keep(
        &mut self,
        mut reply: Deferred,
        now: Instant,
        socket: &str,
        limits: &Limits,
        statistics: &mut Statistics,
    ) {
        if self.0.len() >= limits.deferred_replies_max {
            return drop_reply(&reply, "too many replies wait already", socket, statistics);
        }
        reply.expires = Some(now + limits.deferred_reply_age_max);
        self.0.push_back(reply);
    }

    /// Sends what can be sent, and gives up on what has waited too long.
    pub(super) fn send(
        &mut self,
        fd: BorrowedFd<'_>,
        socket: &str,
        limits: &Limits,
        statistics: &mut Statistics,
    ) {
        let now = Instant::now();
        let mut waiting = Self::default();
        for reply in std::mem::take(&mut self.0) {
            if waiting.holds(&reply.name) {
                waiting.keep_or_expire(reply, now, socket, limits, statistics);
                continue;
            }
            match send_reply(fd, &reply.name, reply.packet_info, &reply.data) {
                Ok(()) => {}
                Err(error) if is_not_ready(&error) => {
                    waiting.keep_or_expire(reply, now, socket, limits, statistics);
                }
                Err(error) => drop_reply(&reply, &error.to_string(), socket, statistics),
            }
        }
        *self = waiting;
    }

    fn keep_or_expire(
        &mut self,
        reply: Deferred,
        now: Instant,
        socket: &str,
        limits: &Limits,
        statistics: &mut Statistics,
    ) {
        if reply.expires.is_some_and(|expires| expires <= now) {
            let reason = format!("nobody took it within {:?}", limits.deferred_reply_age_max);
            drop_reply(&reply, &reason, socket, statistics);
        } else {
            self.0.push_back(reply);
        }
    }
}

fn is_not_ready(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::ENOBUFS | libc::ENOMEM))
}

fn drop_reply(reply: &Deferred, reason: &str, socket: &str, statistics: &mut Statistics) {
    let (len, peer) = (reply.data.len(), Peer::from_sockaddr(&reply.name));
    let what = format!("reply of {len} bytes to {peer}: {reason}");
    statistics.unanswered(socket, 1, &what);
}
