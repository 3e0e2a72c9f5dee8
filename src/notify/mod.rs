//! sd_notify(3): reporting our state to the service manager.
//!
//! [`Notifier`] sends over `AF_UNIX` and `AF_VSOCK` what [`State`] names, hands descriptors to the
//! fd store and waits for barriers. [`Watchdog`] is how often to send [`State::Watchdog`].
//!
//! ```no_run
//! # use socket_activate_echo::notify::{Notifier, State};
//! if let Some(notifier) = Notifier::from_env()? {
//!     // A container engine looks only at the beginning of a message: READY=1 goes alone.
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
