//! Waits for sockets: with one epoll instance or, for a single connection, in the receive call.

use std::num::NonZeroU64;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, epoll, poll};
use rustix::io::Errno;
use socket2::SockRef;

use crate::error::{Context, Result};

/// How often a wait without events checks the clock.
pub(super) const TICK: Duration = Duration::from_millis(50);

/// The most events that one wait returns.
const EVENTS: usize = 1024;

/// How the client waits.
pub(super) struct Wait {
    /// `None`: the receive call waits, which saves a system call for each message.
    epoll: Option<OwnedFd>,
    events: Vec<epoll::Event>,
    busy: bool,
}

/// Whether an event is reported again while it lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trigger {
    /// Each arrival is reported once.
    Edge,
    /// Reported as long as it lasts, for reading and for writing.
    Level,
}

impl Wait {
    /// The receive call waits, or with `busy` is repeated without waiting.
    pub(super) fn in_receive(fd: &OwnedFd, busy: bool) -> Result<Self> {
        let socket = SockRef::from(fd);
        socket.set_nonblocking(busy).context("set O_NONBLOCK")?;
        socket.set_read_timeout(Some(TICK)).context("set SO_RCVTIMEO")?;
        socket.set_write_timeout(Some(TICK)).context("set SO_SNDTIMEO")?;
        let events = vec![event(epoll::EventFlags::IN, 0)];
        Ok(Self { epoll: None, events, busy })
    }

    /// Lets timers expire on time. By default the kernel delays them by up to 50 µs, to join
    /// several (`PR_SET_TIMERSLACK` of prctl(2)).
    pub(super) fn be_on_time() {
        // If it fails, messages on a schedule are sent slightly late, and the delay is counted.
        let _ = rustix::thread::set_current_timer_slack(NonZeroU64::new(1));
    }

    /// One epoll instance for all sockets. With `busy` it is polled without waiting.
    pub(super) fn on_all(fds: &[OwnedFd], busy: bool, trigger: Trigger) -> Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).context("epoll_create1")?;
        let events = vec![event(epoll::EventFlags::empty(), 0); EVENTS];
        let wait = Self { epoll: Some(epoll), events, busy };
        fds.iter().enumerate().try_for_each(|(index, fd)| wait.add(fd, index, trigger))?;
        Ok(wait)
    }

    /// Adds a socket.
    pub(super) fn add(&self, fd: &OwnedFd, index: usize, trigger: Trigger) -> Result<()> {
        let Some(epoll) = &self.epoll else { return Ok(()) };
        SockRef::from(fd).set_nonblocking(true).context("set O_NONBLOCK")?;
        let data = epoll::EventData::new_u64(index as u64);
        epoll::add(epoll, fd, data, trigger.flags()).context("epoll_ctl")
    }

    /// Enables or disables the report that `fd` is writable.
    pub(super) fn set_writing(&self, fd: &OwnedFd, index: usize, on: bool) -> Result<()> {
        let Some(epoll) = &self.epoll else { return Ok(()) };
        let mut flags = Trigger::Edge.flags();
        flags.set(epoll::EventFlags::OUT, on);
        let data = epoll::EventData::new_u64(index as u64);
        epoll::modify(epoll, fd, data, flags).context("epoll_ctl")
    }

    /// Removes `fd`.
    pub(super) fn forget(&self, fd: &OwnedFd) {
        if let Some(epoll) = &self.epoll {
            let _ = epoll::delete(epoll, fd);
        }
    }

    /// Waits for at most `timeout`. Returns the number of events for [`Self::event`].
    pub(super) fn wait(&mut self, timeout: Duration) -> Result<usize> {
        let Some(epoll) = &self.epoll else { return Ok(1) };
        let mut timeout = if self.busy { Duration::ZERO } else { timeout };
        if !timeout.is_zero() && timeout < TICK {
            // epoll_wait(2) counts in milliseconds, poll with a `timespec` does not.
            let mut fds = [PollFd::new(epoll, PollFlags::IN)];
            match poll(&mut fds, Some(&timespec(timeout))) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(error).context("ppoll"),
            }
            timeout = Duration::ZERO;
        }
        let timeout = timespec(timeout);
        match epoll::wait(epoll.as_fd(), self.events.as_mut_slice(), Some(&timeout)) {
            Ok(count) => Ok(count),
            Err(Errno::INTR) => Ok(0),
            Err(error) => Err(error).context("epoll_wait"),
        }
    }

    /// The socket of event number `at`, and what it is ready for.
    pub(super) fn event(&self, at: usize) -> (usize, epoll::EventFlags) {
        let event = self.events[at];
        (event.data.u64() as usize, event.flags)
    }
}

impl Trigger {
    fn flags(self) -> epoll::EventFlags {
        match self {
            Self::Edge => epoll::EventFlags::IN | epoll::EventFlags::ET,
            Self::Level => epoll::EventFlags::IN | epoll::EventFlags::OUT,
        }
    }
}

fn timespec(time: Duration) -> Timespec {
    Timespec { tv_sec: time.as_secs() as _, tv_nsec: time.subsec_nanos() as _ }
}

fn event(flags: epoll::EventFlags, index: u64) -> epoll::Event {
    epoll::Event { flags, data: epoll::EventData::new_u64(index) }
}
