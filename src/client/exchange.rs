//! Sends messages over one connection and receives their echo.

use std::cmp::Ordering;
use std::fmt::Display;
use std::io;
use std::time::{Duration, Instant};

use super::connect::connect_to_one_of;
use super::{Connection, Deadline, Failure, Message, Symptom};
use crate::address::Style;
use crate::error::ErrorKind;

/// How much of a stream is sent and received at once.
const CHUNK: usize = 64 * 1024;
/// How long the server may take to end a half-closed connection before that is noted.
const END_PATIENCE: Duration = Duration::from_secs(1);
/// How long to wait for a datagram that should not come.
const SURPLUS_PATIENCE: Duration = Duration::from_millis(20);

/// A connection over which one message at a time is sent and echoed.
#[derive(Debug)]
pub struct Exchange {
    /// The connection.
    pub connection: Connection,
    /// How long to wait for the start of a reply, and for each next part.
    pub timeout: Duration,
}

/// The times of one message, measured from before its first byte was sent.
#[derive(Debug, Clone, Copy)]
pub struct Times {
    /// Until the first byte of the reply arrived.
    pub first: Duration,
    /// Until the last byte of the reply arrived.
    pub round_trip: Duration,
}

impl Exchange {
    /// How much of a message is compared at once: a part of a stream, or all of one packet.
    pub fn compared_at_once(&self, size: usize) -> usize {
        if self.is_stream() { CHUNK.min(size) } else { size }
    }

    /// Sends a message and verifies the echo. Calls `begun` when a part of it has arrived.
    ///
    /// # Errors
    ///
    /// A [`Failure`] that says how the reply differs, or why there is none.
    pub fn verify(&mut self, message: Message<'_>, begun: impl Fn()) -> Result<Times, Failure> {
        self.until_not_refused(|exchange| exchange.try_verify(message, &begun))
    }

    fn try_verify(&self, message: Message<'_>, begun: impl Fn()) -> Result<Times, Failure> {
        let size = message.size;
        let part = |sent| message.part(sent as u64, self.compared_at_once(size - sent));
        let (length, times) = self.round_trip((None, size), part, |offset, got| {
            let got = &got[..got.len().min(size - offset)];
            if let Some(words) = message.difference(offset as u64, got) {
                return Err(self.failure(Symptom::WrongBytes, words));
            }
            if offset == 0 {
                begun();
            }
            Ok(())
        })?;
        match length.cmp(&size) {
            Ordering::Less => {
                let words = format!("{length} of {size} bytes came back in one message");
                Err(self.failure(Symptom::Truncated, words))
            }
            Ordering::Equal => Ok(times),
            Ordering::Greater => Err(self.surplus(length - size)),
        }
    }

    /// Sends `bytes`, or only those after the first `sent`, and returns whatever comes back: of a
    /// stream as many bytes; of messages one, cut to one byte more than was sent.
    ///
    /// # Errors
    ///
    /// The [`Failure`] if nothing comes back, or only a part of a stream.
    pub fn echo(
        &mut self,
        bytes: &[u8],
        mut sent: Option<usize>,
    ) -> Result<(Vec<u8>, Times), Failure> {
        self.until_not_refused(|exchange| {
            let mut echo = Vec::with_capacity(bytes.len() + 1);
            let take = |_, got: &[u8]| {
                echo.extend_from_slice(got);
                Ok(())
            };
            let unsent = |sent| &bytes[sent..];
            // After a refusal, all of it is sent again to the next address.
            let (_, times) = exchange.round_trip((sent.take(), bytes.len()), unsent, take)?;
            Ok((echo, times))
        })
    }

    /// Sends a question and returns the answer, of at most `most` bytes: of messages one, of a stream
    /// what comes until `is_complete` or its end.
    ///
    /// # Errors
    ///
    /// The [`Failure`] if nothing comes, or not all of it within the time limit.
    pub fn ask(
        &mut self,
        question: &[u8],
        most: usize,
        is_complete: impl Fn(&[u8]) -> bool,
    ) -> Result<Vec<u8>, Failure> {
        self.until_not_refused(|exchange| exchange.try_ask(question, most, &is_complete))
    }

    fn try_ask(
        &self,
        question: &[u8],
        most: usize,
        is_complete: impl Fn(&[u8]) -> bool,
    ) -> Result<Vec<u8>, Failure> {
        let deadline = Deadline::after(self.timeout);
        let (mut unsent, mut answer) = (Some(question), Vec::new());
        let mut buffer = vec![0; most];
        loop {
            let room = most - answer.len();
            let (taken, length) = self
                .connection
                .send_and_receive(unsent, &mut buffer[..room], deadline)
                .map_err(|error| {
                    let came = format!("{} bytes of an answer came", answer.len());
                    self.broken(&came, !answer.is_empty(), error)
                })?;
            if let Some(taken) = taken {
                unsent = unsent.map(|rest| &rest[taken..]).filter(|rest| !rest.is_empty());
            }
            let Some(length) = length else { continue };
            answer.extend_from_slice(&buffer[..length.min(room)]);
            if answer.is_empty() && self.connection.style() != Style::Datagram {
                return Err(self.failure(Symptom::Closed, "the connection ended without an answer"));
            }
            let is_end = length == 0 || !self.is_stream() || answer.len() == most;
            if is_end || is_complete(&answer) {
                return Ok(answer);
            }
        }
    }

    /// Attempts the first exchange at each address of a host name in turn: a datagram socket learns
    /// only now that nobody listens.
    fn until_not_refused<T>(
        &mut self,
        mut attempt: impl FnMut(&Self) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        loop {
            let result = attempt(self);
            let untried = std::mem::take(&mut self.connection.untried);
            match &result {
                Err(failure)
                    if failure.symptom.kind() == ErrorKind::Connect
                        && self.connection.style() == Style::Datagram
                        && !untried.is_empty() => {}
                _ => return result,
            }
            let deadline = Deadline::after(self.timeout);
            self.connection = connect_to_one_of(&self.connection.address, &untried, deadline)?;
        }
    }

    /// Sends a message of `size` bytes, whose first `sent` bytes may already be sent; `part`
    /// returns the next bytes. Passes each received part and its offset to `take`. Returns the
    /// length of the echo.
    fn round_trip<'a>(
        &self,
        (sent, size): (Option<usize>, usize),
        part: impl Fn(usize) -> &'a [u8],
        mut take: impl FnMut(usize, &[u8]) -> Result<(), Failure>,
    ) -> Result<(usize, Times), Failure> {
        let at = &self.connection;
        let is_stream = self.is_stream();
        // One more byte of room shows a message that is too long, and an empty one that was
        // received.
        let mut buffer = vec![0; if is_stream { CHUNK.min(size) } else { size + 1 }];
        let (mut received, mut first) = (0, None);
        let rest = |sent: usize| (sent < size).then(|| part(sent));
        // `None` in `sent`: a message without bytes must be sent too.
        let mut unsent = sent.map_or_else(|| Some(part(0)), rest);
        let mut sent = sent.unwrap_or(0);
        let started = Instant::now();
        loop {
            let room = if is_stream { buffer.len().min(size - received) } else { buffer.len() };
            let deadline = Deadline::after(self.timeout);
            let (taken, length) =
                at.send_and_receive(unsent, &mut buffer[..room], deadline).map_err(|error| {
                    let came = format!("{received} of {size} bytes came back");
                    self.broken(&came, received > 0, error)
                })?;
            if let Some(taken) = taken {
                sent += taken;
                unsent = rest(sent);
            }
            let Some(length) = length else { continue };
            if length == 0 && at.style() != Style::Datagram {
                let words =
                    format!("the connection ended after {received} of {size} bytes came back");
                return Err(self.failure(Symptom::Closed, words));
            }
            let first = *first.get_or_insert_with(|| started.elapsed());
            let round_trip = started.elapsed();
            take(received, &buffer[..length.min(room)])?;
            received += length;
            if received >= size || !is_stream {
                return Ok((received, Times { first, round_trip }));
            }
        }
    }

    /// After the last message, nothing more may come. Returns a note if the server does not end a
    /// half-closed connection.
    ///
    /// # Errors
    ///
    /// [`Symptom::Surplus`] if something comes.
    pub fn finish(&self) -> Result<Option<&'static str>, Failure> {
        let at = &self.connection;
        let mut buffer = [0; 1024];
        if at.style() == Style::Datagram {
            return match at.receive(&mut buffer, Deadline::after(SURPLUS_PATIENCE)) {
                Ok(_) => {
                    Err(self.failure(Symptom::Surplus, "another datagram followed the last reply"))
                }
                Err(_) => Ok(None),
            };
        }
        if at.half_close().is_err() {
            return Ok(None);
        }
        match at.receive(&mut buffer, Deadline::after(END_PATIENCE.min(self.timeout))) {
            Ok(0) => Ok(None),
            Ok(length) => Err(self.surplus(length)),
            Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                Ok(Some("the connection stays open after a half-close"))
            }
            Err(_) => Ok(Some("the connection is reset after a half-close")),
        }
    }

    fn is_stream(&self) -> bool {
        self.connection.style() == Style::Stream
    }

    fn failure(&self, symptom: Symptom, words: impl Display) -> Failure {
        let address = &self.connection.address;
        Failure::new(symptom, address, format!("{address}: {words}")).at(&self.connection.target)
    }

    fn surplus(&self, length: usize) -> Failure {
        self.failure(Symptom::Surplus, format!("{length} bytes more came back than were sent"))
    }

    /// The failure after an error; `came` says how much came before.
    fn broken(&self, came: &str, has_begun: bool, error: io::Error) -> Failure {
        let address = &self.connection.address;
        let limit = self.timeout.as_secs_f32();
        match Symptom::of_exchange(address, &error) {
            Symptom::NoReply if has_begun => {
                self.failure(Symptom::Stalled, format!("{came}, then nothing for {limit} s"))
            }
            Symptom::NoReply => {
                self.failure(Symptom::NoReply, format!("no reply within {limit} s"))
            }
            // A datagram socket learns of a refusal only now.
            symptom if symptom.kind() == ErrorKind::Connect => {
                let message = format!("send to {}", self.connection.peer());
                Failure::new(symptom, address, message).because(error).at(&self.connection.target)
            }
            symptom => self.failure(symptom, came).because(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use super::*;
    use crate::address::Address;
    use crate::client::Pattern;

    /// A name with two addresses, if the kernel's table does not tell which one has a server.
    #[test]
    fn a_datagram_that_is_refused_goes_to_the_next_address() {
        let server = UdpSocket::bind("127.0.0.1:0").unwrap();
        let at = server.local_addr().unwrap();
        let address: Address = format!("udp:localhost:{}", at.port()).parse().unwrap();
        std::thread::spawn(move || {
            let mut buffer = [0; 100];
            loop {
                let (length, sender) = server.recv_from(&mut buffer).unwrap();
                server.send_to(&buffer[..length], sender).unwrap();
            }
        });
        let refuses = std::net::SocketAddr::new([127, 0, 0, 77].into(), at.port());
        let targets = [refuses, refuses, at].map(socket2::SockAddr::from);
        let timeout = Duration::from_secs(30);
        let connection = connect_to_one_of(&address, &targets, Deadline::after(timeout)).unwrap();
        let mut exchange = Exchange { connection, timeout };
        let pattern = Pattern::random(64);
        exchange.verify(pattern.message(0, 64), || ()).unwrap();
        assert_eq!(exchange.connection.target.as_socket(), Some(at));
        assert_eq!(exchange.echo(b"hello", None).unwrap().0, b"hello");
        // If the last address refuses too, the failure names that address.
        let connection =
            connect_to_one_of(&address, &targets[..2], Deadline::after(timeout)).unwrap();
        let failure = Exchange { connection, timeout }.echo(b"hello", None).unwrap_err();
        assert_eq!(failure.symptom, Symptom::Refused, "{failure}");
    }
}
