//! Datagrams with many in flight: what the server answers a second, and what is lost.

use std::io::IoSlice;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::{MMsgHdr, RecvFlags, SendAncillaryBuffer, SendFlags, recv, send, sendmmsg};

use super::meter::{Meter, Sample};
use super::progress::Progress;
use super::server::Server;
use super::settings::Settings;
use super::target::Target;
use super::train::Train;
use super::wait::{Trigger, Wait};
use crate::address::{Address, Inet};
use crate::error::{Error, ErrorKind, Result};
use crate::sys;

/// Datagrams of one train, or of one sendmmsg(2): `UDP_MAX_SEGMENTS` of older kernels.
const BATCH: usize = 64;
/// The payload of one train is limited as that of one datagram is.
const TRAIN_MAX: usize = 65_507;
/// As many datagrams as take this much are made, within bounds: even if every other one is lost,
/// the server seldom sees one twice in a row, and all of them stay in the processor's cache.
const TRAIN_BYTES: usize = 512 * 1024;
/// After so long without a reply, what is in flight is taken for lost and more is sent.
const STALL: Duration = Duration::from_millis(2);
/// How long to wait at the end for what is still in flight.
const LINGER: Duration = Duration::from_millis(100);

struct Socket {
    fd: OwnedFd,
    in_flight: usize,
    /// The number of the datagram that is sent next.
    next: usize,
}

struct Flood<'a> {
    sockets: Vec<Socket>,
    wait: Wait,
    meter: Meter<'a>,
    train: &'a Train,
    buffer: Vec<u8>,
    size: usize,
    batch: usize,
    window: usize,
    gso: bool,
    sent: u64,
    received: u64,
}

/// One round.
pub(super) fn run(target: &Target, settings: &Settings, progress: &mut Progress) -> Result<Sample> {
    let fds = target.connect_all(settings)?;
    let is_udp = matches!(target.address, Address::Inet(Inet::Udp, ..));
    if settings.gso && !is_udp {
        let message = format!("--gso is for udp, not for {}", target.address);
        return Err(Error::new(ErrorKind::Usage, message));
    }
    let batch = BATCH.min(TRAIN_MAX / settings.size).max(1);
    for fd in fds.iter().filter(|_| is_udp) {
        prepare(fd, settings)?;
    }
    let server = Server::find(target, settings);
    let wait = Wait::on_all(fds.iter(), settings.busy, Trigger::Edge)?;
    let train = Train::new(settings.size, (TRAIN_BYTES / settings.size).clamp(2, 2 * BATCH) as u8);
    let mut flood = Flood {
        sockets: fds.into_iter().map(|fd| Socket { fd, in_flight: 0, next: 0 }).collect(),
        wait,
        meter: Meter::new(settings, server, progress)?,
        train: &train,
        // One byte more than a datagram shows a reply that is too long.
        buffer: vec![0; (settings.size + 1).max(1 << 16)],
        size: settings.size,
        batch,
        window: if settings.window == 0 { usize::MAX } else { settings.window },
        gso: settings.gso,
        sent: 0,
        received: 0,
    };
    let datagrams = 0..train.len();
    let slices: Vec<_> =
        datagrams.clone().map(|at| [IoSlice::new(train.part(at..at + 1))]).collect();
    let mut controls: Vec<_> = datagrams.map(|_| SendAncillaryBuffer::default()).collect();
    let mut headers: Vec<_> =
        slices.iter().zip(&mut controls).map(|(iov, control)| MMsgHdr::new(iov, control)).collect();
    flood.run(&mut headers)?;
    Ok(flood.meter.sample)
}

/// Receives trains whole where the kernel can, and sends them so if asked to.
fn prepare(fd: &OwnedFd, settings: &Settings) -> Result<()> {
    // Without it every datagram is received alone: slower, but no different.
    let _ = sys::option::set(fd.as_fd(), libc::SOL_UDP, libc::UDP_GRO, 1);
    if settings.gso {
        let size = settings.size as i32;
        sys::option::set(fd.as_fd(), libc::SOL_UDP, libc::UDP_SEGMENT, size).map_err(|error| {
            Error::new(ErrorKind::Other, "set UDP_SEGMENT").because(error).remedy("omit --gso")
        })?;
    }
    Ok(())
}

impl Flood<'_> {
    fn run(&mut self, datagrams: &mut [MMsgHdr<'_>]) -> Result<()> {
        let mut last_reply = self.meter.now();
        let mut sent_before = 0;
        loop {
            let mut moved = false;
            for index in 0..self.sockets.len() {
                moved |= self.send(index, datagrams)?;
                let received = self.receive(index)?;
                if received {
                    last_reply = self.meter.now();
                }
                moved |= received;
            }
            let now = self.meter.now();
            let was_measuring = self.meter.is_measuring();
            if !self.meter.goes_on(now) {
                break;
            }
            if !was_measuring && self.meter.is_measuring() {
                // What is in flight now is answered in the measurement: it takes the place of what
                // is in flight at its end.
                sent_before = self.sent - self.in_flight();
                self.received = 0;
            }
            if now.saturating_sub(last_reply) > STALL.as_nanos() as u64 {
                self.sockets.iter_mut().for_each(|socket| socket.in_flight = 0);
                last_reply = now;
            } else if !moved {
                self.wait.wait(STALL)?;
            }
        }
        self.meter.stop();
        self.linger()?;
        self.meter.sample.lost = (self.sent - sent_before).saturating_sub(self.received);
        Ok(())
    }

    fn in_flight(&self) -> u64 {
        self.sockets.iter().map(|socket| socket.in_flight as u64).sum()
    }

    /// Waits for what is still in flight, so that only what never comes counts as lost.
    fn linger(&mut self) -> Result<()> {
        let counted = (self.meter.sample.round_trips, self.meter.sample.bytes);
        let mut deadline = Instant::now() + LINGER;
        while Instant::now() < deadline {
            self.wait.wait(STALL)?;
            for index in 0..self.sockets.len() {
                if self.receive(index)? {
                    deadline = Instant::now() + LINGER;
                }
            }
        }
        (self.meter.sample.round_trips, self.meter.sample.bytes) = counted;
        Ok(())
    }

    /// Sends one batch if the window has room for it.
    #[inline]
    fn send(&mut self, index: usize, datagrams: &mut [MMsgHdr<'_>]) -> Result<bool> {
        let socket = &mut self.sockets[index];
        if socket.in_flight + self.batch > self.window.max(self.batch) {
            return Ok(false);
        }
        let end = self.train.len().min(socket.next + self.batch);
        let result = if self.gso {
            let train = self.train.part(socket.next..end);
            send(&socket.fd, train, SendFlags::NOSIGNAL).map(|count| count / self.size)
        } else {
            sendmmsg(&socket.fd, &mut datagrams[socket.next..end], SendFlags::NOSIGNAL)
        };
        match result {
            Ok(count) => {
                socket.in_flight += count;
                socket.next = (socket.next + count) % self.train.len();
                self.sent += count as u64;
                Ok(count > 0)
            }
            Err(Errno::AGAIN | Errno::INTR | Errno::NOBUFS) => Ok(false),
            Err(Errno::CONNREFUSED) => Ok(self.refused()),
            Err(error) => Err(error).map_err(|error| failure("send datagrams", error)),
        }
    }

    /// Receives until nothing is left; what comes is datagrams of one size, alone or as a train.
    #[inline]
    fn receive(&mut self, index: usize) -> Result<bool> {
        let mut any = false;
        loop {
            let socket = &mut self.sockets[index];
            let count = match recv(&socket.fd, self.buffer.as_mut_slice(), RecvFlags::DONTWAIT) {
                Ok((count, _)) => count,
                Err(Errno::AGAIN | Errno::INTR) => return Ok(any),
                Err(Errno::CONNREFUSED) => return Ok(self.refused()),
                Err(error) => return Err(failure("receive datagrams", error)),
            };
            any = true;
            let datagrams = (count / self.size).max(1);
            socket.in_flight = socket.in_flight.saturating_sub(datagrams);
            self.received += datagrams as u64;
            let sample = &mut self.meter.sample;
            sample.round_trips += datagrams as u64;
            sample.bytes += count as u64;
            sample.wrong += u64::from(!self.train.has(&self.buffer[..count]));
        }
    }

    fn refused(&mut self) -> bool {
        self.meter.sample.error(|| "the port is closed (ICMP)".to_owned());
        false
    }
}

fn failure(attempted: &str, error: Errno) -> Error {
    Error::new(ErrorKind::Other, attempted).because(error)
}
