//! One datagram socket: each datagram goes back to its sender, whole, from where it was sent to.

mod answer;
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
use std::rc::Rc;
use std::time::Instant;

use rustix::net::RecvFlags;

use self::loops::Loops;
use self::options::Socket;
use self::patience::Patience;
use self::replies::Replies;
use self::routes::Address;
use self::run::Run;
use super::backoff::Backoff;
use super::poller::Interest;
use super::workspace::Workspace;
use crate::activation::{Family, SocketKind};
use crate::address::UnixName;
use crate::error::Result;
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
    /// What each reply of the current batch answers, and where it goes, held until it is sent.
    runs: Vec<(Run, Option<Rc<Address>>)>,
    replies: Replies,
    loops: Loops,
    /// How many receives in a row have failed.
    failures: u32,
    /// Whether only time can tell when there is something to do: the timer ends it.
    rests: bool,
    /// When to try again what could not be received or sent, or told to the poller.
    retry: Backoff,
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
            retry: Backoff::default(),
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

    /// When it has something to do again.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.retry.due()
    }

    /// Plans the next try of what could not be done, if there is anything, or if the poller
    /// `was_not_told` what is waited for.
    pub(super) fn plan(&mut self, was_not_told: bool) {
        if was_not_told || self.is_behind() || self.rests {
            self.retry.plan(Instant::now());
        } else if self.failures == 0 {
            self.retry.reset();
        }
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
        if self.is_ip() && self.is_behind() {
            // It is writable; if it takes nothing yet, it is not room in the socket that is missing.
            self.rests |= !self.send_kept(None, space);
        }
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

    /// What failed is tried again, if it is time. Returns whether it was.
    pub(super) fn on_time(&mut self, now: Instant, space: &mut Workspace<'_>) -> bool {
        let is_due = self.retry.take(now);
        if is_due {
            self.rests = false;
            if self.send_kept(None, space) {
                self.retry.has_worked();
            }
            self.consider_a_pause(space);
        }
        is_due
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
