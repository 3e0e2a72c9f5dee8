//! Answers batches of datagrams: which ones get a reply, and which replies have to wait.

use std::io;
use std::os::fd::AsFd;
use std::time::Instant;

use super::encoding::{self, Stored};
use super::kept::{Due, Kept};
use super::loops::Loops;
use super::run::{Reply, Run};
use super::socket::Socket;
use super::unsent::{Refusal, Unsent};
use super::way::{Target, Way};
use crate::activation::InheritedSocket;
use crate::address::UnixName;
use crate::server::limits::Limits;
use crate::server::workspace::Workspace;
use crate::sys::control;
use crate::sys::message::{Batch, ReplyTo};

/// Answers the datagrams of one socket.
#[derive(Debug)]
pub(super) struct Answers {
    pub(super) socket: Socket,
    way: Way,
    kept: Kept,
    loops: Loops,
    /// The runs of the current batch, each with the target of its reply, until the replies are
    /// sent.
    runs: Vec<(Run, Target)>,
}

impl Answers {
    pub(super) fn new(socket: Socket, never_answered: &[UnixName]) -> Self {
        Self {
            way: Way::new(&socket, never_answered),
            loops: Loops::new(&socket),
            kept: Kept::default(),
            runs: Vec::new(),
            socket,
        }
    }

    /// The kept replies, encoded, and their socket with the options that it had.
    ///
    /// # Errors
    ///
    /// There is no memory for them, and those of [`Socket::release`].
    pub(super) fn release(self, space: &Workspace<'_>) -> io::Result<(Vec<u8>, InheritedSocket)> {
        let replies = self.kept.replies();
        let stored = |Reply { name, control, data }| Stored { name, control: *control, data };
        let bytes = encoding::encode(replies.map(stored)).map_err(io::Error::other)?;
        Ok((bytes, self.socket.release(space)?))
    }

    /// Takes encoded replies. They wait as if they had just been kept.
    pub(super) fn take_over(&mut self, replies: &[u8], space: &mut Workspace<'_>) {
        let Some(replies) = encoding::decode(replies) else {
            let name = space.name(self.socket.source());
            return log::warn!("{name}: its kept replies are of another version, and are dropped");
        };
        for Stored { name, control, data } in replies {
            let reply = Reply { name, control: &control, data };
            if let Err(why) = self.kept.add(reply, space.limits) {
                self.socket.refuse(name, 1, &Refusal::new(true, why), space);
            }
        }
    }

    /// Whether replies are kept for receivers that are not ready.
    pub(super) fn are_kept(&self) -> bool {
        !self.kept.is_empty()
    }

    /// Whether a user has so many waiting replies that more may have to be dropped.
    pub(super) fn are_pressing(&self, limits: &Limits) -> bool {
        self.kept.is_pressing(limits)
    }

    /// Closes descriptors that were not used since the last call. Returns whether any is still
    /// open.
    pub(super) fn release_if_unused(&mut self) -> bool {
        self.way.release_if_unused()
    }

    /// Whether descriptors are cached that must be closed when they are not used.
    pub(super) fn hold_files(&self) -> bool {
        self.way.holds_files()
    }

    /// Answers the `count` datagrams that `batch` has received.
    pub(super) fn answer(&mut self, batch: &mut Batch, count: usize, space: &mut Workspace<'_>) {
        let mut slot = 0;
        while slot < count {
            let mut run = Run::at(batch, slot, count, self.socket.has_segments);
            slot += run.count;
            let datagrams = run.datagrams(batch);
            space.statistics.messages += datagrams as u64;
            space.statistics.bytes += run.bytes(batch) as u64;
            self.trace(false, &run, batch, space);
            match self.refusal(batch, &mut run, datagrams) {
                Some(refusal) => {
                    self.socket.refuse(batch.name(run.slot), datagrams, &refusal, space);
                }
                None => self.prepare(batch, run, space),
            }
        }
        self.send(batch, space);
    }

    /// Why the datagrams of the run are not answered; `None` if they are. Then it sets the hop
    /// limit of the reply.
    pub(super) fn refusal(
        &mut self,
        batch: &Batch,
        run: &mut Run,
        datagrams: usize,
    ) -> Option<Refusal> {
        if batch.is_truncated(run.slot) {
            return Some(Refusal::new(true, "it is longer than the limit"));
        }
        if batch.name(run.slot).is_empty() && !self.socket.is_connected() {
            let why = "its sender's socket has no name, and cannot be answered";
            return Some(Refusal::new(false, why));
        }
        if !self.socket.is_ip() {
            return None;
        }
        match self.loops.reply_hops(run.control.hop_limit) {
            Ok(hops) => run.control.hop_limit = hops,
            Err(refusal) => return Some(refusal),
        }
        let first = Reply { data: run.first(batch), ..whole(batch, run) };
        self.loops.refusal(first, datagrams as u32)
    }

    /// Adds the reply to those that one call sends, unless it has to wait.
    fn prepare(&mut self, batch: &mut Batch, run: Run, space: &mut Workspace<'_>) {
        if self.kept.holds(batch.name(run.slot)) {
            // Earlier replies go first; the sender may have read some by now.
            self.send(batch, space);
            self.send_kept(Some(batch.name(run.slot)), space);
        }
        if !self.kept.holds(batch.name(run.slot)) {
            match self.way.target(&self.socket, whole(batch, &run)) {
                Ok(target) => return self.push(batch, run, target),
                Err(Unsent::Refused(refusal)) => {
                    let count = run.datagrams(batch);
                    return self.socket.refuse(batch.name(run.slot), count, &refusal, space);
                }
                Err(Unsent::NotNow) => {}
            }
        }
        // Earlier replies to the same receiver go first.
        self.send(batch, space);
        for reply in run.replies(batch) {
            self.keep(reply, space);
        }
    }

    fn push(&mut self, batch: &mut Batch, run: Run, target: Target) {
        let write = |control: &mut [u8]| control::write(control, &run.control);
        let to = match &target {
            Target::Peer => ReplyTo::Peer,
            Target::Sender => ReplyTo::Sender,
            Target::Socket(address) => ReplyTo::Name(&address.sockaddr),
        };
        batch.push_reply(run.slot, run.count, to, write);
        self.runs.push((run, target));
    }

    /// Sends the replies of the batch.
    fn send(&mut self, batch: &mut Batch, space: &mut Workspace<'_>) {
        let mut runs = std::mem::take(&mut self.runs);
        let mut first = 0;
        while let Some((run, _)) = runs.get(first) {
            // A reply that could not be sent makes later ones to the same receiver wait.
            let waits = self.kept.holds(batch.name(run.slot));
            let together = if self.are_kept() { 1 } else { runs.len() - first };
            let sent = match waits {
                true => Ok(0),
                false => batch.send(self.socket.as_fd(), first, together),
            };
            match sent {
                Ok(count) if count > 0 => {
                    for (run, _) in &runs[first..first + count] {
                        self.trace(true, run, batch, space);
                    }
                    first += count;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // One of many failed. Sent alone, it shows its error.
                Ok(_) | Err(_) => {
                    self.way.cancel(whole(batch, run));
                    run.replies(batch).for_each(|reply| self.send_or_keep(reply, space));
                    first += 1;
                }
            }
        }
        batch.clear_replies();
        runs.clear();
        self.runs = runs;
    }

    pub(super) fn trace(&self, is_sent: bool, run: &Run, batch: &Batch, space: &Workspace<'_>) {
        if space.traces() {
            run.replies(batch).for_each(|reply| self.socket.trace(is_sent, reply, space));
        }
    }

    pub(super) fn send_or_keep(&mut self, reply: Reply<'_>, space: &mut Workspace<'_>) {
        if self.kept.holds(reply.name) || !send(&mut self.way, &self.socket, reply, space) {
            self.keep(reply, space);
        }
    }

    fn keep(&mut self, reply: Reply<'_>, space: &mut Workspace<'_>) {
        if let Err(why) = self.kept.keep(reply, space.limits) {
            self.socket.refuse(reply.name, 1, &Refusal::new(true, why), space);
        }
    }

    /// Sends kept replies, to the receiver `only` or to those whose turn it is. Returns whether any
    /// was sent or refused.
    pub(super) fn send_kept(&mut self, only: Option<&[u8]>, space: &mut Workspace<'_>) -> bool {
        if self.kept.is_empty() {
            return false;
        }
        let Self { socket, way, kept, .. } = self;
        kept.send(only, Instant::now(), |due, reply| match due {
            Due::Send => send(way, socket, reply, space),
            Due::Drop => {
                let age = space.limits.deferred_reply_age_max;
                let why = format!("its sender has read nothing for {age:?}");
                socket.refuse(reply.name, 1, &Refusal::new(true, why), space);
                true
            }
        })
    }
}

/// The run as one reply, because all its datagrams have the same receiver.
fn whole<'a>(batch: &'a Batch, run: &'a Run) -> Reply<'a> {
    Reply { name: batch.name(run.slot), control: &run.control, data: batch.data(run.slot) }
}

/// Sends a reply. Returns `false` if it has to wait, and `true` if it was sent or refused.
fn send(way: &mut Way, socket: &Socket, reply: Reply<'_>, space: &mut Workspace<'_>) -> bool {
    match way.send(socket, reply) {
        Ok(()) => socket.trace(true, reply, space),
        Err(Unsent::NotNow) => return false,
        Err(Unsent::Refused(refusal)) => socket.refuse(reply.name, 1, &refusal, space),
    }
    true
}
