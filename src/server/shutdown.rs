//! Ends a server: on a signal, or when the caller asks for it.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use rustix::event::{EventfdFlags, PollFlags, eventfd};

use crate::deadline::Deadline;
use crate::error::{Context, Result};
use crate::sys;

/// Tells [`run`](super::run) when to stop: a descriptor that becomes, and stays, readable.
#[derive(Debug)]
pub struct Shutdown(Arc<OwnedFd>);

/// Triggers its [`Shutdown`].
#[derive(Debug, Clone)]
pub struct Trigger(Arc<OwnedFd>);

impl Shutdown {
    /// Stops on SIGTERM and SIGINT. It blocks them in this thread and in the threads that it
    /// starts, so call it before there are other threads.
    ///
    /// # Errors
    ///
    /// Those of signalfd(2).
    pub fn on_signals() -> Result<Self> {
        let fd = sys::signal::signalfd(&[libc::SIGTERM, libc::SIGINT])
            .context("wait for SIGTERM and SIGINT through a signalfd")?;
        Ok(Self(Arc::new(fd)))
    }

    /// Stops when the trigger is pulled.
    ///
    /// # Errors
    ///
    /// Those of eventfd(2).
    pub fn on_trigger() -> Result<(Trigger, Self)> {
        let fd = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
            .context("create an eventfd")?;
        let fd = Arc::new(fd);
        Ok((Trigger(Arc::clone(&fd)), Self(fd)))
    }

    /// Whether it has begun.
    pub(super) fn is_set(&self) -> bool {
        Deadline::after(Duration::ZERO).wait(self, PollFlags::IN).is_ok()
    }
}

impl AsFd for Shutdown {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Trigger {
    /// Asks the server to stop. A second call changes nothing.
    pub fn pull(&self) {
        // The counter cannot overflow in the lifetime of a process, so the write cannot fail.
        let _ = rustix::io::write(&*self.0, &1u64.to_ne_bytes());
    }
}
