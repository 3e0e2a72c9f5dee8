//! Streams, full duplex: written as fast as the server takes it, read as fast as it comes back.

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::event::epoll::EventFlags;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};
use socket2::SockRef;

use super::meter::{Meter, Sample};
use super::pattern::Pattern;
use super::progress::Progress;
use super::server::Server;
use super::settings::Settings;
use super::target::{self, Target};
use super::wait::{TICK, Trigger, Wait};
use crate::error::Result;

/// Large enough to take what a socket buffer holds in few calls.
const RECEIVE: usize = 256 * 1024;

/// One connection with how far it is.
struct Stream {
    fd: OwnedFd,
    sent: u64,
    received: u64,
    alive: bool,
}

struct Bulk<'a> {
    streams: Vec<Stream>,
    alive: usize,
    wait: Wait,
    meter: Meter<'a>,
    pattern: Pattern,
    buffer: Vec<u8>,
    chunk: usize,
    verify: bool,
    /// Whether more is written.
    writing: bool,
}

/// One round. With `--verify`, everything that was written has to come back.
pub(super) fn run(target: &Target, settings: &Settings, progress: &mut Progress) -> Result<Sample> {
    let fds = target.connect_all(settings)?;
    let congestion = fds.first().and_then(target::congestion);
    let server = Server::find(target, settings);
    let wait = Wait::on_all(fds.iter(), settings.busy, Trigger::Level)?;
    let streams = fds.into_iter().map(|fd| Stream { fd, sent: 0, received: 0, alive: true });
    let mut bulk = Bulk {
        alive: settings.connections,
        streams: streams.collect(),
        wait,
        meter: Meter::new(settings, server, progress)?,
        pattern: Pattern::new(settings.size.max(RECEIVE)),
        buffer: vec![0; RECEIVE],
        chunk: settings.size,
        verify: settings.verify,
        writing: true,
    };
    bulk.run()?;
    bulk.meter.stop();
    if settings.verify {
        bulk.drain(settings.timeout)?;
    }
    let mut sample = bulk.meter.sample;
    sample.congestion = congestion;
    Ok(sample)
}

impl Bulk<'_> {
    fn run(&mut self) -> Result<()> {
        while self.alive > 0 {
            self.turn()?;
            let now = self.meter.now();
            if !self.meter.goes_on(now) {
                break;
            }
        }
        Ok(())
    }

    /// Waits, then writes and reads once on each stream that is ready.
    fn turn(&mut self) -> Result<()> {
        for at in 0..self.wait.wait(TICK)? {
            let (index, flags) = self.wait.event(at);
            if self.writing && flags.contains(EventFlags::OUT) {
                self.write(index);
            }
            if flags.intersects(EventFlags::IN | EventFlags::HUP | EventFlags::ERR) {
                self.read(index);
            }
        }
        Ok(())
    }

    fn write(&mut self, index: usize) {
        let stream = &mut self.streams[index];
        let chunk = self.pattern.at(stream.sent, self.chunk);
        match send(&stream.fd, chunk, SendFlags::NOSIGNAL) {
            Ok(count) => stream.sent += count as u64,
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(error) => self.failed(index, &format!("send: {error}")),
        }
    }

    fn read(&mut self, index: usize) {
        let stream = &mut self.streams[index];
        if !stream.alive {
            return;
        }
        match recv(&stream.fd, self.buffer.as_mut_slice(), RecvFlags::empty()) {
            Ok((0, _)) if !self.writing && stream.received == stream.sent => self.ended(index),
            Ok((0, _)) => {
                let missing = stream.sent.saturating_sub(stream.received);
                self.failed(index, &format!("the server closed it with {missing} bytes to come"));
            }
            Ok((count, _)) => {
                let expected = self.pattern.at(stream.received, count);
                if self.verify && self.buffer[..count] != *expected {
                    self.meter.sample.wrong += 1;
                }
                stream.received += count as u64;
                self.meter.sample.bytes += count as u64;
            }
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(error) => self.failed(index, &format!("receive: {error}")),
        }
    }

    fn failed(&mut self, index: usize, why: &str) {
        if self.streams[index].alive {
            let number = index + 1;
            self.meter.sample.error(|| format!("connection {number}: {why}"));
            self.ended(index);
        }
    }

    fn ended(&mut self, index: usize) {
        let stream = &mut self.streams[index];
        stream.alive = false;
        self.wait.forget(&stream.fd);
        self.alive -= 1;
    }

    /// Half-closes every stream and reads the rest: all of it has to be there, then the end.
    fn drain(&mut self, timeout: Duration) -> Result<()> {
        self.writing = false;
        for stream in self.streams.iter().filter(|stream| stream.alive) {
            let _ = SockRef::from(&stream.fd).shutdown(std::net::Shutdown::Write);
        }
        // What the measurement counted stays: the rest is only compared.
        let bytes = self.meter.sample.bytes;
        let deadline = Instant::now() + timeout;
        while self.alive > 0 && Instant::now() < deadline {
            self.turn()?;
        }
        for index in 0..self.streams.len() {
            self.failed(index, "no end of the stream in time after the half-close");
        }
        self.meter.sample.bytes = bytes;
        Ok(())
    }
}
