//! Answering a batch of datagrams: which of them have a reply, and which reply has to wait.

use std::io;
use std::os::fd::AsFd;
use std::rc::Rc;

use super::Datagram;
use super::refusal::Refusal;
use super::replies::{Outcome, Target};
use super::routes::Address;
use super::run::{Run, segments};
use crate::activation::Role;
use crate::server::peer::Peer;
use crate::server::workspace::Workspace;
use crate::sys::control;
use crate::sys::message::{Batch, ReplyTo};

impl Datagram {
    pub(super) fn answer(&mut self, batch: &mut Batch, count: usize, space: &mut Workspace<'_>) {
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
            // Those that came before go first; its sender may have read some by now.
            self.send(batch, space);
            self.send_kept(Some(batch.name(run.slot)), space);
        }
        let name = batch.name(run.slot);
        if !self.replies.are_kept_for(name) {
            let len = batch.data(run.slot).len();
            let target = self.replies.target(&self.socket, name, run.control.uid, len);
            match target {
                Ok(Target::Name(_)) => return self.add(batch, run, None),
                Ok(Target::Socket(address)) => return self.add(batch, run, Some(address)),
                Err(Outcome::Refused(refusal)) => {
                    return self.refuse(name, run.count as u64, &refusal, space);
                }
                Err(Outcome::Sent | Outcome::NotNow) => {}
            }
        }
        // Those to the same receiver that came before it go first.
        self.send(batch, space);
        self.keep(batch, run, space);
    }

    fn add(&mut self, batch: &mut Batch, run: Run, address: Option<Rc<Address>>) {
        let write = |control: &mut [u8]| control::write(control, &run.control);
        let to = match (&address, self.kind.role) {
            (Some(address), _) => ReplyTo::Name(&address.sockaddr),
            (None, Role::Connected) => ReplyTo::Peer,
            (None, _) => ReplyTo::Sender,
        };
        batch.push_reply(run.slot, run.count, to, write);
        self.runs.push((run, address));
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

    /// Sends the replies of the batch.
    fn send(&mut self, batch: &mut Batch, space: &mut Workspace<'_>) {
        let runs = std::mem::take(&mut self.runs);
        let mut first = 0;
        while let Some((run, _)) = runs.get(first) {
            // One that could not be sent makes those behind it wait.
            if self.replies.are_kept_for(batch.name(run.slot)) {
                self.replies.cancel(run.control.uid, batch.data(run.slot).len());
                self.keep(batch, *run, space);
                first += 1;
                continue;
            }
            let together = if self.is_behind() { 1 } else { runs.len() - first };
            match batch.send(self.socket.as_fd(), first, together) {
                Ok(count) => {
                    for (run, _) in &runs[first..first + count] {
                        self.trace_run(batch, *run, space);
                    }
                    first += count;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => {
                    // One of many: what is wrong with it is found out with it alone.
                    self.replies.cancel(run.control.uid, batch.data(run.slot).len());
                    self.send_one_by_one(batch, *run, space);
                    first += 1;
                }
            }
        }
        batch.clear_replies();
        self.runs = runs;
        self.runs.clear();
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

    /// Sends what was kept, for `only` one receiver or for whoever has a turn. Returns whether any of
    /// it is off our hands.
    pub(super) fn send_kept(&mut self, only: Option<&[u8]>, space: &mut Workspace<'_>) -> bool {
        let mut refused = Vec::new();
        let (source, traces) = (self.source(), space.traces());
        let socket_name = space.name(source);
        let done = |name: &[u8], len: usize, refusal: Option<&Refusal>| match refusal {
            Some(refusal) => {
                let why = refusal.to_string();
                refused.push((Box::<[u8]>::from(name), Refusal::new(refusal.is_told, why)));
            }
            None if traces => {
                let peer = Peer::from_sockaddr(name);
                log::debug!("send {len} bytes on {socket_name} to {peer}");
            }
            None => {}
        };
        let has_sent = self.replies.send_kept(&self.socket, only, space.limits, done);
        for (name, refusal) in refused {
            self.refuse(&name, 1, &refusal, space);
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
