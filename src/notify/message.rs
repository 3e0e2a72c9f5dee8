//! One message, from its text to its delivery.

use std::fmt;

use super::state::State;
use super::vsock;

/// A message for [`super::Notifier::try_send`], with what is already sent.
#[derive(Debug)]
pub struct Message {
    /// One assignment a line.
    pub(super) text: String,
    /// The connection that carries it over vsock, once there is one.
    pub(super) connection: Option<vsock::Connection>,
}

impl Message {
    /// The assignments as one message.
    pub fn new(states: &[State<'_>]) -> Self {
        let lines: Vec<_> = states.iter().map(State::to_string).collect();
        Self { text: lines.join("\n"), connection: None }
    }
}

/// The assignments in one line: `READY=1` or `FDSTORE=1 FDNAME=x`.
impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text.replace('\n', " "))
    }
}
