//! The sockets that a service manager handed over: how many, their names, and what they are.
//!
//! This is sd_listen_fds(3) and sd_is_socket(3), with an explanation of whatever is wrong. Start
//! with [`Inherited::take`]: call it once, early.

#[expect(clippy::disallowed_methods, reason = "the entry reads the environment")]
mod env;
#[expect(clippy::disallowed_types, reason = "LISTEN_FDS has numbers")]
mod inherited;
mod kind;
mod refusal;

pub use crate::proc::{Process as Ancestor, ancestry};
pub use env::{
    Environment, EnvironmentError, LISTEN_FDS_MAX, LISTEN_FDS_START, Process, UNKNOWN_NAME,
};
pub use inherited::{Inherited, InheritedFd, InheritedSocket, Origin, own_pidfd_id};
pub use kind::{Family, FileKind, Kind, Role, Service, SocketKind};
