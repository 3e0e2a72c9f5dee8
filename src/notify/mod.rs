//! sd_notify(3): reports the state of a daemon to the service manager.
//!
//! [`Notifier`] sends [`State`]s over `AF_UNIX` and `AF_VSOCK`, stores descriptors in the fd store
//! and waits for barriers. [`Watchdog`] says how often to send [`State::Watchdog`].
//!
//! ```no_run
//! # use socket_activate_echo::notify::{Notifier, State};
//! if let Some(notifier) = Notifier::from_env()? {
//!     // A container engine reads only the beginning of a message, so READY=1 is sent alone.
//!     notifier.send(&[State::Ready])?;
//!     notifier.send(&[State::Status("serving 2 sockets")])?;
//! }
//! # Ok::<(), socket_activate_echo::error::Error>(())
//! ```

mod message;
#[expect(clippy::disallowed_methods, reason = "from_env reads NOTIFY_SOCKET")]
mod notifier;
mod socket;
mod state;
mod unix;
mod variable;
#[expect(clippy::disallowed_methods, reason = "a low port of its own proves a privilege")]
mod vsock;
#[expect(clippy::disallowed_methods, reason = "from_env reads WATCHDOG_USEC")]
mod watchdog;

pub use message::Message;
pub use notifier::Notifier;
pub use socket::{NotifySocket, VsockTarget};
pub use state::{FdName, State};
pub use variable::VariableError;
pub use watchdog::Watchdog;
