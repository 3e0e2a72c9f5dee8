//! Waits for a descriptor until a deadline.

use std::io;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// A point in time, or never.
#[derive(Debug, Clone, Copy)]
pub struct Deadline(Option<Instant>);

impl Deadline {
    /// The deadline `timeout` from now; never, if the clock cannot express it.
    pub fn after(timeout: Duration) -> Self {
        Self(Instant::now().checked_add(timeout))
    }

    /// The time that is left; zero once it has passed, `None` if it never passes.
    pub fn remaining(self) -> Option<Duration> {
        self.0.map(|at| at.saturating_duration_since(Instant::now()))
    }

    /// Whether the deadline has passed.
    pub fn is_over(self) -> bool {
        self.remaining() == Some(Duration::ZERO)
    }

    /// The deadline of the first of `parts` attempts that share the remaining time equally.
    pub fn share(self, parts: usize) -> Self {
        let parts = u32::try_from(parts.max(1)).unwrap_or(u32::MAX);
        self.remaining().map_or(self, |left| Self::after(left / parts))
    }

    /// Waits until `fd` is ready for one of `events`. Returns the events that it is ready for.
    ///
    /// # Errors
    ///
    /// `TimedOut` once the deadline has passed, and those of poll(2).
    pub fn wait(self, fd: impl AsFd, events: PollFlags) -> io::Result<PollFlags> {
        loop {
            let timeout = self.remaining().map(|left| Timespec {
                tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
                tv_nsec: left.subsec_nanos().into(),
            });
            let mut fds = [PollFd::new(&fd, events)];
            match poll(&mut fds, timeout.as_ref()) {
                Ok(0) if self.is_over() => return Err(io::ErrorKind::TimedOut.into()),
                Ok(0) | Err(rustix::io::Errno::INTR) => {}
                Ok(_) => return Ok(fds[0].revents()),
                Err(error) => return Err(error.into()),
            }
        }
    }
}
