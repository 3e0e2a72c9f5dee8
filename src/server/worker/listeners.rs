//! The part of a worker that accepts connections, and pauses while there is no room for one.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::Ordering;
use std::time::Instant;

use rustix::event::epoll::EventFlags;

use super::{Worker, protocol_of, token};
use crate::error::{Context, Result};
use crate::server::SharedListener;
use crate::server::connection::Connection;
use crate::server::listener::{Accepted, Listener};

impl<'a> Worker<'a> {
    pub(super) fn add_listener(&mut self, shared: &'a SharedListener) -> Result<()> {
        let what = || format!("serve {}", self.shared.names[usize::from(shared.source)]);
        // accept4(2) has no flag for a single call that does not wait, so the socket itself has to
        // be non-blocking; systemd sets this anew for each start (systemd.service(5),
        // NonBlocking=).
        rustix::io::ioctl_fionbio(&shared.fd, true).context(what())?;
        let listener = Listener {
            fd: shared.fd.as_fd(),
            source: shared.source,
            protocol: protocol_of(&shared.kind),
            is_watched: false,
            has_failed: false,
        };
        self.listeners.push(listener);
        self.watch_listener(self.listeners.len() - 1).context(what())
    }

    fn watch_listener(&mut self, number: usize) -> io::Result<()> {
        let listener = &mut self.listeners[number];
        if listener.is_watched || listener.has_failed {
            return Ok(());
        }
        // One connection wakes one worker, and not all of them for one to win.
        let shared = if self.shared.is_alone { EventFlags::empty() } else { EventFlags::EXCLUSIVE };
        let token = token::LISTENER | number as u64;
        self.poller.add(&*listener, token, EventFlags::IN | shared)?;
        listener.is_watched = true;
        Ok(())
    }

    pub(super) fn unwatch_listener(&mut self, number: usize) {
        let listener = &mut self.listeners[number];
        if std::mem::take(&mut listener.is_watched) {
            // It was added, so it can be removed.
            let _ = self.poller.remove(&*listener);
        }
    }

    pub(super) fn accept(&mut self, number: usize) {
        if self.drains_until.is_some() {
            return;
        }
        for _ in 0..self.shared.limits.turn_accepts {
            let before = self.shared.connections.fetch_add(1, Ordering::Relaxed);
            let accepted = if before >= self.shared.limits.connections_max {
                Accepted::NoRoom(io::Error::other("--connections-max is reached"))
            } else {
                self.listeners[number].accept()
            };
            if let Accepted::Connection(fd) = accepted {
                self.accepted(number, fd);
                continue;
            }
            self.shared.connections.fetch_sub(1, Ordering::Relaxed);
            match accepted {
                Accepted::Connection(_) | Accepted::Gone => {}
                Accepted::Nobody => return,
                Accepted::NoRoom(error) => return self.pause(number, &error),
                Accepted::Failed(error) => return self.give_up(number, &error),
            }
        }
    }

    fn accepted(&mut self, number: usize, fd: OwnedFd) {
        let Listener { source, protocol, .. } = self.listeners[number];
        self.space.trace_accept(usize::from(source), &fd);
        let connection = Connection::accepted(fd, source, protocol);
        if let Err(error) = self.add_connection(connection) {
            let name = self.space.name(usize::from(source));
            log::warn!("a connection on {name} is closed: {error}");
        }
    }

    /// Leaves the connections that wait in the kernel's backlog until there is room.
    fn pause(&mut self, number: usize, error: &io::Error) {
        let name = self.space.name(usize::from(self.listeners[number].source));
        log::debug!("accept on {name} waits: {error}");
        self.unwatch_listener(number);
        self.backoff.plan(Instant::now());
    }

    /// A socket that accepts no more, for example because somebody called shutdown(2) on it.
    fn give_up(&mut self, number: usize, error: &io::Error) {
        let name = self.space.name(usize::from(self.listeners[number].source));
        log::error!("accept on {name}: {error}; the socket is served no longer");
        self.unwatch_listener(number);
        self.listeners[number].has_failed = true;
    }

    pub(super) fn watch_all_listeners(&mut self) {
        for number in 0..self.listeners.len() {
            if let Err(error) = self.watch_listener(number) {
                let name = self.space.name(usize::from(self.listeners[number].source));
                log::warn!("wait for connections on {name}: {error}; trying again");
                self.backoff.plan(Instant::now());
            }
        }
    }
}
