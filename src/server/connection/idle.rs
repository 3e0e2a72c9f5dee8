//! Whether anything moves on a connection.

use std::os::fd::AsFd;

use super::Connection;
use crate::server::idle::PERIODS;
use crate::sys::option;

/// When something moved the last time.
#[derive(Debug, Clone, Copy)]
pub(super) struct Activity {
    /// The number of the period.
    period: u32,
    /// What the peer had not taken when this was last asked. An event comes only when much of it
    /// is taken, and a slow peer takes it for long. 0 stays 0 until more is sent.
    untaken: u32,
}

impl Activity {
    /// Something was sent or received in this period.
    pub(super) fn now(period: u32) -> Self {
        Self { period, untaken: u32::MAX }
    }
}

impl Connection {
    /// Notes that something is sent or received.
    pub(super) fn has_moved(&mut self, period: u32) {
        self.activity = Activity::now(period);
    }

    /// Whether the peer has neither sent nor taken anything for all periods of the timeout. It is
    /// asked once in each period.
    pub(in crate::server) fn is_idle(&mut self, period: u32) -> bool {
        let Activity { period: last, untaken } = self.activity;
        if last == period {
            return false;
        }
        if untaken > 0 {
            let now = option::unsent(self.as_fd()).unwrap_or(0);
            let now = u32::try_from(now).unwrap_or(u32::MAX - 1);
            // The first answer after a period in which something moved is less than `u32::MAX`. So
            // the timeout begins with the period that follows, and is never too short.
            let last = if now < untaken { period } else { last };
            self.activity = Activity { period: last, untaken: now };
        }
        period.wrapping_sub(self.activity.period) >= PERIODS
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    use super::*;
    use crate::server::connection::Protocol;
    use crate::server::permits::Permits;

    fn pair() -> (UnixStream, UnixStream, Connection) {
        let (peer, ours) = UnixStream::pair().expect("socketpair(2)");
        let held = ours.try_clone().expect("dup");
        let permit = Permits::new(1).take().expect("the only one");
        (peer, held, Connection::new(ours.into(), 0, Protocol::UnixStream, permit))
    }

    /// In which of the following periods it is idle for the first time.
    fn idle_after(connection: &mut Connection, period: u32) -> u32 {
        let mut periods = 1..100;
        periods.find(|count| connection.is_idle(period.wrapping_add(*count))).expect("it is idle")
    }

    #[test]
    fn a_connection_is_idle_after_the_whole_timeout_and_not_before() {
        for start in [0, 7, u32::MAX - 3] {
            let (_peer, _held, mut connection) = pair();
            connection.has_moved(start);
            assert!(!connection.is_idle(start));
            // What moved in the middle of a period has the rest of that in addition.
            assert_eq!(idle_after(&mut connection, start), PERIODS + 1);
        }
    }

    #[test]
    fn a_peer_that_takes_what_it_is_owed_is_not_idle() {
        let (mut peer, mut held, mut connection) = pair();
        for _ in 0..4 {
            held.write_all(b"owed").expect("send");
        }
        for period in [0, 6, 12, 18] {
            assert!((1..=6).all(|count| !connection.is_idle(period + count)), "{period}");
            peer.read_exact(&mut [0; 4]).expect("receive");
        }
        assert_eq!(idle_after(&mut connection, 24), PERIODS + 1, "it has taken everything");
        held.write_all(b"owed").expect("send");
        connection.has_moved(100);
        assert_eq!(idle_after(&mut connection, 100), PERIODS + 1, "it takes nothing");
    }

    #[test]
    fn an_idle_connection_costs_no_more_than_a_cache_line() {
        assert!(size_of::<Option<Connection>>() <= 64, "{}", size_of::<Option<Connection>>());
    }
}
