//! An echo server for systemd socket activation, and its parts, for other daemons to use.
//!
//! Read in this order: [`activation`] takes the inherited sockets, [`server`] echoes on them,
//! [`notify`] reports to the service manager. [`activator`] is the other side: it binds sockets and
//! starts a program with them. [`address`] is the grammar of addresses. [`text`] makes text from
//! outside safe to show.

#![cfg_attr(test, allow(clippy::disallowed_methods, reason = "the tests bind sockets"))]

pub mod activation;
pub mod activator;
pub mod address;
pub mod deadline;
pub mod error;
pub mod notify;
pub mod proc;
pub mod sandbox;
pub mod server;
pub mod text;

mod backoff;
mod sys;
#[cfg(test)]
mod testing;

#[cfg(feature = "cli")]
pub mod client;

#[cfg(feature = "cli")]
pub mod cli;

#[cfg(feature = "cli")]
pub mod command;
