//! An echo server that takes its sockets from systemd socket activation, and the parts that it is
//! made of, for other daemons to use.
//!
//! Read in this order: [`activation`] finds out what was handed over, [`server`] echoes on it,
//! [`notify`] tells the service manager. [`activator`] is the other side: it binds sockets and starts a
//! program with them. [`address`] is the grammar that the verbs share, [`text`]
//! what makes text from outside safe to show.

#![cfg_attr(test, allow(clippy::disallowed_methods, reason = "the tests bind sockets"))]

pub mod activation;
pub mod activator;
pub mod address;
pub mod deadline;
pub mod error;
pub mod notify;
pub mod proc;
pub mod server;
pub mod text;

mod backoff;
mod sys;

#[cfg(feature = "cli")]
pub mod client;

#[cfg(feature = "cli")]
pub mod cli;

#[cfg(feature = "cli")]
pub mod command;
