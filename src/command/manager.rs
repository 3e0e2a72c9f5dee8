//! What `serve --sdnotify` tells the service manager, and when.

use std::sync::Arc;
use std::time::Duration;

use crate::activation::{InheritedSocket, SocketKind};
use crate::error::{Error, ErrorKind, Result};
use crate::notify::{Notifier, State, Watchdog};
use crate::server::Heartbeat;

/// The service manager, if it listens to us.
pub(super) struct Manager {
    notifier: Option<Arc<Notifier>>,
    watchdog: Option<Watchdog>,
}

impl Manager {
    /// Looks for the manager in the environment. `is_wanted` is what `--sdnotify` says.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Environment`] for a value of `NOTIFY_SOCKET`, `WATCHDOG_USEC` or `WATCHDOG_PID`
    /// that sd_notify(3) does not define.
    pub(super) fn find(is_wanted: bool) -> Result<Self> {
        let watchdog = Watchdog::from_env()
            .map_err(|error| Error::new(ErrorKind::Environment, error.to_string()));
        if !is_wanted {
            if let Ok(Some(_)) = watchdog {
                log::warn!(
                    "WATCHDOG_USEC is set but --sdnotify is not given: the service manager will \
                     miss the keep-alive and stop us; add --sdnotify or remove WatchdogSec="
                );
            }
            return Ok(Self { notifier: None, watchdog: None });
        }
        let watchdog = watchdog?;
        let notifier = Notifier::from_env()?.map(Arc::new);
        if notifier.is_none() {
            log::warn!(
                "--sdnotify is given but NOTIFY_SOCKET is not set: nobody is told; use Type=notify \
                 in the unit, and `podman run --sdnotify=container` (Notify=true) for a container"
            );
        }
        Ok(Self { notifier, watchdog })
    }

    /// Reports that the sockets are served: READY=1 first and alone, because runc and crun look
    /// only at the beginning of a message.
    pub(super) fn ready(&self, sockets: &[InheritedSocket]) {
        if self.notifier.is_some() {
            self.tell(&[State::Ready]);
            self.tell(&[State::Status(&status(sockets))]);
        }
    }

    /// The keep-alive for the server's event loop to send; `None` if no watchdog waits for it.
    pub(super) fn heartbeat(&self) -> Option<Heartbeat> {
        let (notifier, watchdog) = (self.notifier.clone()?, self.watchdog?);
        Some(Heartbeat {
            interval: watchdog.interval().max(INTERVAL_MIN),
            beat: Box::new(move || {
                // The loop has clients to serve: it does not wait for the manager.
                if let Err(error) = notifier.try_send(&[State::Watchdog]) {
                    log::warn!("{error}");
                }
            }),
        })
    }

    /// Reports that shutdown has begun; for the server's event loop to call.
    pub(super) fn stopping(&self) -> Option<Box<dyn FnOnce() + Send>> {
        let notifier = self.notifier.clone()?;
        Some(Box::new(move || {
            if let Err(error) = notifier.try_send(&[State::Stopping]) {
                log::warn!("{error}");
            }
        }))
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
