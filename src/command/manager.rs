//! What `serve --sdnotify` tells the service manager, and when.

use std::sync::Arc;
use std::time::Duration;

use crate::activation::{InheritedSocket, SocketKind};
use crate::error::{Error, ErrorKind, Result};
use crate::notify::{Notifier, State, Watchdog};
use crate::server::Observer;

/// The service manager, if it listens to us.
pub(super) struct Manager {
    notifier: Option<Arc<Notifier>>,
    watchdog: Option<Watchdog>,
    due: Option<std::time::Instant>,
    status: String,
}

impl Observer for Manager {
    fn ready(&mut self) {
        if self.notifier.is_some() {
            self.tell(&[State::Ready]);
            self.tell(&[State::Status(&self.status)]);
            self.due = self.interval().map(|interval| std::time::Instant::now() + interval);
        }
    }
    fn next_due(&self) -> Option<std::time::Instant> {
        self.due
    }
    fn tick(&mut self, now: std::time::Instant) {
        self.due = self.interval().map(|interval| now + interval);
        if let Some(Err(error)) = self.notifier.as_ref().map(|n| n.try_send(&[State::Watchdog])) {
            log::warn!("{error}");
        }
    }
    fn stopping(&mut self) {
        if let Some(Err(error)) = self.notifier.as_ref().map(|n| n.try_send(&[State::Stopping])) {
            log::warn!("{error}");
        }
    }
}

impl Manager {
    /// Looks for the manager in the environment. `is_wanted` is what `--sdnotify` says.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Environment`] for a value of `NOTIFY_SOCKET`, `WATCHDOG_USEC` or `WATCHDOG_PID`
    /// that sd_notify(3) does not define.
    pub(super) fn find(is_wanted: bool, sockets: &[InheritedSocket]) -> Result<Self> {
        let watchdog = Watchdog::from_env()
            .map_err(|error| Error::new(ErrorKind::Environment, error.to_string()));
        if !is_wanted {
            if let Ok(Some(_)) = watchdog {
                log::warn!(
                    "WATCHDOG_USEC is set but --sdnotify is not given: the service manager will \
                     miss the keep-alive and stop us; add --sdnotify or remove WatchdogSec="
                );
            }
            return Ok(Self { notifier: None, watchdog: None, due: None, status: String::new() });
        }
        let watchdog = watchdog?;
        let notifier = Notifier::from_env()?.map(Arc::new);
        if notifier.is_none() {
            log::warn!(
                "--sdnotify is given but NOTIFY_SOCKET is not set: nobody is told; use Type=notify \
                 in the unit, and `podman run --sdnotify=container` (Notify=true) for a container"
            );
        }
        Ok(Self { notifier, watchdog, due: None, status: status(sockets) })
    }

    fn interval(&self) -> Option<Duration> {
        self.watchdog.map(|w| w.interval().max(INTERVAL_MIN))
    }
    // Clients can be served even if nobody hears that they are.
    fn tell(&self, states: &[State<'_>]) {
        if let Some(Err(error)) = self.notifier.as_ref().map(|notifier| notifier.send(states)) {
            log::warn!("{error}");
        }
    }
}

/// A watchdog of microseconds would keep the event loop busy with nothing else.
const INTERVAL_MIN: Duration = Duration::from_millis(1);

fn status(sockets: &[InheritedSocket]) -> String {
    let sockets: Vec<_> = sockets.iter().map(|socket| describe(&socket.kind)).collect();
    let plural = if sockets.len() == 1 { "" } else { "s" };
    format!("serving {} socket{plural}: {}", sockets.len(), sockets.join(", "))
}

/// The address that clients use, or the client of a single connection.
fn describe(kind: &SocketKind) -> String {
    match (&kind.peer, &kind.local) {
        (Some(peer), _) => format!("connection from {peer}"),
        (None, Some(local)) => local.to_string(),
        (None, None) => format!("unnamed {} of {}", kind.type_name(), kind.family),
    }
}
