//! Everything that a peer or a user can grow, and how far.

use std::time::Duration;

/// The limits of a server. Each has a default that serves a machine of any size.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Connections at the same time, over all workers. More wait in the kernel's backlog. The
    /// descriptor limit (`RLIMIT_NOFILE`) bounds them anyway, so the default is no other bound.
    pub connections_max: u32,
    /// Bytes that one connection can have received and not yet sent back. This is the size of a
    /// worker's receive buffer, and the most that a peer that does not read makes us keep.
    pub stream_buffer_bytes: usize,
    /// Bytes of one message over unix datagram, seqpacket and one-to-many SCTP sockets. Linux
    /// allocates the head of such a message in one piece, of at most 4 MiB.
    pub message_bytes_max: usize,
    /// Bytes that one connection echoes before the others have their turn.
    pub turn_bytes: usize,
    /// Pipes for bulk data, for each worker; connections beyond them are served by copying.
    pub pipes_max: usize,
    /// Connections that are accepted from one listener before the others have their turn.
    pub turn_accepts: usize,
    /// Datagrams that are received with one call.
    pub batch_datagrams: usize,
    /// Replies that one datagram socket keeps for receivers that are not ready.
    pub deferred_replies_max: usize,
    /// How long such a reply is kept.
    pub deferred_reply_age_max: Duration,
    /// How long a shutdown waits for peers to take what was received from them.
    pub drain_time_max: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections_max: u32::MAX,
            stream_buffer_bytes: 256 * 1024,
            message_bytes_max: 4 * 1024 * 1024 + 128 * 1024,
            turn_bytes: 1024 * 1024,
            pipes_max: 32,
            turn_accepts: 64,
            batch_datagrams: 64,
            deferred_replies_max: 256,
            deferred_reply_age_max: Duration::from_secs(1),
            drain_time_max: Duration::from_secs(5),
        }
    }
}
