//! Sends over a socket, and verifies the echo.

use std::collections::{BTreeSet, VecDeque};
use std::io::{self, ErrorKind, Read, Write};
use std::sync::LazyLock;

use socket2::{SockAddr, Socket};

use crate::clients::pattern;

/// What is sent. Its period is a prime number, so that a chunk that is left out shows.
static PATTERN: LazyLock<Vec<u8>> = LazyLock::new(|| pattern(65_521));

/// What a peer that fills the buffers reads at once.
const BULK_READ: usize = 1 << 20;

/// Positions in a stream of bytes.
#[derive(Default)]
pub(super) struct Stream {
    /// Where in the pattern it begins: no two connections send the same.
    pub(super) start: usize,
    pub(super) goal: usize,
    pub(super) sent: usize,
    pub(super) received: usize,
    /// How many times in a row nothing was taken.
    pub(super) turns_stuck: u32,
    pub(super) is_closing: bool,
}

/// Numbered messages.
#[derive(Default)]
pub(super) struct Messages {
    /// Who sends them: the number of the peer.
    pub(super) id: u32,
    pub(super) next: u64,
    pub(super) to_send: usize,
    pub(super) outstanding: VecDeque<u64>,
    /// Those that were given up when a later one was answered.
    pub(super) missed: BTreeSet<u64>,
    pub(super) turns_stuck: u32,
    /// The size of the largest: a burst of large ones does not fit into the kernel's queues.
    pub(super) largest: usize,
}

impl Stream {
    pub(super) fn send(&mut self, mut socket: &Socket) -> io::Result<()> {
        while self.sent < self.goal {
            let at = (self.start + self.sent) % PATTERN.len();
            let len = (PATTERN.len() - at).min(self.goal - self.sent);
            match socket.write(&PATTERN[at..at + len]) {
                Ok(count) => (self.sent, self.turns_stuck) = (self.sent + count, 0),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.turns_stuck += 1;
                    return Ok(());
                }
                Err(error) => return Err(error),
            }
        }
        self.turns_stuck = 0;
        Ok(())
    }

    /// Receives what there is, and tells whether that is the end.
    pub(super) fn receive(&mut self, mut socket: &Socket) -> io::Result<bool> {
        self.turns_stuck = 0;
        let mut buffer = [0; 65_536];
        let most = self.received + BULK_READ;
        while self.received < most {
            let count = match socket.read(&mut buffer) {
                Ok(0) => return Ok(true),
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            };
            let mut got = &buffer[..count];
            if self.received + count > self.sent {
                return Err(wrong("more bytes than were sent".to_owned()));
            }
            while !got.is_empty() {
                let at = (self.start + self.received) % PATTERN.len();
                let len = got.len().min(PATTERN.len() - at);
                if got[..len] != PATTERN[at..at + len] {
                    return Err(wrong(format!("wrong bytes after {}", self.received)));
                }
                self.received += len;
                got = &got[len..];
            }
        }
        Ok(false)
    }
}

/// The number of the peer and of the message.
const HEADER: usize = 4 + 8;
pub(super) const MESSAGE_MAX: usize = 9000;

/// The message with that number: who sends it, the number, and bytes that belong to both.
fn message(id: u32, number: u64, largest: usize) -> Vec<u8> {
    let sizes = [HEADER, 64, 64, 1200, largest];
    let size = sizes[(number % sizes.len() as u64) as usize];
    let mut message = Vec::with_capacity(size);
    message.extend(id.to_ne_bytes());
    message.extend(number.to_ne_bytes());
    let start = (u64::from(id) * 977 + number * 131) as usize % PATTERN.len();
    message.extend(PATTERN[start..].iter().chain(&PATTERN[..]).take(size - HEADER));
    message
}

impl Messages {
    pub(super) fn send(&mut self, socket: &Socket, to: Option<&SockAddr>) -> io::Result<()> {
        while self.to_send > 0 {
            let message = message(self.id, self.next, self.largest);
            let sent = match to {
                Some(receiver) => socket.send_to(&message, receiver),
                None => socket.send(&message),
            };
            match sent {
                Ok(count) if count == message.len() => {}
                Ok(count) => return Err(wrong(format!("sent {count} of {}", message.len()))),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.turns_stuck += 1;
                    return Ok(());
                }
                Err(error) => return Err(error),
            }
            self.outstanding.push_back(self.next);
            self.next += 1;
            self.to_send -= 1;
        }
        self.turns_stuck = 0;
        Ok(())
    }

    /// Checks a reply; tells to which messages before it there will be none: replies keep their
    /// order.
    pub(super) fn answered(&mut self, reply: &[u8]) -> io::Result<Vec<u64>> {
        let number = reply.get(4..HEADER).and_then(|number| number.try_into().ok());
        let number = number.map(u64::from_ne_bytes);
        let Some(number) = number.filter(|number| *number < self.next) else {
            return Err(wrong(format!("a reply of {} bytes that nobody sent", reply.len())));
        };
        if message(self.id, number, self.largest) != reply {
            return Err(wrong(format!("wrong bytes in the reply to message {number}")));
        }
        let Some(at) = self.outstanding.iter().position(|waits| *waits == number) else {
            let is_late = self.missed.contains(&number);
            let how = if is_late { "after that to a later one" } else { "twice" };
            return Err(wrong(format!("the reply to message {number} came {how}")));
        };
        let lost: Vec<_> = self.outstanding.drain(..at).collect();
        self.outstanding.pop_front();
        self.missed.extend(&lost);
        Ok(lost)
    }
}

fn wrong(what: String) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, what)
}
