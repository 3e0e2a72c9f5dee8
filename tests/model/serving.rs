//! Runs the server in its own thread, waits until it has had a turn, and ends it.

use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use socket_activate_echo::activation::InheritedSocket;
use socket_activate_echo::error::Result as ServerResult;
use socket_activate_echo::server::{
    self, BusyPoll, Config, Ended, Kept, Limits, Observer, Shutdown, Statistics, Trigger,
};

use crate::doors;
use crate::schedule::Settings;
use crate::settle;

pub(crate) struct Serving {
    thread: Option<JoinHandle<ServerResult<Ended>>>,
    trigger: Trigger,
    pub(crate) is_stopping: bool,
    /// It hangs up when the thread ends.
    ended: UnixStream,
    /// A datagram socket whose other end the server has, beside the peers and in nobody's way.
    bystander: UnixDatagram,
    /// A duplicate of that, for the next server.
    bystanders_other_end: UnixDatagram,
    pub(crate) round_trips: usize,
    turns: Arc<AtomicU64>,
    /// Whether the server returns what it keeps, and does not drain it.
    is_restarted: Arc<AtomicBool>,
    /// What the servers before this one have counted.
    before: Statistics,
}

/// Counts the turns of the event loop: it is asked before each wait, and after some.
struct Turns(Arc<AtomicU64>);

impl Observer for Turns {
    fn next_due(&self) -> Option<Instant> {
        self.0.fetch_add(1, Ordering::Relaxed);
        None
    }
}

impl Serving {
    pub(crate) fn start(settings: &Settings, sockets: Vec<InheritedSocket>) -> Self {
        let (bystander, theirs) = UnixDatagram::pair().expect("socketpair(2)");
        bystander.set_nonblocking(true).expect("O_NONBLOCK");
        Self::go_on(settings, sockets, Kept::default(), (bystander, theirs))
    }

    fn go_on(
        settings: &Settings,
        mut sockets: Vec<InheritedSocket>,
        kept: Kept,
        (bystander, bystanders_other_end): (UnixDatagram, UnixDatagram),
    ) -> Self {
        let theirs = bystanders_other_end.try_clone().expect("dup");
        sockets.push(doors::inherited(theirs.into()));
        let (trigger, shutdown) = Shutdown::on_trigger().expect("eventfd");
        let (ended, ends) = UnixStream::pair().expect("socketpair(2)");
        let turns = Arc::new(AtomicU64::new(0));
        let is_restarted = Arc::new(AtomicBool::new(false));
        let has_successor = Arc::clone(&is_restarted);
        let (config, mut observer) = (config(settings), Turns(Arc::clone(&turns)));
        let thread = std::thread::spawn(move || {
            let mut result = server::run(sockets, kept, &config, &shutdown, &mut observer);
            if !has_successor.load(Ordering::Relaxed) {
                result = result.and_then(|ended| drain(ended, config, &shutdown));
            }
            drop((shutdown, ends));
            result
        });
        Self {
            thread: Some(thread),
            trigger,
            is_stopping: false,
            ended,
            bystander,
            bystanders_other_end,
            round_trips: 0,
            turns,
            is_restarted,
            before: Statistics::default(),
        }
    }

    /// Stops the server, and starts another one that goes on with what it keeps.
    pub(crate) fn restart(
        &mut self,
        settings: &Settings,
        sockets: Vec<InheritedSocket>,
    ) -> Result<(), String> {
        self.is_restarted.store(true, Ordering::Relaxed);
        self.trigger.pull();
        let Ended { statistics, kept, .. } = self.join()?;
        let bystander = self.bystander.try_clone().expect("dup");
        let other_end = self.bystanders_other_end.try_clone().expect("dup");
        let mut next = Self::go_on(settings, sockets, kept, (bystander, other_end));
        next.round_trips = self.round_trips;
        next.before = self.before;
        next.before += statistics;
        *self = next;
        Ok(())
    }

    /// Waits until the server has had a turn since now: a round trip, and one more because a turn
    /// that was on its way may have looked at some of its sockets before.
    pub(crate) fn sync(&mut self) -> Result<(), String> {
        for _ in 0..2 {
            if self.is_stopping {
                return Ok(());
            }
            self.bystander.send(b"?").map_err(|error| format!("bystander: send: {error}"))?;
            if !is_readable(self.bystander.as_fd(), settle::deadline()) {
                return Err("bystander: its datagram does not come back".to_owned());
            }
            let received = self.bystander.recv(&mut [0; 2]);
            if !matches!(received, Ok(1)) {
                return Err(format!("bystander: receive: {received:?}"));
            }
            self.round_trips += 1;
        }
        Ok(())
    }

    /// Expects that the server sleeps while nobody does anything. What it still has to do it may do
    /// first: so it is looked at again and again.
    pub(crate) fn rests(&mut self) -> Result<(), String> {
        const WINDOW: Duration = Duration::from_millis(5);
        if self.is_stopping {
            return Ok(());
        }
        self.sync()?;
        let give_up = Instant::now() + settle::deadline();
        loop {
            let (start, before) = (Instant::now(), self.turns.load(Ordering::Relaxed));
            if is_readable(self.bystander.as_fd(), WINDOW) {
                return Err("bystander: a datagram that it has not sent".to_owned());
            }
            let turns = self.turns.load(Ordering::Relaxed) - before;
            // A timer may be due once a millisecond.
            let most = 30 + 6 * start.elapsed().as_millis() as u64;
            if turns <= most {
                return Ok(());
            }
            if give_up < Instant::now() {
                return Err(format!("the server spins: {turns} turns in {:?}", start.elapsed()));
            }
        }
    }

    pub(crate) fn stop(&mut self) {
        self.is_stopping = true;
        self.trigger.pull();
    }

    /// Readable as soon as the server has returned.
    pub(crate) fn ended(&self) -> BorrowedFd<'_> {
        self.ended.as_fd()
    }

    /// Waits for the end.
    pub(crate) fn end(mut self) -> Result<Statistics, String> {
        let mut statistics = self.before;
        statistics += self.join()?.statistics;
        Ok(statistics)
    }

    fn join(&mut self) -> Result<Ended, String> {
        if !is_readable(self.ended(), settle::deadline()) {
            return Err("the server does not return".to_owned());
        }
        let _ = self.ended.read(&mut [0]);
        let thread = self.thread.take().expect("it is taken once");
        let result = thread.join().map_err(|_| "the server panicked".to_owned())?;
        result.map_err(|error| format!("the server failed: {error}"))
    }
}

impl Drop for Serving {
    /// A schedule has failed. A server that cannot end any more is left behind.
    fn drop(&mut self) {
        let Some(thread) = self.thread.take() else { return };
        self.trigger.pull();
        if is_readable(self.ended(), settle::deadline()) {
            let _ = thread.join();
        }
    }
}

/// Nobody takes what the server keeps: it is drained.
fn drain(mut ended: Ended, mut config: Config, shutdown: &Shutdown) -> ServerResult<Ended> {
    config.keeps_connections = false;
    let kept = std::mem::take(&mut ended.kept);
    let drained = server::run(ended.datagram_sockets, kept, &config, shutdown, &mut ())?;
    ended.statistics += drained.statistics;
    Ok(Ended { statistics: ended.statistics, ..drained })
}

fn config(settings: &Settings) -> Config {
    let never = Duration::from_secs(3600);
    let limits = Limits {
        connections_max: settings.connections_max,
        unread_bytes_max: settings.unread_bytes_max,
        stream_buffer_bytes: settings.stream_buffer_bytes,
        message_bytes_max: 65_536,
        round_bytes: settings.round_bytes,
        pipes_max: settings.pipes_max,
        turn_accepts: settings.turn_accepts,
        batch_datagrams: settings.batch_datagrams,
        // No reply has to be dropped, so one that does not come is a failure.
        deferred_bytes_max: 1 << 30,
        deferred_reply_age_max: never,
        deferred_pause_max: Duration::from_millis(1),
        drain_time_max: settle::deadline(),
        ..Limits::default()
    };
    let workers = settings.workers;
    let keeps_connections = settings.keeps;
    Config { limits, busy_poll: BusyPoll::Off, workers, keeps_connections, ..Config::default() }
}

/// Whether something can be received within the time.
fn is_readable(fd: BorrowedFd<'_>, within: Duration) -> bool {
    let timeout = rustix::event::Timespec::try_from(within).expect("it fits");
    let ready = poll(&mut [PollFd::new(&fd, PollFlags::IN)], Some(&timeout));
    ready.expect("poll(2)") > 0
}
