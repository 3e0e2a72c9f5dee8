//! One datagram socket: each datagram goes back to its sender, whole, from where it was sent to.

mod kept;
mod loops;
mod options;
mod patience;
mod refusal;
mod replies;
mod routes;
mod run;
mod unread;

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::RecvFlags;

use self::loops::Loops;
use self::options::Socket;
use self::patience::Patience;
use self::refusal::Refusal;
use self::replies::{Outcome, Replies};
use self::run::{Run, segments};
use super::peer::Peer;
use super::poller::Interest;
use super::workspace::Workspace;
use crate::activation::{Family, Role, SocketKind};
use crate::address::UnixName;
use crate::error::Result;
use crate::sys::control;
use crate::sys::message::Batch;

/// After so many failed receives in a row the socket is left alone for a while.
const FAILURES_MAX: u32 = 8;
/// How many queued errors are discarded before the others have their turn.
const ERRORS_MAX: usize = 64;

/// A datagram socket, or SCTP's one-to-many kind.
#[derive(Debug)]
pub(super) struct Datagram {
    socket: Socket,
    source: u16,
    kind: SocketKind,
    /// How many datagrams the next receive asks for: it follows the load.
    batch_size: usize,
    /// What each reply of the current batch answers.
    runs: Vec<Run>,
    replies: Replies,
    loops: Loops,
    /// How many receives in a row have failed.
    failures: u32,
    /// Whether only time can tell when there is something to do: the timer ends it.
    rests: bool,
    patience: Patience,
    is_draining: bool,
    /// Whether the log has it that there are datagrams that are not answered.
    has_told: bool,
}

impl Datagram {
    /// Prepares the socket. To the names in `never_answered` nothing is sent.
    ///
    /// # Errors
    ///
    /// If the kernel does not tell what a safe reply needs.
    pub(super) fn new(
        fd: OwnedFd,
        source: u16,
        kind: SocketKind,
        never_answered: &[UnixName],
    ) -> Result<Self> {
        Ok(Self {
            loops: Loops::new(fd.as_fd(), &kind),
            replies: Replies::new(&kind, never_answered),
            socket: Socket::prepare(fd, &kind)?,
            source,
            kind,
            batch_size: 1,
            runs: Vec::new(),
            failures: 0,
            rests: false,
            patience: Patience::default(),
            is_draining: false,
            has_told: false,
        })
    }

    pub(super) fn source(&self) -> usize {
        usize::from(self.source)
    }

    /// Whether its messages can be longer than an IP packet.
    pub(super) fn has_large_messages(&self) -> bool {
        !self.is_ip() || self.kind.r#type != socket2::Type::DGRAM
    }

    fn is_ip(&self) -> bool {
        matches!(self.kind.family, Family::Inet | Family::Inet6)
    }

    /// Whether replies are kept for receivers that are not ready.
    pub(super) fn is_behind(&self) -> bool {
        self.replies.are_kept()
    }

    /// Whether the timer has something to do here.
    pub(super) fn needs_time(&self) -> bool {
        self.is_behind() || self.rests
    }

    /// What the event loop is to wait for: it follows from what there is to do, and from nothing
    /// that was said before.
    pub(super) fn interest(&self) -> Interest {
        // What waits in the socket at a shutdown is for the next one who is activated.
        if self.is_draining || self.rests || self.patience.waits() {
            return Interest::Nothing;
        }
        // The socket's own buffer is full: the network is slower than we are. A unix socket keeps
        // replies because a receiver is not ready, and only time tells when it is.
        if self.is_ip() && self.is_behind() { Interest::Writable } else { Interest::Readable }
    }

    /// Receives one batch and sends the replies. `has_error` tells of `EPOLLERR`.
    pub(super) fn turn(&mut self, batch: &mut Batch, has_error: bool, space: &mut Workspace<'_>) {
        let was_behind = self.is_behind();
        let has_sent = self.send_kept(space);
        // It is writable, and yet takes nothing: it is not room in the socket that is missing.
        self.rests |= self.is_ip() && was_behind && !has_sent;
        if self.interest() != Interest::Readable {
            return;
        }
        let asked = self.batch_size.min(batch.slots());
        match batch.receive(self.socket.as_fd(), asked) {
            Ok(count) => {
                self.failures = 0;
                self.batch_size = next_batch_size(asked, count, batch.slots());
                self.answer(batch, count, space);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.failures = 0;
                if has_error {
                    self.discard_errors();
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => self.fail(&error, space),
        }
        self.consider_a_pause(space);
    }

    /// The timer's turn: what failed is tried again. Returns whether anything came of it.
    pub(super) fn on_time(&mut self, space: &mut Workspace<'_>) -> bool {
        self.rests = false;
        let has_sent = self.send_kept(space);
        self.consider_a_pause(space);
        has_sent
    }

    /// Lets go of what was not used since the last call. Returns whether anything is held.
    pub(super) fn release_if_unused(&mut self) -> bool {
        self.replies.release_if_unused()
    }

    /// Whether anything is held that has to be let go of some time.
    pub(super) fn holds_something(&self) -> bool {
        self.replies.hold_something()
    }

    /// From now on nothing is received; what is kept is still sent.
    pub(super) fn begin_to_drain(&mut self) {
        self.is_draining = true;
    }

    /// A sender that is slower in taking its replies than we are in making them is given a moment
    /// before some of them have to be dropped.
    fn consider_a_pause(&mut self, space: &Workspace<'_>) {
        let is_pressed = self.is_behind() && self.replies.are_pressing(space.limits);
        self.patience.consider(is_pressed, space.limits);
    }

    /// Empties the error queue of a socket that was handed over with one (ip(7), `IP_RECVERR`):
    /// nobody else reads it, and `EPOLLERR` stays until it is empty.
    fn discard_errors(&self) {
        let flags = RecvFlags::ERRQUEUE | RecvFlags::DONTWAIT;
        for _ in 0..ERRORS_MAX {
            if rustix::net::recv(&self.socket, &mut [0_u8; 1][..], flags).is_err() {
                return;
            }
        }
    }

    fn fail(&mut self, error: &io::Error, space: &Workspace<'_>) {
        self.failures += 1;
        log::debug!("recv on {}: {error}", space.name(self.source()));
        if self.failures >= FAILURES_MAX {
            if self.failures == FAILURES_MAX {
                let name = space.name(self.source());
                log::warn!("recv on {name} keeps failing: {error}; trying again twice a second");
            }
            self.rests = true;
        }
    }

    fn answer(&mut self, batch: &mut Batch, count: usize, space: &mut Workspace<'_>) {
        batch.clear_replies();
        self.runs.clear();
        let mut slot = 0;
        while slot < count {
            let mut run = self.run_at(batch, slot, count);
            slot += run.count;
            self.account(batch, run, space);
            match self.unanswerable(batch, &mut run) {
                Some(refusal) => {
                    self.refuse(batch.name(run.slot), run.count as u64, &refusal, space);
                }
                None => self.prepare(batch, run, space),
            }
        }
        self.send(batch, space);
    }

    /// Puts the reply among those that are sent with one call, if nothing is in the way.
    fn prepare(&mut self, batch: &mut Batch, run: Run, space: &mut Workspace<'_>) {
        let name = batch.name(run.slot);
        if self.replies.are_kept_for(name) {
            return self.keep(batch, run, space);
        }
        let len = batch.data(run.slot).len();
        match self.replies.address(&self.socket, name, run.control.uid, len) {
            Ok(address) => {
                let write = |control: &mut [u8]| control::write(control, &run.control);
                batch.push_reply(run.slot, run.count, &address, write);
                self.runs.push(run);
            }
            Err(Outcome::Refused(refusal)) => {
                self.refuse(name, run.count as u64, &refusal, space);
            }
            Err(Outcome::Sent | Outcome::NotNow) => self.keep(batch, run, space),
        }
    }

    /// Why the datagrams of the run are not answered; `None` if they are, and then it says with how
    /// many hops.
    fn unanswerable(&mut self, batch: &Batch, run: &mut Run) -> Option<Refusal> {
        let name = batch.name(run.slot);
        if batch.is_truncated(run.slot) {
            return Some(Refusal::new(true, "it is longer than the limit"));
        }
        if name.is_empty() && self.kind.role != Role::Connected {
            let why = "it came from an unnamed socket, which cannot be answered";
            return Some(Refusal::new(false, why));
        }
        if !self.is_ip() {
            return None;
        }
        match self.loops.reply_hops(run.control.hop_limit) {
            Ok(hops) => run.control.hop_limit = hops,
            Err(refusal) => return Some(refusal),
        }
        let data = batch.data(run.slot);
        let datagrams = segments(data, *run).count() * run.count;
        let first = segments(data, *run).next().unwrap_or_default();
        self.loops.refusal(name, &run.control, first, datagrams as u32)
    }

    fn account(&self, batch: &Batch, run: Run, space: &mut Workspace<'_>) {
        for slot in run.slot..run.slot + run.count {
            let data = batch.data(slot);
            space.statistics.bytes += data.len() as u64;
            space.statistics.messages += segments(data, run).count() as u64;
            if space.traces() {
                self.trace("recv", "from", batch.name(slot), data, run, space);
            }
        }
    }

    fn trace(
        &self,
        verb: &str,
        preposition: &str,
        name: &[u8],
        data: &[u8],
        run: Run,
        space: &Workspace<'_>,
    ) {
        for segment in segments(data, run) {
            self.trace_one(&format!("{verb} {} bytes", segment.len()), preposition, name, space);
        }
    }

    fn trace_one(&self, what: &str, preposition: &str, name: &[u8], space: &Workspace<'_>) {
        if space.traces() {
            let (socket, peer) = (space.name(self.source()), Peer::from_sockaddr(name));
            log::debug!("{what} on {socket} {preposition} {peer}");
        }
    }

    fn send(&mut self, batch: &mut Batch, space: &mut Workspace<'_>) {
        let mut first = 0;
        while first < batch.replies() {
            let run = self.runs[first];
            // One that was not sent makes those behind it wait.
            let sent = if self.is_behind() && self.replies.are_kept_for(batch.name(run.slot)) {
                self.keep(batch, run, space);
                first += 1;
                continue;
            } else {
                batch.send(self.socket.as_fd(), first, self.sendable(batch, first))
            };
            match sent {
                Ok(count) => {
                    for &run in &self.runs[first..first + count] {
                        self.trace_run(batch, run, space);
                    }
                    first += count;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => {
                    // One of many: what is wrong with it is found out with it alone.
                    self.send_one_by_one(batch, run, space);
                    first += 1;
                }
            }
        }
    }

    /// How many replies from `first` on can go with one call: all of them, unless something waits.
    fn sendable(&self, batch: &Batch, first: usize) -> usize {
        if self.is_behind() { 1 } else { batch.replies() - first }
    }

    fn trace_run(&self, batch: &Batch, run: Run, space: &Workspace<'_>) {
        for slot in run.slot..run.slot + run.count {
            if space.traces() {
                self.trace("send", "to", batch.name(slot), batch.data(slot), run, space);
            }
        }
    }

    fn send_one_by_one(&mut self, batch: &Batch, run: Run, space: &mut Workspace<'_>) {
        for slot in run.slot..run.slot + run.count {
            let name = batch.name(slot);
            for data in segments(batch.data(slot), run) {
                if self.replies.are_kept_for(name) {
                    self.keep_one(name, run, data, space);
                    continue;
                }
                match self.replies.send(&self.socket, name, &run.control, data) {
                    Outcome::Sent => {
                        self.trace_one(&format!("send {} bytes", data.len()), "to", name, space);
                    }
                    Outcome::NotNow => self.keep_one(name, run, data, space),
                    Outcome::Refused(refusal) => self.refuse(name, 1, &refusal, space),
                }
            }
        }
    }

    fn keep(&mut self, batch: &Batch, run: Run, space: &mut Workspace<'_>) {
        for slot in run.slot..run.slot + run.count {
            for data in segments(batch.data(slot), run) {
                self.keep_one(batch.name(slot), run, data, space);
            }
        }
    }

    fn keep_one(&mut self, name: &[u8], run: Run, data: &[u8], space: &mut Workspace<'_>) {
        if let Err(refusal) = self.replies.keep(name, &run.control, data, space.limits) {
            self.refuse(name, 1, &refusal, space);
        }
    }

    /// Sends what was kept. Returns whether any of it is off our hands.
    fn send_kept(&mut self, space: &mut Workspace<'_>) -> bool {
        let mut refused = Vec::new();
        let (source, traces) = (self.source(), space.traces());
        let socket_name = space.name(source);
        let has_sent =
            self.replies.send_kept(
                &self.socket,
                space.limits,
                |name, len, refusal| match refusal {
                    Some(refusal) => refused.push((Peer::from_sockaddr(name), refusal.to_string())),
                    None if traces => {
                        let peer = Peer::from_sockaddr(name);
                        log::debug!("send {len} bytes on {socket_name} to {peer}");
                    }
                    None => {}
                },
            );
        for (peer, why) in refused {
            self.tell_once(&peer, &why, space);
            space.unanswered(source, 1, format_args!("datagram from {peer}: {why}"));
        }
        has_sent
    }

    fn refuse(&mut self, name: &[u8], count: u64, refusal: &Refusal, space: &mut Workspace<'_>) {
        let peer = Peer::from_sockaddr(name);
        if refusal.is_told {
            self.tell_once(&peer, refusal, space);
        }
        space.unanswered(self.source(), count, format_args!("datagram from {peer}: {refusal}"));
    }

    fn tell_once(&mut self, peer: &Peer, why: impl std::fmt::Display, space: &Workspace<'_>) {
        if !std::mem::replace(&mut self.has_told, true) {
            let socket = space.name(self.source());
            log::warn!(
                "a datagram from {peer} on {socket} is not answered: {why} (said once; --debug \
                 tells of each)"
            );
        }
    }
}

/// Twice as many when the last receive was filled, half when it was mostly empty.
fn next_batch_size(asked: usize, received: usize, slots: usize) -> usize {
    if received == asked {
        (asked * 2).min(slots)
    } else if received * 2 < asked {
        (asked / 2).max(1)
    } else {
        asked
    }
}

impl AsFd for Datagram {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
