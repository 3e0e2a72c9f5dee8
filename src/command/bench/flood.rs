//! Datagrams with many in flight: how many the server answers in a second, and how many are lost.

use std::io::IoSlice;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::{MMsgHdr, RecvFlags, SendAncillaryBuffer, SendFlags, recv, send, sendmmsg};

use super::round::{NOBODY_LISTENS, Round};
use super::settings::Settings;
use super::train::Train;
use crate::address::{Address, Inet};
use crate::error::{Context, Error, ErrorKind, Result};
use crate::sys;

/// Datagrams of one train, or of one sendmmsg(2): `UDP_MAX_SEGMENTS` of older kernels.
const BATCH: usize = 64;
/// The payload of one train has the same limit as that of one datagram.
const TRAIN_MAX: usize = 65_507;
/// The train has as many different datagrams as fit in this, within bounds. So even if every other
/// one is lost, the server seldom sees the same one twice in a row, and they stay in the
/// processor's cache.
const TRAIN_BYTES: usize = 512 * 1024;
/// After this time without a reply, the datagrams in flight count as lost, and more are sent.
const STALL: Duration = Duration::from_millis(2);
/// How long to wait at the end for datagrams in flight.
const LINGER: Duration = Duration::from_millis(100);

/// The progress of a socket.
#[derive(Clone, Default)]
struct Socket {
    in_flight: usize,
    /// The number of the next datagram.
    next: usize,
}

struct Flood<'a, 'b> {
    sockets: Vec<Socket>,
    train: &'a Train,
    /// The datagrams of the train one by one, for sendmmsg(2).
    datagrams: &'a mut [MMsgHdr<'b>],
    buffer: Vec<u8>,
    batch: usize,
    window: usize,
    /// How many were sent before the measurement and had come back, or were lost, by its start.
    /// Those in flight then are answered during the measurement, and replace those in flight at its
    /// end.
    sent_before: Option<u64>,
    sent: u64,
    received: u64,
    last_reply: u64,
}

/// Measures one round.
pub(super) fn run(round: &mut Round<'_>) -> Result<()> {
    let settings = round.settings;
    let is_udp = matches!(round.target.address, Address::Inet(Inet::Udp, ..));
    round.fds.iter().filter(|_| is_udp).try_for_each(|fd| prepare(fd, settings))?;
    let length = (TRAIN_BYTES / settings.size).clamp(2, 2 * BATCH);
    let train = Train::new(settings.size, length as u8);
    let slices: Vec<_> = (0..length).map(|at| [IoSlice::new(train.part(at..at + 1))]).collect();
    let mut controls: Vec<_> = (0..length).map(|_| SendAncillaryBuffer::default()).collect();
    let headers = slices.iter().zip(&mut controls).map(|(iov, control)| MMsgHdr::new(iov, control));
    let mut flood = Flood {
        sockets: vec![Socket::default(); round.fds.len()],
        train: &train,
        datagrams: &mut headers.collect::<Vec<_>>(),
        // One more byte of room shows a reply that is too long.
        buffer: vec![0; (settings.size + 1).max(1 << 16)],
        batch: BATCH.min(TRAIN_MAX / settings.size).max(1),
        window: if settings.window == 0 { usize::MAX } else { settings.window },
        sent_before: None,
        sent: 0,
        received: 0,
        last_reply: round.meter.now(),
    };
    round.run(|round, now| flood.turn(round, now))?;
    flood.linger(round)?;
    let sent = flood.sent - flood.sent_before.unwrap_or(0);
    round.meter.sample.lost = sent.saturating_sub(flood.received);
    Ok(())
}

/// Enables joined receives where the kernel has them, and joined sends if requested.
fn prepare(fd: &OwnedFd, settings: &Settings) -> Result<()> {
    // Without it, each datagram is received alone: slower, but otherwise the same.
    let _ = sys::option::set(fd.as_fd(), libc::SOL_UDP, libc::UDP_GRO, 1);
    if settings.args.gso {
        let size = settings.size as i32;
        sys::option::set(fd.as_fd(), libc::SOL_UDP, libc::UDP_SEGMENT, size).map_err(|error| {
            Error::new(ErrorKind::Other, "set UDP_SEGMENT").because(error).remedy("omit --gso")
        })?;
    }
    Ok(())
}

impl Flood<'_, '_> {
    fn turn(&mut self, round: &mut Round<'_>, now: u64) -> Result<()> {
        if self.sent_before.is_none() && round.meter.is_measuring() {
            let in_flight: usize = self.sockets.iter().map(|socket| socket.in_flight).sum();
            self.sent_before = Some(self.sent - in_flight as u64);
            self.received = 0;
        }
        let mut moved = false;
        for index in 0..self.sockets.len() {
            moved |= self.send(round, index)?;
            if self.receive(round, index)? {
                moved = true;
                self.last_reply = round.meter.now();
            }
        }
        if now.saturating_sub(self.last_reply) > STALL.as_nanos() as u64 {
            self.sockets.iter_mut().for_each(|socket| socket.in_flight = 0);
            self.last_reply = now;
        } else if !moved {
            round.wait.wait(STALL)?;
        }
        Ok(())
    }

    /// Waits for datagrams in flight, so that only those that never come count as lost.
    fn linger(&mut self, round: &mut Round<'_>) -> Result<()> {
        let counted = (round.meter.sample.round_trips, round.meter.sample.bytes);
        let mut deadline = Instant::now() + LINGER;
        while Instant::now() < deadline {
            round.wait.wait(STALL)?;
            for index in 0..self.sockets.len() {
                if self.receive(round, index)? {
                    deadline = Instant::now() + LINGER;
                }
            }
        }
        (round.meter.sample.round_trips, round.meter.sample.bytes) = counted;
        Ok(())
    }

    /// Sends one batch if the window has room for it. Returns whether any was sent.
    #[inline]
    fn send(&mut self, round: &mut Round<'_>, index: usize) -> Result<bool> {
        let (socket, fd) = (&mut self.sockets[index], &round.fds[index]);
        if socket.in_flight + self.batch > self.window.max(self.batch) {
            return Ok(false);
        }
        let end = self.train.len().min(socket.next + self.batch);
        let result = if round.settings.args.gso {
            let train = self.train.part(socket.next..end);
            send(fd, train, SendFlags::NOSIGNAL).map(|count| count / round.settings.size)
        } else {
            sendmmsg(fd, &mut self.datagrams[socket.next..end], SendFlags::NOSIGNAL)
        };
        match result {
            Ok(count) => {
                socket.in_flight += count;
                socket.next = (socket.next + count) % self.train.len();
                self.sent += count as u64;
                Ok(count > 0)
            }
            Err(Errno::AGAIN | Errno::INTR | Errno::NOBUFS) => Ok(false),
            Err(Errno::CONNREFUSED) => Ok(refused(round, index)),
            Err(error) => Err(error).context("send datagrams"),
        }
    }

    /// Receives until nothing is left: datagrams of one size, alone or joined. Returns whether any
    /// came.
    #[inline]
    fn receive(&mut self, round: &mut Round<'_>, index: usize) -> Result<bool> {
        let socket = &mut self.sockets[index];
        let mut any = false;
        loop {
            let buffer = self.buffer.as_mut_slice();
            let count = match recv(&round.fds[index], buffer, RecvFlags::DONTWAIT) {
                Ok((count, _)) => count,
                Err(Errno::AGAIN | Errno::INTR) => return Ok(any),
                Err(Errno::CONNREFUSED) => return Ok(refused(round, index)),
                Err(error) => return Err(error).context("receive datagrams"),
            };
            any = true;
            let datagrams = (count / round.settings.size).max(1);
            socket.in_flight = socket.in_flight.saturating_sub(datagrams);
            self.received += datagrams as u64;
            let sample = &mut round.meter.sample;
            sample.round_trips += datagrams as u64;
            sample.bytes += count as u64;
            sample.wrong += u64::from(!self.train.has(&self.buffer[..count]));
        }
    }
}

fn refused(round: &mut Round<'_>, index: usize) -> bool {
    round.error(index, NOBODY_LISTENS);
    false
}
