//! One message there and back, every byte verified.

use std::io;
use std::time::{Duration, Instant};

use super::pattern::{Difference, Pattern};
use crate::address::Style;
use crate::client::{Connection, Deadline, Failure, Symptom};
use crate::error::ErrorKind;

/// What is sent and received at once of a stream.
const CHUNK: usize = 64 * 1024;
/// How long the server has to end a connection that was half-closed, before that is noted.
const END_PATIENCE: Duration = Duration::from_secs(1);
/// How long a datagram that should not come is waited for.
const SURPLUS_PATIENCE: Duration = Duration::from_millis(20);

/// What is sent, over one connection after another.
#[derive(Debug, Clone, Copy)]
pub(super) struct Plan {
    pub(super) pattern: Pattern,
    pub(super) size: usize,
    pub(super) timeout: Duration,
}

/// The times of one message, from before its first byte was sent.
#[derive(Debug, Clone, Copy)]
pub(super) struct Times {
    /// Until the first byte of the reply.
    pub(super) first: Duration,
    /// Until its last.
    pub(super) round_trip: Duration,
}

impl Plan {
    /// Sends message number `message` and verifies what comes back. Calls `begun` once a part of
    /// it is there.
    pub(super) fn exchange(
        self,
        at: &Connection,
        message: u32,
        begun: impl Fn(),
    ) -> Result<Times, Failure> {
        match at.style() {
            Style::Stream => self.stream(at, message, begun),
            Style::Datagram | Style::Seqpacket => self.packet(at, message),
        }
    }

    fn stream(self, at: &Connection, message: u32, begun: impl Fn()) -> Result<Times, Failure> {
        let size = self.size as u64;
        let mut out = Outgoing::new(self.pattern, message, self.size);
        let mut buffer = vec![0; CHUNK.min(self.size)];
        let mut scratch = buffer.clone();
        let (mut received, mut first) = (0, None);
        let started = Instant::now();
        while received < size {
            let room = buffer.len().min((size - received) as usize);
            let (sent, length) = at
                .send_and_receive(out.unsent(), &mut buffer[..room], Deadline::after(self.timeout))
                .map_err(|error| self.broken(at, received, error))?;
            out.advance(sent);
            let Some(length) = length else { continue };
            if length == 0 {
                return Err(ended(at, received, size));
            }
            first.get_or_insert_with(|| started.elapsed());
            let got = &buffer[..length];
            self.pattern
                .compare(message, received, got, &mut scratch)
                .map_err(|difference| self.wrong(at, message, received, got, &difference))?;
            if received == 0 {
                begun();
            }
            received += length as u64;
        }
        let round_trip = started.elapsed();
        Ok(Times { first: first.unwrap_or(round_trip), round_trip })
    }

    fn packet(self, at: &Connection, message: u32) -> Result<Times, Failure> {
        let bytes = self.pattern.message(message, self.size);
        // One byte more: recv(2) of no bytes at all would not tell a datagram from none.
        let mut buffer = vec![0; self.size + 1];
        let deadline = Deadline::after(self.timeout);
        let started = Instant::now();
        let length = at
            .send(&bytes, deadline)
            .and_then(|()| at.receive(&mut buffer, deadline))
            .map_err(|error| self.broken(at, 0, error))?;
        let round_trip = started.elapsed();
        if length == 0 && at.style() == Style::Seqpacket {
            return Err(ended(at, 0, self.size as u64));
        }
        let got = &buffer[..length.min(self.size)];
        self.pattern
            .compare(message, 0, got, &mut vec![0; got.len()])
            .map_err(|difference| self.wrong(at, message, 0, got, &difference))?;
        match length.cmp(&self.size) {
            std::cmp::Ordering::Less => Err(Failure::new(
                Symptom::Truncated,
                at.address(),
                format!(
                    "{}: {length} of {} bytes came back in one message",
                    at.address(),
                    self.size
                ),
            )),
            std::cmp::Ordering::Greater => Err(surplus(at, length - self.size)),
            std::cmp::Ordering::Equal => Ok(Times { first: round_trip, round_trip }),
        }
    }

    /// After the last message: nothing more may come. Gives a note if a half-closed connection is
    /// not ended by the server.
    pub(super) fn finish(self, at: &Connection) -> Result<Option<&'static str>, Failure> {
        let mut buffer = [0; 1024];
        if at.style() == Style::Datagram {
            return match at.receive(&mut buffer, Deadline::after(SURPLUS_PATIENCE)) {
                Ok(_) => Err(Failure::new(
                    Symptom::Surplus,
                    at.address(),
                    format!("{}: another datagram followed the last reply", at.address()),
                )),
                Err(_) => Ok(None),
            };
        }
        if at.half_close().is_err() {
            return Ok(None);
        }
        match at.receive(&mut buffer, Deadline::after(END_PATIENCE.min(self.timeout))) {
            Ok(0) => Ok(None),
            Ok(length) => Err(surplus(at, length)),
            Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                Ok(Some("the connection stays open after a half-close"))
            }
            Err(_) => Ok(Some("the connection is reset after a half-close")),
        }
    }

    fn broken(self, at: &Connection, received: u64, error: io::Error) -> Failure {
        let address = at.address();
        let size = self.size;
        match Symptom::of_exchange(address, &error) {
            Symptom::NoReply if received > 0 => Failure::new(
                Symptom::Stalled,
                address,
                format!(
                    "{address}: {received} of {size} bytes came back, then nothing for {} s",
                    self.timeout.as_secs_f32()
                ),
            ),
            Symptom::NoReply => Failure::new(
                Symptom::NoReply,
                address,
                format!("{address}: no reply within {} s", self.timeout.as_secs_f32()),
            ),
            // A datagram socket hears of it only now.
            symptom if symptom.kind() == ErrorKind::Connect => {
                Failure::new(symptom, address, format!("send to {}", at.peer())).because(error)
            }
            symptom => Failure::new(
                symptom,
                address,
                format!("{address}: {received} of {size} bytes came back"),
            )
            .because(error),
        }
    }

    fn wrong(
        self,
        at: &Connection,
        message: u32,
        offset: u64,
        got: &[u8],
        difference: &Difference,
    ) -> Failure {
        let address = at.address();
        let rest = &got[(difference.offset - offset) as usize..];
        let hint = self
            .pattern
            .recognise(message, self.size as u64, difference.offset, rest)
            .map_or_else(String::new, |words| format!(" ({words})"));
        Failure::new(
            Symptom::WrongBytes,
            address,
            format!(
                "{address}: message {} differs at offset {} of {}: 0x{:02x} was sent, 0x{:02x} \
                 came back{hint}",
                message + 1,
                difference.offset,
                self.size,
                difference.expected,
                difference.got
            ),
        )
    }
}

fn ended(at: &Connection, received: u64, size: u64) -> Failure {
    let address = at.address();
    let message =
        format!("{address}: the connection ended after {received} of {size} bytes came back");
    Failure::new(Symptom::Closed, address, message)
}

fn surplus(at: &Connection, length: usize) -> Failure {
    let address = at.address();
    Failure::new(
        Symptom::Surplus,
        address,
        format!("{address}: {length} bytes more came back than were sent"),
    )
}

/// The part of a stream's message that is yet to be sent.
struct Outgoing {
    pattern: Pattern,
    message: u32,
    size: usize,
    /// How much of the message the kernel has taken.
    sent: usize,
    chunk: Vec<u8>,
    /// How much of the chunk the kernel has taken.
    used: usize,
}

impl Outgoing {
    fn new(pattern: Pattern, message: u32, size: usize) -> Self {
        let chunk = pattern.message(message, size.min(CHUNK));
        Self { pattern, message, size, sent: 0, chunk, used: 0 }
    }

    /// The next bytes to send; none once all are sent.
    fn unsent(&mut self) -> &[u8] {
        if self.used == self.chunk.len() && self.sent < self.size {
            self.chunk.truncate(CHUNK.min(self.size - self.sent));
            self.pattern.fill(self.message, self.sent as u64, &mut self.chunk);
            self.used = 0;
        }
        &self.chunk[self.used..]
    }

    /// The kernel has taken so much of them.
    fn advance(&mut self, length: usize) {
        self.used += length;
        self.sent += length;
    }
}
