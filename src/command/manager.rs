//! What `serve --sdnotify` sends to the service manager, and when.
//!
//! The event loop calls this and must serve clients, so nothing here waits for the manager. If the
//! manager's queue is full, [`Observer::tick`] sends the messages later, in order, and at most one
//! of each kind waits.

mod status;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use self::status::Status;
use crate::activation::InheritedSocket;
use crate::backoff::Backoff;
use crate::deadline::Deadline;
use crate::error::{Error, ErrorKind, Result};
use crate::notify::{Message, Notifier, State, Watchdog};
use crate::server::{Observer, Progress};

/// A watchdog timeout of microseconds would keep the event loop busy.
const INTERVAL_MIN: Duration = Duration::from_millis(1);
/// How often in an interval a worker that hangs is looked at: the manager waits for two intervals,
/// so there is time for a keep-alive if the worker goes on.
const LOOKS: u32 = 8;
/// How long the last messages may take at exit.
const FAREWELL: Duration = Duration::from_millis(200);

/// The service manager. It gets READY=1 first, and STOPPING=1 at most once.
pub(super) struct Manager {
    notifier: Notifier,
    /// `None` from STOPPING=1 on.
    status: Option<Status>,
    /// Whether a status line could not be sent, so that the next failure is no news.
    status_has_failed: bool,
    /// The interval of keep-alives between READY=1 and STOPPING=1.
    interval: Option<Duration>,
    keep_alive_due: Option<Instant>,
    /// Whether a worker hangs, so that no keep-alive is sent.
    hangs: bool,
    /// Undelivered messages: READY=1, a keep-alive, a status; or only STOPPING=1.
    pending: VecDeque<(Kind, Message)>,
    retry: Backoff,
}

/// The kind of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Ready,
    Status,
    KeepAlive,
    Stopping,
}

impl Manager {
    /// Finds the manager in the environment. `is_wanted` is `--sdnotify`. Without it, or without a
    /// manager, nothing is sent.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Environment`] for a value of `NOTIFY_SOCKET`, `WATCHDOG_USEC` or `WATCHDOG_PID`
    /// that sd_notify(3) does not define.
    pub(super) fn find(is_wanted: bool, sockets: &[InheritedSocket]) -> Result<Option<Self>> {
        let watchdog =
            Watchdog::from_env().map_err(|error| Error::from_cause(ErrorKind::Environment, error));
        if !is_wanted {
            if let Ok(Some(_)) = watchdog {
                log::warn!(
                    "WATCHDOG_USEC is set but --sdnotify is not given: the service manager gets no \
                     keep-alive and will stop this process; add --sdnotify, or remove WatchdogSec= \
                     from the unit"
                );
            }
            return Ok(None);
        }
        let interval = watchdog?.map(Watchdog::interval);
        let notifier = Notifier::from_env()?;
        if notifier.is_none() {
            log::warn!(
                "--sdnotify is given but NOTIFY_SOCKET is not set: no service manager is notified; use \
                 Type=notify in a unit, `podman run --sdnotify=container` (Notify=true) for a \
                 container, and no --sdnotify with `activate`"
            );
        }
        Ok(notifier.map(|notifier| Self::new(notifier, interval, Status::new(sockets))))
    }

    fn new(notifier: Notifier, interval: Option<Duration>, status: Status) -> Self {
        Self {
            notifier,
            status: Some(status),
            status_has_failed: false,
            interval: interval.map(|time| time.max(INTERVAL_MIN)),
            keep_alive_due: None,
            hangs: false,
            pending: VecDeque::new(),
            retry: Backoff::default(),
        }
    }

    fn say(&mut self, kind: Kind, state: &State<'_>) {
        self.pending.push_back((kind, Message::new(&[*state])));
    }

    /// Sends a keep-alive, unless a worker has been at work on the same for a whole interval.
    fn keep_alive(&mut self, now: Instant, progress: &Progress) {
        let interval = self.interval.unwrap_or_default();
        let Some(turn) = progress.longest_turn.filter(|turn| turn.time >= interval) else {
            if std::mem::take(&mut self.hangs) {
                log::info!("all workers go on; the service manager gets keep-alives again");
            }
            self.keep_alive_due = None;
            // It is urgent, and a status may wait for room.
            let message = Message::new(&[State::Watchdog]);
            return self.pending.push_front((Kind::KeepAlive, message));
        };
        self.keep_alive_due = now.checked_add((interval / LOOKS).max(INTERVAL_MIN));
        if !std::mem::replace(&mut self.hangs, true) {
            log::error!(
                "worker {} hangs: it has not come back to its event loop for {:?}; the service \
                 manager gets no keep-alive, and restarts the service unless the worker goes on; \
                 see what the thread waits for (/proc/PID/task/*/stack), for example for a reader \
                 of standard error, or raise WatchdogSec=",
                turn.worker,
                turn.time,
            );
        }
    }

    /// Sends pending messages while the manager has room.
    fn deliver(&mut self, now: Instant) {
        while let Some((kind, message)) = self.pending.front_mut() {
            match self.notifier.try_send(message) {
                Ok(false) => return self.try_again(now),
                Ok(true) => {}
                // Clients can be served even if the manager is not informed.
                Err(error) if *kind == Kind::Status && self.status_has_failed => {
                    log::debug!("{error}");
                }
                Err(error) => {
                    self.status_has_failed |= *kind == Kind::Status;
                    log::warn!("{error}");
                }
            }
            match (kind, &mut self.status) {
                (Kind::Ready | Kind::KeepAlive, _) => {
                    self.keep_alive_due = self.interval.and_then(|time| now.checked_add(time));
                }
                (Kind::Status, Some(status)) => status.was_sent(now),
                _ => {}
            }
            self.pending.pop_front();
            self.retry.reset();
        }
    }

    /// When the next status line may be sent. Only one waits for room: what happens meanwhile is in
    /// the next one.
    fn status_due(&self) -> Option<Instant> {
        let one_waits = self.pending.iter().any(|(kind, _)| *kind == Kind::Status);
        self.status.as_ref().filter(|_| !one_waits)?.due()
    }

    fn try_again(&mut self, now: Instant) {
        // A keep-alive that is late by a whole interval could be too late.
        let is_slow = self.retry.plan_within(self.interval.unwrap_or(Duration::MAX), now);
        if let Some((_, message)) = self.pending.front().filter(|_| is_slow) {
            log::warn!(
                "send {message} to the service manager: its queue is full; trying again; see why \
                 the manager does not read its queue"
            );
        }
    }
}

impl Observer for Manager {
    /// READY=1 is sent first and alone, because runc and crun read only the beginning of a message.
    fn ready(&mut self) {
        self.say(Kind::Ready, &State::Ready);
        if let Some(status) = &self.status {
            let message = Message::new(&[State::Status(status.first())]);
            self.pending.push_back((Kind::Status, message));
        }
        self.deliver(Instant::now());
    }

    fn next_due(&self) -> Option<Instant> {
        let retry = self.retry.due().filter(|_| !self.pending.is_empty());
        retry.into_iter().chain(self.keep_alive_due).chain(self.status_due()).min()
    }

    fn changed(&mut self) {
        if let Some(status) = &mut self.status {
            status.has_changed();
        }
    }

    fn tick(&mut self, now: Instant, progress: &Progress) {
        if self.keep_alive_due.is_some_and(|due| due <= now) {
            self.keep_alive(now, progress);
        }
        if self.status_due().is_some() {
            let line = self.status.as_mut().and_then(|status| status.take(now, progress));
            if let Some(line) = line {
                let message = Message::new(&[State::Status(line)]);
                self.pending.push_back((Kind::Status, message));
            }
        }
        self.retry.take(now);
        self.deliver(now);
    }

    /// Drops undelivered messages, which are no longer true: a start that ends in a shutdown was
    /// never complete for the manager, and the status names sockets that are no longer served.
    /// Nothing follows STOPPING=1.
    fn stopping(&mut self) {
        self.status = None;
        self.interval = None;
        self.keep_alive_due = None;
        self.pending.clear();
        self.retry.reset();
        self.say(Kind::Stopping, &State::Stopping);
        self.deliver(Instant::now());
    }
}

/// After the event loop, nobody is served and nothing is sent later. So it waits a moment for
/// pending messages, for example for the connection that a message over vsock needs.
impl Drop for Manager {
    fn drop(&mut self) {
        let end = Deadline::after(FAREWELL);
        for (_, message) in self.pending.iter_mut().filter(|(kind, _)| *kind != Kind::KeepAlive) {
            let left = end.remaining().unwrap_or_default();
            if let Err(error) = self.notifier.finish(message, left) {
                log::warn!("{error}");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notify::NotifySocket;
    use crate::server::{LongTurn, Statistics};
    use std::os::unix::net::UnixDatagram;
    use std::path::PathBuf;

    const INTERVAL: Duration = Duration::from_secs(10);

    /// A manager's socket, and a [`Manager`] that sends to it.
    struct Bed {
        socket: UnixDatagram,
        path: PathBuf,
        manager: Manager,
        _dir: tempfile::TempDir,
    }

    impl Bed {
        fn new(interval: Option<Duration>) -> Self {
            let dir = tempfile::tempdir().expect("a directory");
            let path = dir.path().join("notify");
            let socket = UnixDatagram::bind(&path).expect("bind");
            socket.set_nonblocking(true).expect("non-blocking");
            let target = NotifySocket::parse(path.as_os_str()).expect("an address");
            let notifier = Notifier::new(target).expect("a socket");
            let manager = Manager::new(notifier, interval, Status::of(vec!["a".to_owned()]));
            Self { socket, path, manager, _dir: dir }
        }

        /// Fills the queue, so that not even a new socket can send to it.
        fn fill(&self) {
            loop {
                let sender = UnixDatagram::unbound().expect("socket");
                sender.set_nonblocking(true).expect("non-blocking");
                if (0..).take_while(|_| sender.send_to(b"junk", &self.path).is_ok()).count() == 0 {
                    return;
                }
            }
        }

        /// The messages in the queue, without those of `fill`.
        fn drain(&self) -> Vec<String> {
            let mut buffer = [0; 4096];
            let messages = std::iter::from_fn(|| {
                let len = self.socket.recv(&mut buffer).ok()?;
                Some(String::from_utf8_lossy(&buffer[..len]).into_owned())
            });
            messages.filter(|message| message != "junk").collect()
        }

        /// Calls `tick` when it is due. Returns how long after `now` that is.
        fn tick(&mut self, now: &mut Instant) -> Duration {
            let due = self.manager.next_due().expect("it wants to be called");
            let pause = due.saturating_duration_since(*now);
            *now = due;
            self.manager.tick(due, &Progress::default());
            pause
        }
    }

    #[test]
    fn what_has_no_room_is_told_in_order_when_there_is_some() {
        let mut bed = Bed::new(None);
        bed.fill();
        let mut now = Instant::now();
        bed.manager.ready();
        bed.tick(&mut now);
        let pauses: Vec<_> = (0..11).map(|_| bed.tick(&mut now).as_millis()).collect();
        assert_eq!(pauses, [2, 4, 8, 16, 32, 64, 128, 256, 500, 500, 500]);
        assert_eq!(bed.drain(), [""; 0]);
        bed.tick(&mut now);
        assert_eq!(bed.drain(), ["READY=1", "STATUS=serving 1 socket: a"]);
        assert_eq!(bed.manager.next_due(), None);
        bed.fill();
        bed.manager.stopping();
        let due = bed.manager.next_due().expect("a retry");
        assert!(due < Instant::now() + Duration::from_millis(2), "the pauses begin anew");
        bed.drain();
        bed.manager.tick(due, &Progress::default());
        assert_eq!(bed.drain(), ["STOPPING=1"]);
        assert_eq!(bed.manager.next_due(), None);
    }

    #[test]
    fn a_shutdown_takes_back_what_was_not_told() {
        for room in [0, 1] {
            let mut bed = Bed::new(Some(INTERVAL));
            bed.fill();
            for _ in 0..room {
                bed.socket.recv(&mut [0; 8]).expect("junk");
            }
            bed.manager.ready();
            bed.manager.stopping();
            assert_eq!(bed.drain(), ["READY=1"][..room]);
            bed.tick(&mut Instant::now());
            assert_eq!(bed.drain(), ["STOPPING=1"], "room {room}");
            assert_eq!(bed.manager.next_due(), None);
        }
    }

    /// Progress with so many datagrams.
    fn datagrams(messages: u64) -> Progress {
        let statistics = Statistics { messages, ..Statistics::default() };
        Progress { statistics, ..Progress::default() }
    }

    #[test]
    fn a_status_waits_for_room_and_the_next_one_has_what_happened_meanwhile() {
        let mut bed = Bed::new(Some(INTERVAL));
        let second = Duration::from_secs(1);
        bed.manager.ready();
        let keep_alive_due = bed.manager.next_due().expect("a keep-alive");
        bed.drain();
        bed.manager.changed();
        let mut due = bed.manager.next_due().expect("a status");
        assert!(due < keep_alive_due);
        bed.fill();
        for count in 1..100 {
            bed.manager.tick(due, &datagrams(count));
            bed.manager.changed();
            due = bed.manager.next_due().expect("a retry, or the keep-alive");
        }
        bed.drain();
        bed.manager.tick(due, &datagrams(100));
        let kept = bed.drain();
        assert!(due > keep_alive_due, "the keep-alive became due meanwhile");
        assert_eq!(kept, ["WATCHDOG=1", "STATUS=serving 1 socket: a; 1 datagram"]);
        assert_eq!(bed.manager.next_due(), Some(due + second));
        bed.manager.tick(due + second, &datagrams(101));
        assert_eq!(bed.drain(), ["STATUS=serving 1 socket: a; 101 datagrams"]);
        bed.manager.changed();
        bed.fill();
        bed.manager.tick(due + second * 2, &datagrams(102));
        bed.drain();
        bed.manager.stopping();
        bed.manager.changed();
        assert_eq!(bed.drain(), ["STOPPING=1"]);
        assert_eq!(bed.manager.next_due(), None);
    }

    #[test]
    fn no_keep_alive_is_sent_while_a_worker_hangs() {
        let mut bed = Bed::new(Some(INTERVAL));
        bed.manager.ready();
        bed.drain();
        let mut tick = |seconds: f64| {
            let due = bed.manager.next_due().expect("a keep-alive");
            let time = Duration::from_secs_f64(seconds);
            let longest_turn = (seconds > 0.0).then_some(LongTurn { worker: 2, time });
            bed.manager.tick(due, &Progress { longest_turn, ..Progress::default() });
            let pause = bed.manager.next_due().expect("the next") - due;
            (bed.drain().join(" "), pause.as_secs_f64())
        };
        assert_eq!(tick(0.0), ("WATCHDOG=1".to_owned(), 10.0));
        assert_eq!(tick(9.9), ("WATCHDOG=1".to_owned(), 10.0), "it may just be slow");
        assert_eq!(tick(10.0), (String::new(), 1.25));
        assert_eq!(tick(11.25), (String::new(), 1.25));
        assert_eq!(tick(0.0), ("WATCHDOG=1".to_owned(), 10.0), "at once");
    }

    #[test]
    fn keep_alives_come_between_ready_and_stopping_only() {
        let mut bed = Bed::new(Some(INTERVAL));
        let mut now = Instant::now();
        assert_eq!(bed.manager.next_due(), None, "before READY=1");
        bed.manager.ready();
        bed.drain();
        for _ in 0..3 {
            let pause = bed.tick(&mut now);
            assert!(pause >= INTERVAL && pause < 2 * INTERVAL, "{pause:?}");
            assert_eq!(bed.drain(), ["WATCHDOG=1"]);
        }
        bed.fill();
        for _ in 0..100 {
            bed.tick(&mut now);
        }
        bed.drain();
        bed.tick(&mut now);
        assert_eq!(bed.drain(), ["WATCHDOG=1"], "one, however often it was tried");
        // A restarted manager gets its messages, but none from the time in between.
        std::fs::remove_file(&bed.path).expect("remove");
        assert_eq!(bed.tick(&mut now), INTERVAL);
        bed.socket = UnixDatagram::bind(&bed.path).expect("bind again");
        bed.socket.set_nonblocking(true).expect("non-blocking");
        assert_eq!(bed.tick(&mut now), INTERVAL);
        assert_eq!(bed.drain(), ["WATCHDOG=1"]);
        bed.manager.stopping();
        assert_eq!(bed.drain(), ["STOPPING=1"]);
        assert_eq!(bed.manager.next_due(), None);
    }
}
