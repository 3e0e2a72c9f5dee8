//! A connection that does not echo: it answers what comes first, and ends.

use std::io;
use std::os::fd::AsFd;

use super::backlog::{self, Backlog};
use super::protocol::Received;
use super::{Bulk, Connection, Phase, Turn, unfinished};
use crate::server::answer::{Asker, Question, Response};
use crate::server::workspace::Workspace;

impl Connection {
    /// The same connection, but it answers a question in place of an echo.
    pub(in crate::server) fn asked(self) -> Self {
        Self { phase: Phase::Asked { is_last: false }, bulk: Bulk::Never, ..self }
    }

    /// Whether it answers a question in place of an echo.
    pub(in crate::server) fn is_asked(&self) -> bool {
        matches!(self.phase, Phase::Asked { .. } | Phase::Answered { .. } | Phase::Lingering(_))
    }

    /// Answers what has come. It stays in the kernel's queue until then, so a question that is not
    /// complete needs no memory here. A stream that has ended is answered too, without a question.
    /// `is_last`: there is no other turn. `may_be_more`: the peer may have ended its stream.
    pub(super) fn answer(
        &mut self,
        is_last: bool,
        may_be_more: bool,
        space: &mut Workspace<'_>,
    ) -> io::Result<Turn> {
        let is_stream = self.protocol.is_stream();
        let most =
            if is_stream { Question::STREAM_BYTES_MAX } else { space.limits.message_bytes_max };
        let most = most.min(space.buffer.len());
        let buffer = &mut space.buffer[..most];
        let (received, mut is_taken) = match self.protocol.peek(self.fd.as_fd(), buffer) {
            // Some transports of vsock cannot peek.
            Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => {
                (self.protocol.receive(self.fd.as_fd(), buffer)?, true)
            }
            received => (received?, false),
        };
        let len = match received {
            Received::Nothing if is_last => return self.end(space),
            Received::Nothing => return Ok(Turn::Idle),
            Received::Starved => return Ok(Turn::Waits),
            Received::End => {
                is_taken = true;
                0
            }
            Received::Data { len, .. } => len,
        };
        let question = Question {
            socket: self.source(),
            asker: Asker::Connection(self.fd.as_fd()),
            bytes: &space.buffer[..len],
            is_whole: !is_stream || len == most || is_last || may_be_more || is_taken,
        };
        let response = space.answer.map(|answer| answer.answer(&question));
        let bytes = match response {
            Some(Response::Bytes(bytes)) => bytes,
            Some(Response::Incomplete) if !question.is_whole => return Ok(Turn::Idle),
            _ => Vec::new(),
        };
        if !is_taken {
            self.take(len, space)?;
        }
        space.trace_receive(self.source(), &self.fd, len);
        self.has_moved(space.period);
        self.phase = Phase::Answered { is_last };
        if bytes.is_empty() {
            return self.end(space);
        }
        let mut sent = 0;
        let outcome = backlog::send(self.fd.as_fd(), &bytes, &mut sent)?;
        space.trace_send(self.source(), &self.fd, sent);
        if let Some(turn) = unfinished(outcome) {
            self.backlog = Some(Box::new(Backlog::copy_of(&bytes[sent..], &space.unread)?));
            return Ok(turn);
        }
        self.end(space)
    }
}
