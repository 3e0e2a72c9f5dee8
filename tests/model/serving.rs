//! Runs the server in its own thread, waits until it has had a turn, and ends it.

use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
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
    pub(crate) round_trips: usize,
    turns: Arc<AtomicU64>,
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
    pub(crate) fn start(settings: &Settings, mut sockets: Vec<InheritedSocket>) -> Self {
        let (bystander, theirs) = UnixDatagram::pair().expect("socketpair(2)");
        sockets.push(doors::inherited(theirs.into()));
        let (trigger, shutdown) = Shutdown::on_trigger().expect("eventfd");
        let (ended, ends) = UnixStream::pair().expect("socketpair(2)");
        let turns = Arc::new(AtomicU64::new(0));
        let (config, mut observer) = (config(settings), Turns(Arc::clone(&turns)));
        let thread = std::thread::spawn(move || {
            let result = server::run(sockets, Kept::default(), &config, &shutdown, &mut observer);
            drop((shutdown, ends));
            result
        });
        bystander.set_nonblocking(true).expect("O_NONBLOCK");
        let thread = Some(thread);
        Self { thread, trigger, is_stopping: false, ended, bystander, round_trips: 0, turns }
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
        if !is_readable(self.ended(), settle::deadline()) {
            return Err("the server does not return".to_owned());
        }
        let _ = self.ended.read(&mut [0]);
        let thread = self.thread.take().expect("it is taken once");
        let result = thread.join().map_err(|_| "the server panicked".to_owned())?;
        result.map(|ended| ended.statistics).map_err(|error| format!("the server failed: {error}"))
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

fn config(settings: &Settings) -> Config {
    let never = Duration::from_secs(3600);
    let limits = Limits {
        connections_max: settings.connections_max,
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
    };
    let workers = settings.workers;
    Config { limits, busy_poll: BusyPoll::Off, workers, ..Config::default() }
}

/// Whether something can be received within the time.
fn is_readable(fd: BorrowedFd<'_>, within: Duration) -> bool {
    let timeout = rustix::event::Timespec::try_from(within).expect("it fits");
    let ready = poll(&mut [PollFd::new(&fd, PollFlags::IN)], Some(&timeout));
    ready.expect("poll(2)") > 0
}
