//! The echo server: it is handed its sockets, its limits and a shutdown handle; it never binds,
//! parses arguments or reads the environment.

use crate::activation::InheritedSocket;
use crate::error::Result;

/// What a peer or a user can grow, and how far.
#[derive(Debug, Clone, Default)]
pub struct Limits {}

/// Tells [`run`] when to stop.
#[derive(Debug)]
pub struct Shutdown {}

impl Shutdown {
    /// Stops on SIGTERM and SIGINT.
    ///
    /// # Errors
    ///
    /// Those of signalfd(2).
    pub fn on_signals() -> Result<Self> {
        Ok(Self {})
    }
}

/// Echoes on the sockets until `shutdown`.
///
/// # Errors
///
/// A system call of the event loop that failed.
pub fn run(_sockets: Vec<InheritedSocket>, _limits: &Limits, _shutdown: Shutdown) -> Result<()> {
    Ok(())
}
