//! Tests one address, from the connect to the verdict.

use std::time::{Duration, Instant};

use super::notice::{Notice, Phase};
use super::report::{Measured, Report, Verdict};
use crate::address::{Address, Style};
use crate::client::{Connection, Exchange, Failure, Pattern, Symptom, connect};

/// What to do at each address.
#[derive(Debug, Clone, Copy)]
pub(super) struct Task {
    pub(super) size: usize,
    pub(super) count: u32,
    pub(super) timeout: Duration,
    /// Whether to retry until something listens.
    pub(super) wait: bool,
}

/// Where the addresses come from. The demo set does not fail because the kernel lacks a family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    User,
    DemoSet,
}

impl Task {
    pub(super) fn run(self, address: &Address, origin: Origin) -> Report {
        if let Some(reason) = self.nothing_to_send(address) {
            return Report::new(address, Measured::default(), Verdict::Skipped(reason.to_owned()));
        }
        let mut measured = Measured::default();
        let verdict = match self.measure(address, &mut measured) {
            Ok(note) => Verdict::Echoed(note),
            Err(failure) => match (origin, skip_reason(&failure)) {
                (Origin::DemoSet, Some(reason)) => Verdict::Skipped(reason),
                _ => Verdict::Failed(failure),
            },
        };
        Report::new(address, measured, verdict)
    }

    /// Why the address cannot be probed with empty messages.
    pub(super) fn nothing_to_send(self, address: &Address) -> Option<&'static str> {
        match address.style() {
            Style::Datagram => None,
            _ if self.size > 0 => None,
            Style::Stream => Some("a stream has no empty messages"),
            Style::Seqpacket => Some("an empty message means the end of the connection"),
        }
    }

    fn measure(
        self,
        address: &Address,
        measured: &mut Measured,
    ) -> Result<Option<&'static str>, Failure> {
        let notice = Notice::start(address, self.timeout);
        let (mut exchange, pattern) = notice.until_somebody_listens(self.wait, |timeout| {
            *measured = Measured::default();
            self.first_reply(connect(address, timeout)?, &notice, measured)
        })?;
        for number in 1..self.count {
            notice.phase(Phase::Reply { first: false }, Instant::now());
            let message = pattern.message(number, self.size);
            measured.round_trips.push(exchange.verify(message, || notice.rest())?.round_trip);
        }
        exchange.finish()
    }

    /// A datagram socket learns only here that nobody listens.
    fn first_reply(
        self,
        connection: Connection,
        notice: &Notice,
        measured: &mut Measured,
    ) -> Result<(Exchange, Pattern), Failure> {
        measured.connect = Some(connection.connect_time);
        connection.reserve(self.size)?;
        let mut exchange = Exchange { connection, timeout: self.timeout };
        let pattern = Pattern::random(exchange.compared_at_once(self.size));
        notice.phase(Phase::Reply { first: true }, Instant::now());
        let times = exchange.verify(pattern.message(0, self.size), || notice.rest())?;
        measured.first_reply = Some(times.first);
        measured.round_trips.push(times.round_trip);
        Ok((exchange, pattern))
    }
}

/// Why a failure does not count in the demo set: `activate` omits what the kernel lacks, and a
/// message that is too large for a packet is known before anything is sent.
fn skip_reason(failure: &Failure) -> Option<String> {
    let left_out = match (&*failure.address, failure.symptom) {
        (_, Symptom::TooLarge) => true,
        (Address::Vsock(..), Symptom::NoTransport | Symptom::Unsupported) => true,
        (Address::Inet(..), Symptom::Unsupported) => true,
        // [::1] is not a local address if IPv6 is disabled by sysctl.
        (Address::Inet(..), Symptom::Unreachable) => {
            failure.io().is_some_and(|source| source.kind() == std::io::ErrorKind::AddrNotAvailable)
        }
        _ => false,
    };
    // The row already has the address.
    let (text, address) = (failure.to_string(), format!("{}: ", failure.address));
    left_out.then(|| text.split_once(&address).map_or(text.clone(), |(_, why)| why.to_owned()))
}
