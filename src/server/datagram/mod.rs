//! One datagram socket. Each datagram is echoed whole to its sender, from the address that it was
//! sent to.

mod answers;
mod asked;
mod batch_size;
mod encoding;
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
use super::kept::{KeptReplies, inode};
use super::permits::Activity;
use super::poller::{Interest, Registration};
use super::shared::ServedSocket;
use super::workspace::Workspace;
use crate::activation::InheritedSocket;
use crate::address::UnixName;
use crate::backoff::Backoff;
use crate::error::{Context, Result};
use crate::sys::message::Batch;

/// After this many failed receives in a row, the socket pauses.
const FAILURES_MAX: u32 = 8;
/// How many queued errors are discarded in one turn.
const ERRORS_MAX: usize = 64;

/// A datagram socket, or SCTP's one-to-many kind.
#[derive(Debug)]
pub(super) struct Datagram {
    answers: Answers,
    registration: Registration,
    batch_size: BatchSize,
    /// How many receives in a row have failed.
    failures: u32,
    /// Whether the socket waits only for a time.
    rests: bool,
    /// When to retry what could not be received, sent or registered.
    retry: Backoff,
    patience: Patience,
    is_draining: bool,
    /// In a server that ends when it is idle: while the socket has its turn, and while replies are
    /// kept, the server is not idle.
    activity: Option<Activity>,
}

impl Datagram {
    /// Prepares the socket and registers it. It never answers the names in `never_answered`.
    ///
    /// # Errors
    ///
    /// The kernel does not report what a safe reply needs; and those of epoll_ctl(2).
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
            activity: None,
        };
        let name = space.name(datagram.answers.socket.source());
        datagram.tell(space).context(format!("serve {name}"))?;
        Ok(datagram)
    }

    /// Whether its socket has this inode number.
    pub(super) fn is_inode(&self, number: u64) -> bool {
        inode(&self.answers.socket).is_ok_and(|inode| inode == number)
    }

    /// Takes replies that an earlier run has kept.
    pub(super) fn take_over(&mut self, replies: &[u8], space: &mut Workspace<'_>) {
        self.may_receive(space);
        self.answers.take_over(replies, space);
    }

    /// The kept replies, and the socket with the options that it had. `None` if they cannot be
    /// kept: they are then dropped.
    pub(super) fn keep(self, space: &Workspace<'_>) -> Option<(KeptReplies, InheritedSocket)> {
        let name = space.name(self.answers.socket.source());
        let kept = inode(&self.answers.socket).and_then(|inode| {
            let (bytes, socket) = self.answers.release(space)?;
            Ok((KeptReplies { inode, bytes }, socket))
        });
        let tell = |error| log::warn!("keep the replies of {name}: {error}; they are dropped");
        kept.map_err(tell).ok()
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

    /// When it has work again.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.retry.due()
    }

    /// Whether the socket's own send buffer is full, because the network is slower than the server.
    /// A unix socket keeps replies because a receiver is not ready, and no event tells when it is.
    fn waits_to_send(&self) -> bool {
        self.answers.socket.is_ip() && self.is_behind()
    }

    /// What to wait for. It follows only from the present state.
    fn interest(&self) -> Interest {
        // At a shutdown, unread datagrams are left for the next activation.
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

    /// Registers what the socket needs next: an event, or a retry.
    pub(super) fn wait(&mut self, space: &Workspace<'_>) {
        if !self.is_behind() {
            self.activity = None;
        }
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

    /// Receives one batch and sends the replies. `has_error` means `EPOLLERR`.
    pub(super) fn turn(&mut self, batch: &mut Batch, has_error: bool, space: &mut Workspace<'_>) {
        if self.waits_to_send() {
            // The socket is writable. If it still accepts nothing, its send buffer is not the
            // cause.
            self.rests |= !self.answers.send_kept(None, space);
        }
        if self.interest() != Interest::Readable {
            return;
        }
        if !self.may_receive(space) {
            // The server ends. What has come stays in the kernel.
            self.rests = true;
            return;
        }
        let asked = self.batch_size.next(batch.slots());
        match batch.receive(self.answers.socket.as_fd(), asked) {
            Ok(count) => {
                self.failures = 0;
                self.batch_size.follow(asked, count);
                if self.answers.socket.is_asked {
                    self.answers.inform(batch, count, space);
                } else {
                    self.answers.answer(batch, count, space);
                }
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

    /// Whether the server is not about to end because it is idle. From now on it is not idle.
    fn may_receive(&mut self, space: &Workspace<'_>) -> bool {
        let Some(gate) = space.gate else { return true };
        if self.activity.is_none() {
            self.activity = gate.begin_activity();
        }
        self.activity.is_some()
    }

    /// Retries what failed, if it is time. Returns whether it was.
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

    /// Closes descriptors that were not used since the last call. Returns whether any is still
    /// open.
    pub(super) fn release_if_unused(&mut self) -> bool {
        self.answers.release_if_unused()
    }

    /// Whether descriptors are cached that must be closed when they are not used.
    pub(super) fn holds_files(&self) -> bool {
        self.answers.hold_files()
    }

    /// Stops receiving. Kept replies are still sent.
    pub(super) fn begin_to_drain(&mut self) {
        self.is_draining = true;
    }

    /// Pauses for a sender that reads its replies more slowly than the server makes them, before
    /// replies have to be dropped.
    fn consider_a_pause(&mut self, space: &Workspace<'_>) {
        let is_pressed = self.is_behind() && self.answers.are_pressing(space.limits);
        self.patience.consider(is_pressed, space.limits);
    }

    /// Empties the error queue of a socket that was inherited with `IP_RECVERR` (ip(7)). Otherwise
    /// `EPOLLERR` would stay set.
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

/// Counts kept replies whose socket is not there.
pub(super) fn drop_kept(replies: &[u8], space: &mut Workspace<'_>) {
    let count = encoding::decode(replies).map_or(0, Iterator::count);
    space.statistics.unanswered += count as u64;
    log::warn!("{count} kept datagram replies are dropped: their socket was not passed again");
}
