//! The limits of everything that a peer or a user can make grow.

use std::time::Duration;

use crate::error::{Error, ErrorKind, Result};

/// The limits of a server. The defaults suit a machine of any size.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Connections at the same time, over all workers. More wait in the kernel's backlog. By
    /// default, only the descriptor limit (`RLIMIT_NOFILE`) bounds them.
    pub connections_max: u32,
    /// Connections of one source at the same time, over all workers: of an IPv4 address, an IPv6
    /// network of 64 bits, a user of unix sockets or a vsock CID. What is above that is refused:
    /// accepted and closed at once. Inherited connections count, and are never refused.
    /// `u32::MAX`: no limit.
    pub connections_max_per_source: u32,
    /// How long a connection may neither send anything nor take anything that it is owed. Then it
    /// ends, within an eighth of that time. Never during a shutdown. `None`: no limit.
    pub idle_timeout: Option<Duration>,
    /// Bytes that are kept for all connections whose peers do not read, with the overhead of each.
    /// Each worker has an equal share. At the limit, bytes stay unread in the kernel instead, until
    /// the peer reads: nobody is cut off, and who reads is served.
    pub unread_bytes_max: usize,
    /// Bytes that one connection may have received and not yet sent back. It is the size of a
    /// worker's receive buffer, and the most that is kept for a peer that does not read.
    pub stream_buffer_bytes: usize,
    /// Bytes of one message over unix datagram, seqpacket and one-to-many SCTP sockets. Linux
    /// allocates the head of such a message in one piece, of at most 4 MiB.
    pub message_bytes_max: usize,
    /// Bytes that all connections with work echo in one round. Each connection has an equal share,
    /// but at least 64 KiB unless this limit is lower. Each receive counts as at least 4 KiB.
    pub round_bytes: usize,
    /// Pipes for bulk data, for each worker. Without a free pipe, a connection is served by
    /// copying.
    pub pipes_max: usize,
    /// Connections that are accepted from one listener before other sockets get their turn.
    pub turn_accepts: usize,
    /// Datagrams that are received with one call.
    pub batch_datagrams: usize,
    /// Bytes of the replies that one datagram socket keeps for receivers that are not ready, with
    /// the overhead of each. The clients of one user get at most half of what nobody else uses; a
    /// single reply may be as long as any message.
    pub deferred_bytes_max: usize,
    /// How long such replies are kept while their receiver accepts none of them.
    pub deferred_reply_age_max: Duration,
    /// How long a datagram socket stops receiving when a sender has used nearly all of its share,
    /// so that the sender can read; a tenth of it if that has not helped recently.
    pub deferred_pause_max: Duration,
    /// How long a shutdown waits for peers to receive their replies.
    pub drain_time_max: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections_max: u32::MAX,
            connections_max_per_source: u32::MAX,
            idle_timeout: None,
            unread_bytes_max: 64 * 1024 * 1024,
            stream_buffer_bytes: 256 * 1024,
            message_bytes_max: 4 * 1024 * 1024 + 128 * 1024,
            round_bytes: 256 * 1024,
            pipes_max: 32,
            turn_accepts: 64,
            batch_datagrams: 64,
            deferred_bytes_max: 4 * 1024 * 1024,
            deferred_reply_age_max: Duration::from_secs(5),
            deferred_pause_max: Duration::from_millis(100),
            drain_time_max: Duration::from_secs(5),
        }
    }
}

/// The smallest share of a connection in a round. With it, bulk is as fast as a plain loop of such
/// reads. Shorter shares lose throughput, longer ones make small peers wait (docs/benchmarks.md).
const SHARE_MIN: usize = 64 * 1024;

impl Limits {
    /// Bytes that each of this many connections may echo in a round.
    pub(super) fn share(&self, connections: usize) -> usize {
        (self.round_bytes / connections.max(1)).max(SHARE_MIN.min(self.round_bytes))
    }

    /// Checks that a server can work within the limits.
    pub(super) fn check(&self) -> Result<()> {
        for (name, value) in [
            ("connections_max", self.connections_max as usize),
            ("connections_max_per_source", self.connections_max_per_source as usize),
            ("idle_timeout", usize::from(self.idle_timeout != Some(Duration::ZERO))),
            ("stream_buffer_bytes", self.stream_buffer_bytes),
            ("message_bytes_max", self.message_bytes_max),
            ("round_bytes", self.round_bytes),
            ("turn_accepts", self.turn_accepts),
            ("batch_datagrams", self.batch_datagrams),
        ] {
            if value == 0 {
                let message = format!("the limit {name} is 0, and nothing could be served");
                return Err(Error::new(ErrorKind::Usage, message).remedy("use 1 or more"));
            }
        }
        // recvmmsg(2) accepts no more at once.
        if self.batch_datagrams > BATCH_DATAGRAMS_MAX {
            let given = self.batch_datagrams;
            let message = format!("the limit batch_datagrams is {given}");
            let remedy = format!("use at most {BATCH_DATAGRAMS_MAX}");
            return Err(Error::new(ErrorKind::Usage, message).remedy(remedy));
        }
        Ok(())
    }
}

/// `UIO_MAXIOV` of Linux.
const BATCH_DATAGRAMS_MAX: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_round_is_shared_and_no_share_is_tiny() {
        let limits = Limits { round_bytes: 1024 * 1024, ..Limits::default() };
        for (connections, share) in
            [(0, 1024), (1, 1024), (2, 512), (16, 64), (17, 64), (10_000, 64)]
        {
            assert_eq!(limits.share(connections), share * 1024, "{connections}");
        }
        assert_eq!(Limits { round_bytes: 1, ..limits }.share(3), 1);
    }

    #[test]
    fn what_cannot_work_is_refused() {
        Limits::default().check().expect("the defaults work");
        let changes: [fn(&mut Limits); 9] = [
            |limits| limits.connections_max = 0,
            |limits| limits.connections_max_per_source = 0,
            |limits| limits.idle_timeout = Some(Duration::ZERO),
            |limits| limits.stream_buffer_bytes = 0,
            |limits| limits.message_bytes_max = 0,
            |limits| limits.round_bytes = 0,
            |limits| limits.turn_accepts = 0,
            |limits| limits.batch_datagrams = 0,
            |limits| limits.batch_datagrams = usize::MAX,
        ];
        for change in changes {
            let mut limits = Limits::default();
            change(&mut limits);
            limits.check().expect_err("refused");
        }
    }
}
