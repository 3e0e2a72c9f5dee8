//! One datagram socket: each datagram goes back to its sender, whole, from where it was sent to.

mod answers;
mod batch_size;
mod kept;
mod loops;
mod patience;
mod routes;
mod run;
mod socket;
mod unread;
mod unsent;
mod way;

use std::io;
use std::os::fd::AsFd;
use std::time::Instant;

use rustix::net::RecvFlags;

use self::answers::Answers;
use self::batch_size::BatchSize;
use self::patience::Patience;
use self::socket::Socket;
use super::poller::{Interest, Registration};
use super::shared::ServedSocket;
use super::workspace::Workspace;
use crate::address::UnixName;
use crate::backoff::Backoff;
use crate::error::{Context, Result};
use crate::sys::message::Batch;

/// After this many failed receives in a row the socket is left alone for a while.
const FAILURES_MAX: u32 = 8;
/// How many queued errors are discarded before the others have their turn.
const ERRORS_MAX: usize = 64;

/// A datagram socket, or SCTP's one-to-many kind.
#[derive(Debug)]
pub(super) struct Datagram {
    answers: Answers,
    registration: Registration,
    batch_size: BatchSize,
    /// How many receives in a row have failed.
    failures: u32,
    /// Whether only time can tell when there is something to do: the timer ends it.
    rests: bool,
    /// When to try again what could not be received or sent, or told to the poller.
    retry: Backoff,
    patience: Patience,
    is_draining: bool,
}

impl Datagram {
    /// Prepares the socket and waits for its datagrams. To the names in `never_answered` nothing is
    /// sent.
    ///
    /// # Errors
    ///
    /// If the kernel does not tell what a safe reply needs, and those of epoll_ctl(2).
    pub(super) fn new(
        socket: ServedSocket,
        registration: Registration,
        never_answered: &[UnixName],
        space: &Workspace<'_>,
    ) -> Result<Self> {
        let mut datagram = Self {
            answers: Answers::new(Socket::prepare(socket)?, never_answered),
            registration,
            batch_size: BatchSize::default(),
            failures: 0,
            rests: false,
            retry: Backoff::default(),
            patience: Patience::default(),
            is_draining: false,
        };
        let name = space.name(datagram.answers.socket.source());
        datagram.tell(space).context(format!("serve {name}"))?;
        Ok(datagram)
    }

    /// Whether its messages can be longer than an IP packet.
    pub(super) fn has_large_messages(&self) -> bool {
        let socket = &self.answers.socket;
        !socket.is_ip() || socket.kind.r#type != socket2::Type::DGRAM
    }

    /// Whether replies are kept for receivers that are not ready.
    pub(super) fn is_behind(&self) -> bool {
        self.answers.are_kept()
    }

    /// When it has something to do again.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.retry.due()
    }

    /// Whether the network is slower than we are: the socket's own buffer is full. A unix socket
    /// keeps replies because a receiver is not ready, and only time tells when it is.
    fn waits_to_send(&self) -> bool {
        self.answers.socket.is_ip() && self.is_behind()
    }

    /// What the event loop is to wait for: it follows from what there is to do, and from nothing
    /// that was said before.
    fn interest(&self) -> Interest {
        // What waits in the socket at a shutdown is for the next one who is activated.
        if self.is_draining || self.rests || self.patience.waits() {
            Interest::Nothing
        } else if self.waits_to_send() {
            Interest::Writable
        } else {
            Interest::Readable
        }
    }

    fn tell(&mut self, space: &Workspace<'_>) -> io::Result<()> {
        let interest = self.interest();
        self.registration.tell(&space.poller, self.answers.socket.as_fd(), interest)
    }

    /// Waits for what it needs next: an event, or the next try of what could not be done.
    pub(super) fn wait(&mut self, space: &Workspace<'_>) {
        let told = self.tell(space);
        if let Err(error) = &told {
            let name = space.name(self.answers.socket.source());
            log::debug!("wait for datagrams on {name}: {error}; trying again");
        }
        if told.is_err() || self.is_behind() || self.rests {
            self.retry.plan(Instant::now());
        } else if self.failures == 0 {
            self.retry.reset();
        }
    }

    /// Receives one batch and sends the replies. `has_error` tells of `EPOLLERR`.
    pub(super) fn turn(&mut self, batch: &mut Batch, has_error: bool, space: &mut Workspace<'_>) {
        if self.waits_to_send() {
            // It is writable; if it takes nothing yet, it is not room in the socket that is missing.
            self.rests |= !self.answers.send_kept(None, space);
        }
        if self.interest() != Interest::Readable {
            return;
        }
        let asked = self.batch_size.next(batch.slots());
        match batch.receive(self.answers.socket.as_fd(), asked) {
            Ok(count) => {
                self.failures = 0;
                self.batch_size.follow(asked, count);
                self.answers.answer(batch, count, space);
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
            if self.answers.send_kept(None, space) {
                self.retry.has_worked();
            }
            self.consider_a_pause(space);
        }
        is_due
    }

    /// Closes what was not used since the last call. Returns whether anything is still open.
    pub(super) fn release_if_unused(&mut self) -> bool {
        self.answers.release_if_unused()
    }

    /// Whether anything is held open that has to be closed if it is not used.
    pub(super) fn holds_files(&self) -> bool {
        self.answers.hold_files()
    }

    /// From now on nothing is received; what is kept is still sent.
    pub(super) fn begin_to_drain(&mut self) {
        self.is_draining = true;
    }

    /// A sender that is slower in taking its replies than we are in making them is given a moment
    /// before some of them have to be dropped.
    fn consider_a_pause(&mut self, space: &Workspace<'_>) {
        let is_pressed = self.is_behind() && self.answers.are_pressing(space.limits);
        self.patience.consider(is_pressed, space.limits);
    }

    /// Empties the error queue of a socket that was handed over with one (ip(7), `IP_RECVERR`):
    /// nobody else reads it, and `EPOLLERR` stays until it is empty.
    fn discard_errors(&self) {
        let flags = RecvFlags::ERRQUEUE | RecvFlags::DONTWAIT;
        for _ in 0..ERRORS_MAX {
            if rustix::net::recv(&self.answers.socket, &mut [0_u8; 1][..], flags).is_err() {
                return;
            }
        }
    }

    fn fail(&mut self, error: &io::Error, space: &Workspace<'_>) {
        self.failures += 1;
        let name = space.name(self.answers.socket.source());
        log::debug!("recv on {name}: {error}");
        if self.failures == FAILURES_MAX {
            log::warn!("recv on {name} keeps failing: {error}; trying again twice a second");
        }
        self.rests |= self.failures >= FAILURES_MAX;
    }
}
