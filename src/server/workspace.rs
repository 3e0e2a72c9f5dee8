//! What a worker passes to the socket that has its turn: the receive buffer, the poller, the
//! limits, the counters, and the debug log.

use std::os::fd::AsFd;

use super::answer::Answer;
use super::limits::Limits;
use super::observer::Statistics;
use super::pace::Pace;
use super::peer::Peer;
use super::permits::Permits;
use super::pipe::Pipes;
use super::poller::Poller;
use super::shared::Shared;
use super::unread::Unread;
use crate::error::Result;

pub(super) struct Workspace<'a> {
    pub(super) poller: Poller,
    /// It uses no memory beyond the longest message so far.
    pub(super) buffer: Vec<u8>,
    pub(super) pipes: Pipes,
    pub(super) limits: &'a Limits,
    /// What a socket says that does not echo.
    pub(super) answer: Option<&'a dyn Answer>,
    /// What must be passed before datagrams are received, if the server ends when it is idle.
    pub(super) gate: Option<&'a Permits>,
    /// Bytes that a connection may echo in its turn: fewer if more connections wait.
    pub(super) turn_bytes: usize,
    /// What is kept for peers that do not read.
    pub(super) unread: Unread,
    /// The number of the present period, see `idle`.
    pub(super) period: u32,
    pub(super) idle_lines: &'a Pace,
    pub(super) statistics: Statistics,
    /// Bytes that came after the start of a shutdown, and were dropped.
    pub(super) dropped_bytes: u64,
    /// The name of each inherited socket.
    names: &'a [String],
    /// Whether the debug log is enabled; asked once, because each message needs to know.
    traces: bool,
}

impl<'a> Workspace<'a> {
    pub(super) fn new(shared: &'a Shared<'a>) -> Result<Self> {
        let limits = shared.limits;
        Ok(Self {
            poller: Poller::new(shared.busy_poll)?,
            buffer: vec![0; limits.stream_buffer_bytes.max(limits.message_bytes_max)],
            pipes: Pipes::new(limits.pipes_max),
            limits,
            answer: shared.answer,
            gate: shared.gate(),
            turn_bytes: limits.share(1),
            unread: Unread::new(limits.unread_bytes_max),
            period: 0,
            idle_lines: &shared.idle_lines,
            statistics: Statistics::default(),
            dropped_bytes: 0,
            names: shared.names,
            traces: log::log_enabled!(log::Level::Debug),
        })
    }

    pub(super) fn name(&self, source: usize) -> &'a str {
        &self.names[source]
    }

    pub(super) fn traces(&self) -> bool {
        self.traces
    }

    #[inline]
    pub(super) fn trace_receive(&mut self, source: usize, socket: impl AsFd, len: usize) {
        self.statistics.bytes += len as u64;
        if self.traces {
            let (name, peer) = (self.name(source), Peer::of(socket));
            log::debug!("recv {len} bytes on {name} from {peer}");
        }
    }

    #[inline]
    pub(super) fn trace_send(&self, source: usize, socket: impl AsFd, len: usize) {
        if self.traces {
            let (name, peer) = (self.name(source), Peer::of(socket));
            log::debug!("send {len} bytes on {name} to {peer}");
        }
    }

    pub(super) fn trace_accept(&self, source: usize, socket: impl AsFd) {
        if self.traces {
            log::debug!("accept on {} from {}", self.name(source), Peer::of(socket));
        }
    }

    /// Counts datagrams that get no reply.
    pub(super) fn unanswered(&mut self, source: usize, count: usize, why: impl std::fmt::Display) {
        self.statistics.unanswered += count as u64;
        if self.traces {
            log::debug!("not answered on {}: {count} × {why}", self.name(source));
        }
    }

    pub(super) fn trace_close(
        &self,
        source: usize,
        socket: impl AsFd,
        error: Option<&std::io::Error>,
    ) {
        if self.traces {
            let (name, peer) = (self.name(source), Peer::of(socket));
            match error {
                Some(error) => log::debug!("close on {name} from {peer}: {error}"),
                None => log::debug!("close on {name} from {peer}"),
            }
        }
    }
}
