//! A command and its one socket, ready to start: what `bench` measures a cold start with.

use std::ffi::OsString;
use std::os::fd::OwnedFd;

use super::target::Target;
use super::{bind, explain, hand_over};
use crate::address::Address;
use crate::cli::ActivateArgs;
use crate::error::{Error, Result};

/// A program that was found, as `activate` finds it.
#[derive(Debug)]
pub(in crate::command) struct Program(Target);

impl Program {
    /// # Errors
    ///
    /// The program is not found, or is none.
    pub(in crate::command) fn find(command: Vec<OsString>) -> Result<Self> {
        Target::new(&ActivateArgs { command, ..ActivateArgs::default() }).map(Self)
    }

    /// Becomes the program, with the socket handed over. Comes back only with the error.
    pub(in crate::command) fn exec(&self, socket: OwnedFd, name: &str) -> Error {
        hand_over::exec(&self.0, vec![(socket, name.to_owned())], &[])
    }
}

/// Binds `address`; gives the socket and where it really is.
///
/// # Errors
///
/// The address cannot be bound.
pub(in crate::command) fn bind_one(address: &Address, backlog: i32) -> Result<(OwnedFd, Address)> {
    let bound = bind::bind(address, backlog, "");
    let mut bound = bound.map_err(|failure| explain::error(address, failure))?;
    bound.file.keep();
    Ok((bound.fd, bound.address.unwrap_or_else(|| address.clone())))
}
