//! Processes and their sockets, as the kernel describes them. Only this module reads /proc.
//!
//! Other users choose some of these bytes: process names and socket paths. So text is
//! [`Escaped`](crate::text::Escaped) or lossy here, and no name can take the place of another
//! field. The table of proc_net_unix(5) is unsafe: it prints a path as it is, newlines included, so
//! a path can contain a whole fake row. [`sockets_at`] therefore asks sock_diag(7), which returns
//! each name with its length.

mod diag;
mod memory;
mod process;
mod sockets;

#[cfg(feature = "cli")]
pub(crate) use diag::accept_queue;
pub use memory::memory_max;
#[cfg(feature = "cli")]
pub(crate) use process::descriptors;
pub use process::{
    Cgroups, Fields, Process, ancestry, argument, cpu_nanoseconds, holders, own_descriptor_target,
    own_descriptors, processes, security_label, sysctl, variable,
};
pub(crate) use process::{describe, describe_chain};
pub use sockets::{served_alike, serving, sockets_at};

/// A socket of any process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Socket {
    /// Whether clients can reach it: it listens, or is a datagram socket without a peer.
    pub serves: bool,
    /// Its inode number, by which [`holders`] finds its processes.
    pub inode: u64,
}
