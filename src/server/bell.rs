//! How the other workers tell the first one, whose observer reports to somebody, that something has
//! changed.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering, fence};

use rustix::event::{EventfdFlags, eventfd};

use crate::error::{Context, Result};

/// Wakes the first worker, once until it is armed again. So the others make a system call only for
/// the first change after the observer has looked.
///
/// Its events are edge-triggered, so nobody needs to read it.
#[derive(Debug)]
pub(super) struct Bell {
    is_armed: AtomicBool,
    fd: OwnedFd,
}

impl Bell {
    /// An armed bell.
    ///
    /// # Errors
    ///
    /// Those of eventfd(2).
    pub(super) fn new() -> Result<Self> {
        let fd = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
            .context("create an eventfd")?;
        Ok(Self { is_armed: AtomicBool::new(true), fd })
    }

    /// The first worker is about to read what the others have published: a change that it does not
    /// see rings.
    pub(super) fn arm(&self) {
        self.is_armed.store(true, Ordering::Relaxed);
        // Pairs with the fence of `ring`.
        fence(Ordering::SeqCst);
    }

    /// A worker has published a change.
    pub(super) fn ring(&self) {
        // Either the first worker sees the change, or this worker sees that the bell is armed.
        fence(Ordering::SeqCst);
        if self.is_armed.load(Ordering::Relaxed) && self.is_armed.swap(false, Ordering::Relaxed) {
            // The counter cannot overflow in the lifetime of a process, so the write cannot fail.
            let _ = rustix::io::write(&self.fd, &1u64.to_ne_bytes());
        }
    }
}

impl AsFd for Bell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
