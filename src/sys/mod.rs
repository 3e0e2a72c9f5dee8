//! The only unsafe code: thin, typed wrappers of the system calls that no library wraps safely.
//!
//! One call a block, each with the fact that makes it sound. Nothing here decides anything.

#![allow(unsafe_code)]

pub(crate) mod control;
pub(crate) mod descriptor;
#[cfg(feature = "cli")]
pub(crate) mod handover;
pub(crate) mod message;
pub(crate) mod option;
#[cfg(feature = "cli")]
pub(crate) mod query;
pub(crate) mod queue;
pub(crate) mod signal;
pub(crate) mod sockaddr;
