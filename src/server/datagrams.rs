//! The datagram sockets of a worker: which one gets its turn, and which ones wait for a time.

use std::time::{Duration, Instant};

use rustix::event::epoll::EventFlags;

use super::datagram::{self, Datagram};
use super::kept::KeptReplies;
use super::limits::Limits;
use super::poller::Registration;
use super::shared::ServedSocket;
use super::token::Token;
use super::workspace::Workspace;
use crate::activation::InheritedSocket;
use crate::address::UnixName;
use crate::error::Result;
use crate::sys::control::{CONTROL_MAX, CREDENTIALS_SPACE};
use crate::sys::message::Batch;

/// The size of a slot for one IP datagram, or for several that the kernel has joined.
const IP_DATAGRAM_MAX: usize = 65_536;
/// How many messages of a socket without that limit are received with one call.
const LARGE_MESSAGES: usize = 8;
/// How often to check whether cached descriptors are still used.
const RELEASE_INTERVAL: Duration = Duration::from_secs(1);

#[derive(Default)]
pub(super) struct Datagrams {
    list: Vec<Datagram>,
    ip_batch: Option<Batch>,
    large_batch: Option<Batch>,
    /// When the first socket has work again.
    retry: Option<Instant>,
    /// When to check whether cached descriptors are still used.
    release: Option<Instant>,
}

impl Datagrams {
    /// Adds a socket. It never answers the names in `never_answered`.
    ///
    /// # Errors
    ///
    /// The kernel does not support what a safe reply needs.
    pub(super) fn add(
        &mut self,
        socket: ServedSocket,
        never_answered: &[UnixName],
        space: &Workspace<'_>,
    ) -> Result<()> {
        let token = Token::Datagram(self.list.len() as u32);
        let registration = Registration::new(token, EventFlags::empty());
        let datagram = Datagram::new(socket, registration, never_answered, space)?;
        self.make_batch(&datagram, space.limits);
        self.list.push(datagram);
        Ok(())
    }

    fn make_batch(&mut self, datagram: &Datagram, limits: &Limits) {
        if datagram.has_large_messages() {
            let size = limits.message_bytes_max;
            let batch = || Batch::new(LARGE_MESSAGES, size, CREDENTIALS_SPACE);
            self.large_batch.get_or_insert_with(batch);
        } else {
            let slots = limits.batch_datagrams;
            let batch = || Batch::new(slots, IP_DATAGRAM_MAX, CONTROL_MAX);
            self.ip_batch.get_or_insert_with(batch);
        }
    }

    /// Gives back the replies that an earlier run has kept to their sockets.
    pub(super) fn take_over(&mut self, replies: Vec<KeptReplies>, space: &mut Workspace<'_>) {
        for KeptReplies { inode, bytes } in replies {
            match self.list.iter().position(|datagram| datagram.is_inode(inode)) {
                Some(number) => {
                    self.list[number].take_over(&bytes, space);
                    self.after_turn(number, space);
                }
                None => datagram::drop_kept(&bytes, space),
            }
        }
    }

    /// The sockets that keep replies, and these replies, as they are.
    pub(super) fn keep(&mut self, space: &Workspace<'_>) -> Vec<(KeptReplies, InheritedSocket)> {
        let sockets = std::mem::take(&mut self.list).into_iter();
        sockets.filter(Datagram::is_behind).filter_map(|datagram| datagram.keep(space)).collect()
    }

    pub(super) fn are_none(&self) -> bool {
        self.list.is_empty()
    }

    /// Whether replies wait for receivers that are not ready.
    pub(super) fn are_behind(&self) -> bool {
        self.list.iter().any(Datagram::is_behind)
    }

    pub(super) fn next_due(&self) -> Option<Instant> {
        self.retry.into_iter().chain(self.release).min()
    }

    /// Handles an event of the poller.
    pub(super) fn event(&mut self, number: u32, flags: EventFlags, space: &mut Workspace<'_>) {
        let Some(datagram) = self.list.get_mut(number as usize) else { return };
        let is_large = datagram.has_large_messages();
        let batch = if is_large { &mut self.large_batch } else { &mut self.ip_batch };
        if let Some(batch) = batch {
            datagram.turn(batch, flags.contains(EventFlags::ERR), space);
        }
        self.after_turn(number as usize, space);
    }

    /// Retries what failed, less often the longer it fails, and closes cached descriptors that are
    /// not used.
    pub(super) fn on_time(&mut self, now: Instant, space: &mut Workspace<'_>) {
        if self.retry.is_some_and(|due| due <= now) {
            self.retry = None;
            for number in 0..self.list.len() {
                if self.list[number].on_time(now, space) {
                    self.after_turn(number, space);
                }
            }
            let dues = self.list.iter().filter_map(Datagram::next_due);
            self.retry = dues.min();
        }
        if self.release.is_some_and(|due| due <= now) {
            let mut holds = false;
            for datagram in &mut self.list {
                holds |= datagram.release_if_unused();
            }
            self.release = holds.then(|| now + RELEASE_INTERVAL);
        }
    }

    /// Stops receiving.
    pub(super) fn begin_to_drain(&mut self, space: &Workspace<'_>) {
        for number in 0..self.list.len() {
            self.list[number].begin_to_drain();
            self.after_turn(number, space);
        }
    }

    /// Registers what the socket needs next.
    fn after_turn(&mut self, number: usize, space: &Workspace<'_>) {
        let datagram = &mut self.list[number];
        datagram.wait(space);
        self.retry = self.retry.into_iter().chain(datagram.next_due()).min();
        if self.release.is_none() && datagram.holds_files() {
            self.release = Some(Instant::now() + RELEASE_INTERVAL);
        }
    }
}
