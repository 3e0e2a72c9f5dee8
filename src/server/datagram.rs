//! One datagram socket: each datagram goes back to its sender, whole, from where it was sent to.

mod run;

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Instant;

use rustix::net::RecvFlags;

use self::run::{Run, segments};
use super::deferred::{Deferred, Later};
use super::peer::Peer;
use super::reflection;
use super::room;
use super::workspace::Workspace;
use crate::activation::{Family, Role, SocketKind};
use crate::error::{Context, Result};
use crate::sys::control::{self, PacketInfo, SOL_UDP, UDP_GRO};
use crate::sys::message::{self, Batch};
use crate::sys::option;

/// After so many failed receives in a row the socket is left alone for a while.
const FAILURES_MAX: u32 = 8;
/// How many queued errors are discarded before the others have their turn.
const ERRORS_MAX: usize = 64;

/// A datagram socket, or SCTP's one-to-many kind.
#[derive(Debug)]
pub(super) struct Datagram {
    fd: OwnedFd,
    source: u16,
    kind: SocketKind,
    /// Whether the kernel joins and splits runs of datagrams: `UDP_GRO` and `UDP_SEGMENT`.
    segments: bool,
    /// How many datagrams the next receive asks for: it follows the load.
    batch_size: usize,
    /// What each reply of the current batch answers.
    runs: Vec<Run>,
    later: Later,
    failures: u32,
    pub(super) watch: Watch,
}

/// What the event loop waits for on the socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Watch {
    Readable,
    Writable,
    /// Nothing: the timer brings it back.
    Nothing,
}

impl Datagram {
    /// Prepares the socket: packet info for one that is bound to the wildcard, and joined
    /// datagrams for UDP.
    ///
    /// # Errors
    ///
    /// If the kernel does not give packet info: replies would come from the wrong address.
    pub(super) fn new(fd: OwnedFd, source: u16, kind: SocketKind) -> Result<Self> {
        let is_udp = kind.protocol == Some(socket2::Protocol::UDP);
        if kind.is_wildcard() && kind.r#type == socket2::Type::DGRAM {
            let (level, name) = match kind.family {
                Family::Inet6 => (libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO),
                _ => (libc::IPPROTO_IP, libc::IP_PKTINFO),
            };
            option::set(fd.as_fd(), level, name, 1)
                .context("ask for the local address of each datagram")?;
        }
        // A kernel before 5.0 has none of it and serves one by one.
        let segments = is_udp && option::set(fd.as_fd(), SOL_UDP, UDP_GRO, 1).is_ok();
        Ok(Self {
            fd,
            source,
            kind,
            segments,
            batch_size: 1,
            runs: Vec::new(),
            later: Later::default(),
            failures: 0,
            watch: Watch::Readable,
        })
    }

    /// Whether its messages can be longer than an IP packet.
    pub(super) fn has_large_messages(&self) -> bool {
        !self.is_ip() || self.kind.r#type != socket2::Type::DGRAM
    }

    /// Whether replies are kept for receivers that are not ready.
    pub(super) fn is_behind(&self) -> bool {
        !self.later.is_empty()
    }

    /// Whether nothing waits to be tried again.
    pub(super) fn is_well(&self) -> bool {
        self.later.is_empty() && self.failures == 0
    }

    /// Receives one batch and sends the replies. Sets what to wait for next. `has_error` tells of
    /// `EPOLLERR`.
    pub(super) fn turn(&mut self, batch: &mut Batch, has_error: bool, space: &mut Workspace<'_>) {
        self.retry(space);
        if self.watch != Watch::Readable {
            return;
        }
        let asked = self.batch_size.min(batch.slots());
        match batch.receive(self.fd.as_fd(), asked) {
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
            Err(error) => self.fail(&error, space),
        }
    }

    /// Empties the error queue of a socket that was handed over with one (ip(7), `IP_RECVERR`):
    /// nobody else reads it, and `EPOLLERR` stays until it is empty.
    fn discard_errors(&self) {
        let flags = RecvFlags::ERRQUEUE | RecvFlags::DONTWAIT;
        for _ in 0..ERRORS_MAX {
            if rustix::net::recv(&self.fd, &mut [0_u8; 1][..], flags).is_err() {
                return;
            }
        }
    }

    fn fail(&mut self, error: &io::Error, space: &Workspace<'_>) {
        self.failures += 1;
        log::debug!("recv on {}: {error}", space.name(usize::from(self.source)));
        if self.failures >= FAILURES_MAX {
            if self.failures == FAILURES_MAX {
                let name = space.name(usize::from(self.source));
                log::warn!("recv on {name} keeps failing: {error}; trying again twice a second");
            }
            self.watch = Watch::Nothing;
        }
    }

    /// Sends the replies that were kept, as far as the receivers are ready for them. Gives whether
    /// any of them is off our hands.
    pub(super) fn retry(&mut self, space: &mut Workspace<'_>) -> bool {
        let before = self.later.len();
        if before > 0 {
            let name = space.name(usize::from(self.source));
            self.later.send(self.fd.as_fd(), name, space.limits, &mut space.statistics);
        }
        let has_sent = self.later.len() < before;
        if self.watch == Watch::Writable {
            self.watch = match has_sent {
                _ if self.later.is_empty() => Watch::Readable,
                true => Watch::Writable,
                // It is not room in the socket that is missing: only time can tell.
                false => Watch::Nothing,
            };
        }
        has_sent
    }

    /// The timer brings a socket back that failed.
    pub(super) fn revive(&mut self) {
        if self.watch == Watch::Nothing {
            self.watch = Watch::Readable;
        }
    }

    fn answer(&mut self, batch: &mut Batch, count: usize, space: &mut Workspace<'_>) {
        batch.clear_replies();
        self.runs.clear();
        let mut slot = 0;
        while slot < count {
            let run = self.run_at(batch, slot, count);
            slot += run.count;
            self.account(batch, run, space);
            if let Some(reason) = self.unanswerable(batch, run) {
                let name = space.name(usize::from(self.source));
                space.statistics.unanswered(name, run.count as u64, &reason);
                continue;
            }
            if self.later.holds(batch.name(run.slot)) {
                self.defer(batch, run, space);
                continue;
            }
            let segment_size = run.segment_size;
            batch.push_reply(run.slot, run.count, |control| {
                control::write(control, run.packet_info, segment_size)
            });
            self.runs.push(run);
        }
        self.send(batch, space);
    }

    fn is_ip(&self) -> bool {
        matches!(self.kind.family, Family::Inet | Family::Inet6)
    }

    fn unanswerable(&self, batch: &Batch, run: Run) -> Option<String> {
        let name = batch.name(run.slot);
        if batch.is_truncated(run.slot) {
            return Some("is longer than the limit".to_owned());
        }
        if name.is_empty() && self.kind.role != Role::Connected {
            return Some("came from an unnamed socket, which cannot be answered".to_owned());
        }
        if !self.is_ip() {
            return None;
        }
        reflection::refusal(name, run.packet_info, self.kind.local.as_ref())
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
        let (socket, peer) = (space.name(usize::from(self.source)), Peer::from_sockaddr(name));
        for segment in segments(data, run) {
            log::debug!("{verb} {} bytes on {socket} {preposition} {peer}", segment.len());
        }
    }

    fn send(&mut self, batch: &mut Batch, space: &mut Workspace<'_>) {
        let mut first = 0;
        while first < batch.replies() {
            match batch.send(self.fd.as_fd(), first) {
                Ok(count) => {
                    if space.traces() {
                        for run in &self.runs[first..first + count] {
                            self.trace_run(batch, *run, space);
                        }
                    }
                    first += count;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => {
                    // One of many: what is wrong with it is found out with it alone.
                    let run = self.runs[first];
                    self.send_one_by_one(batch, run, space);
                    first += 1;
                }
            }
        }
        if !self.later.is_empty() && self.is_ip() {
            // The socket's own buffer is full: the network is slower than we are.
            self.watch = Watch::Writable;
        }
    }

    fn trace_run(&self, batch: &Batch, run: Run, space: &Workspace<'_>) {
        for slot in run.slot..run.slot + run.count {
            self.trace("send", "to", batch.name(slot), batch.data(slot), run, space);
        }
    }

    fn send_one_by_one(&mut self, batch: &Batch, run: Run, space: &mut Workspace<'_>) {
        for slot in run.slot..run.slot + run.count {
            for data in segments(batch.data(slot), run) {
                let reply = Deferred::new(batch.name(slot), run.packet_info, data);
                let name = space.name(usize::from(self.source));
                self.later.send_or_keep(
                    self.fd.as_fd(),
                    reply,
                    name,
                    space.limits,
                    &mut space.statistics,
                );
            }
        }
    }

    fn defer(&mut self, batch: &Batch, run: Run, space: &mut Workspace<'_>) {
        let now = Instant::now();
        for slot in run.slot..run.slot + run.count {
            for data in segments(batch.data(slot), run) {
                let reply = Deferred::new(batch.name(slot), run.packet_info, data);
                let name = space.name(usize::from(self.source));
                self.later.keep(reply, now, name, space.limits, &mut space.statistics);
            }
        }
    }

    /// Gives the socket back as it was found: `UDP_GRO` outlives this process on the service
    /// manager's duplicate, and the next one to read from it may not expect joined datagrams.
    pub(super) fn release(&self) {
        if self.segments {
            // It was set before, so it can be unset; if not, there is nobody left to tell.
            let _ = option::set(self.fd.as_fd(), SOL_UDP, UDP_GRO, 0);
        }
    }
}

/// Twice as many when the last receive was filled, half when it was mostly empty: a lone request
/// costs no look for a second one.
fn next_batch_size(asked: usize, received: usize, slots: usize) -> usize {
    if received == asked {
        (asked * 2).min(slots)
    } else if received * 2 < asked {
        (asked / 2).max(1)
    } else {
        asked
    }
}

/// Sends one reply. A pending error of an earlier reply, which the kernel reports here, is no
/// reason not to send this one.
pub(super) fn send_reply(
    fd: BorrowedFd<'_>,
    name: &[u8],
    info: Option<PacketInfo>,
    data: &[u8],
) -> io::Result<()> {
    let mut buffer = [0; control::REPLY_CONTROL_MAX];
    let len = control::write(&mut buffer, info, None);
    let send = |control| message::send(fd, name, control, data);
    let Err(error) = send(&buffer[..len]) else { return Ok(()) };
    match error.raw_os_error() {
        Some(libc::ECONNREFUSED) => send(&buffer[..len]),
        Some(libc::EMSGSIZE) if room::make(fd, data.len()) => send(&buffer[..len]),
        // It was sent to an address that is not one host's, a broadcast or a group, and the kernel
        // did not say which of ours that means: not to a socket of IPv6 if the sender uses IPv4,
        // and not to one that had not asked for it yet. Then the route decides.
        Some(libc::EINVAL | libc::ENETUNREACH) if info.is_some() => send(&[]),
        _ => Err(error),
    }
}

impl AsFd for Datagram {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
