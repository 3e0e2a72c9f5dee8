//! The part of a worker that gives datagram sockets their turn, and waits for what each needs next.

use std::time::Instant;

use rustix::event::epoll::EventFlags;

use super::{Worker, token};
use crate::server::datagram::Watch;

impl Worker<'_> {
    pub(super) fn echo_datagrams(&mut self, number: usize, flags: EventFlags) {
        let datagram = &mut self.datagrams[number];
        let batch =
            if datagram.has_large_messages() { &mut self.large_batch } else { &mut self.ip_batch };
        let Some(batch) = batch else { return };
        let before = datagram.watch;
        datagram.turn(batch, flags.contains(EventFlags::ERR), &mut self.space);
        self.after_datagrams(number, before);
    }

    /// The timer's turn: what failed is tried again, the later the longer nothing comes of it.
    pub(super) fn retry_datagrams(&mut self) {
        let mut has_sent = false;
        for datagram in &mut self.datagrams {
            has_sent |= datagram.retry(&mut self.space);
        }
        if has_sent {
            self.retry_backoff.reset();
        }
        for number in 0..self.datagrams.len() {
            let before = self.datagrams[number].watch;
            self.datagrams[number].revive();
            self.after_datagrams(number, before);
        }
    }

    fn after_datagrams(&mut self, number: usize, before: Watch) {
        let datagram = &self.datagrams[number];
        if datagram.is_behind() || datagram.watch == Watch::Nothing {
            self.retry_backoff.plan(Instant::now());
        }
        // From a shutdown on nothing more is received: what waits is for the next one.
        if datagram.watch == before || self.drains_until.is_some() {
            return;
        }
        let flags = match datagram.watch {
            Watch::Readable => EventFlags::IN,
            Watch::Writable => EventFlags::OUT,
            Watch::Nothing => EventFlags::empty(),
        };
        let token = token::DATAGRAM | number as u64;
        // An error is reported whether it is asked for or not, so a socket that is left alone has
        // to be taken out.
        let result = match (before, datagram.watch) {
            (_, Watch::Nothing) => self.poller.remove(datagram),
            (Watch::Nothing, _) => self.poller.add(datagram, token, flags),
            _ => self.poller.modify(datagram, token, flags),
        };
        if let Err(error) = result {
            log::error!("watch a datagram socket: {error}");
        }
    }
}
