//! One connection of a ping-pong: a message on its way out and back.

use std::io;
use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};

use super::pattern::Pattern;
use super::wait::Wait;
use crate::error;

/// Replies to the last so many datagrams are known as late ones.
const LATE_MAX: u32 = 64;

/// One connection, or datagram socket.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) fd: OwnedFd,
    index: usize,
    sequence: u32,
    sent: usize,
    received: usize,
    /// When the message was sent, or was due.
    pub(super) started: u64,
    /// Whether a message is on its way.
    pub(super) in_flight: bool,
    /// Whether epoll says when it can be written to.
    writing: bool,
    /// Whether all of the message that is back so far is what was sent.
    right: bool,
    pub(super) alive: bool,
}

/// What became of a message after looking at its socket.
#[derive(Debug)]
pub(super) enum Step {
    /// The rest of it is not there yet.
    Waiting,
    /// The whole of it is back, and whether it is what was sent.
    Back { right: bool },
    /// An answer to a datagram that was already counted as lost.
    Late,
    /// The connection ended, or a call failed.
    Failed(String),
}

impl Peer {
    pub(super) fn new((index, fd): (usize, OwnedFd)) -> Self {
        Self {
            fd,
            index,
            sequence: 0,
            sent: 0,
            received: 0,
            started: 0,
            in_flight: false,
            writing: false,
            right: true,
            alive: true,
        }
    }

    /// Makes the next message the one that is on its way, since `started`.
    #[inline]
    pub(super) fn next_message(&mut self, started: u64) {
        self.sequence = self.sequence.wrapping_add(1);
        self.started = started;
        self.sent = 0;
        self.received = 0;
        self.right = true;
        self.in_flight = true;
    }

    /// Sends what the socket takes of the message.
    #[inline]
    pub(super) fn send(
        &mut self,
        pattern: &Pattern,
        size: usize,
        wait: &Wait,
    ) -> Result<(), String> {
        let message = pattern.message(self.sequence, size);
        loop {
            match send(&self.fd, &message[self.sent..], SendFlags::NOSIGNAL) {
                Ok(count) => self.sent += count,
                Err(Errno::AGAIN) => break,
                Err(Errno::INTR) => continue,
                Err(error) => return Err(failure("send", error)),
            }
            if self.sent >= size {
                break;
            }
        }
        let writing = self.sent < size;
        if writing != self.writing {
            self.writing = writing;
            wait.set_writing(&self.fd, self.index, writing)
                .map_err(|error| format!("epoll_ctl: {}", error::Errno(&error)))?;
        }
        Ok(())
    }

    /// Looks for the reply: for `messages` one that comes whole, otherwise what is there of it.
    /// `buffer` is longer than a message that comes whole.
    #[inline]
    pub(super) fn look(
        &mut self,
        pattern: &Pattern,
        buffer: &mut [u8],
        size: usize,
        messages: bool,
        wait: &Wait,
    ) -> Step {
        if messages {
            self.receive_message(pattern, buffer, size)
        } else {
            self.go_on(pattern, buffer, size, wait)
        }
    }

    /// Sends and receives what can be of a message on a stream.
    #[inline]
    fn go_on(&mut self, pattern: &Pattern, buffer: &mut [u8], size: usize, wait: &Wait) -> Step {
        loop {
            if self.sent < size && self.in_flight {
                if let Err(why) = self.send(pattern, size, wait) {
                    return Step::Failed(why);
                }
            }
            // Not a byte more than the message: what is too much makes the next one wrong.
            let wanted = buffer.len().min(size - self.received).max(1);
            let count = match recv(&self.fd, &mut buffer[..wanted], RecvFlags::empty()) {
                Ok((0, _)) => return Step::Failed("the server closed it".to_owned()),
                Ok((count, _)) => count,
                Err(Errno::AGAIN | Errno::INTR) => return Step::Waiting,
                Err(error) => return Step::Failed(failure("receive", error)),
            };
            let expected = &pattern.message(self.sequence, size)[self.received..];
            self.right &= expected.get(..count) == Some(&buffer[..count]);
            self.received += count;
            if self.received >= size {
                return Step::Back { right: self.right };
            }
            if count < wanted && self.sent == size {
                return Step::Waiting;
            }
        }
    }

    /// Receives one message that comes whole or not at all.
    #[inline]
    fn receive_message(&mut self, pattern: &Pattern, buffer: &mut [u8], size: usize) -> Step {
        let count = match recv(&self.fd, &mut *buffer, RecvFlags::empty()) {
            Ok((0, _)) if size > 0 => return Step::Failed("the server closed it".to_owned()),
            Ok((count, _)) => count,
            Err(Errno::AGAIN | Errno::INTR) => return Step::Waiting,
            Err(error) => return Step::Failed(failure("receive", error)),
        };
        let message = &buffer[..count];
        if message == pattern.message(self.sequence, size) && self.in_flight {
            return Step::Back { right: true };
        }
        let is_late = |age| message == pattern.message(self.sequence.wrapping_sub(age), size);
        if (1..LATE_MAX).any(is_late) { Step::Late } else { Step::Back { right: false } }
    }
}

fn failure(attempted: &str, error: Errno) -> String {
    format!("{attempted}: {}", error::Errno(&io::Error::from(error)))
}
