//! The client: connects to an [`Address`](crate::address::Address) of any family within a deadline,
//! sends and receives, and has a name for everything that can go wrong.
//!
//! [`connect`] returns a [`Connection`]. An [`Exchange`] sends messages of a [`Pattern`] over it
//! and verifies the echo. A [`Failure`] has the [`Symptom`], and becomes an
//! [`Error`](crate::error::Error) with the likely cause and the next command to run.

#[expect(clippy::disallowed_methods, reason = "a reply needs an address of its own")]
mod connect;
mod connection;
mod diagnosis;
mod exchange;
mod failure;
mod mux;
#[expect(clippy::disallowed_methods, reason = "only a local address can be bound")]
mod nearby;
mod pattern;
mod unix_path;

pub use connect::connect;
pub(crate) use connect::has_vsock_loopback;
pub use connection::Connection;
pub use exchange::{Exchange, Times};
pub use failure::{Failure, Symptom};
pub use pattern::{Message, Pattern};

pub use crate::deadline::Deadline;
