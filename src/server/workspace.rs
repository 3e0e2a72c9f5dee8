//! What a worker lends to whichever of its sockets has its turn: the one receive buffer, the
//! limits, the counters, and the debug log.

use std::os::fd::AsFd;

use super::Statistics;
use super::limits::Limits;
use super::peer::Peer;
use super::pipe::Pipes;

pub(super) struct Workspace<'a> {
    /// Its memory costs nothing until a message that long arrives.
    pub(super) buffer: Vec<u8>,
    pub(super) pipes: Pipes,
    pub(super) limits: &'a Limits,
    pub(super) statistics: Statistics,
    /// Whether a connection waits for memory of the kernel's (`ENOBUFS`), of which no event tells.
    pub(super) is_short_of_memory: bool,
    /// The name of each inherited socket.
    names: &'a [String],
    /// Whether anybody listens to the debug log; asked once, because it is asked for each message.
    traces: bool,
}

impl<'a> Workspace<'a> {
    pub(super) fn new(limits: &'a Limits, names: &'a [String]) -> Self {
        Self {
            buffer: vec![0; limits.stream_buffer_bytes.max(limits.message_bytes_max)],
            pipes: Pipes::new(limits.pipes_max),
            limits,
            statistics: Statistics::default(),
            is_short_of_memory: false,
            names,
            traces: log::log_enabled!(log::Level::Debug),
        }
    }

    pub(super) fn message_buffer(&mut self) -> &mut [u8] {
        &mut self.buffer[..self.limits.message_bytes_max]
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
