//! Full-duplex streams: written as fast as the server accepts, read as fast as the echo arrives.

use std::time::Instant;

use rustix::event::epoll::EventFlags;
use socket2::SockRef;

use super::round::Round;
use super::wait::TICK;
use super::{PERIOD, SEED};
use crate::client::Pattern;
use crate::error::{Error, ErrorKind, Result};

/// Large enough to empty a socket buffer in few calls.
const RECEIVE: usize = 256 * 1024;

/// The progress of a stream.
#[derive(Clone, Default)]
struct Stream {
    sent: u64,
    received: u64,
}

struct Bulk {
    streams: Vec<Stream>,
    pattern: Pattern,
    buffer: Vec<u8>,
    /// Whether more is to be written.
    writing: bool,
}

/// Measures one round. With `--verify`, everything that was written must come back.
pub(super) fn run(round: &mut Round<'_>) -> Result<()> {
    let mut bulk = Bulk {
        streams: vec![Stream::default(); round.fds.len()],
        pattern: Pattern::new(SEED, PERIOD, round.settings.size.max(RECEIVE)),
        buffer: vec![0; RECEIVE],
        writing: true,
    };
    round.run(|round, _| bulk.turn(round))?;
    if round.settings.args.verify {
        bulk.drain(round)?;
    }
    Ok(())
}

impl Bulk {
    /// Waits, then writes and reads once on each ready stream.
    fn turn(&mut self, round: &mut Round<'_>) -> Result<()> {
        for at in 0..round.wait.wait(TICK)? {
            let (index, flags) = round.wait.event(at);
            let mut result = Ok(());
            if self.writing && flags.contains(EventFlags::OUT) {
                result = self.write(round, index);
            }
            if result.is_ok()
                && flags.intersects(EventFlags::IN | EventFlags::HUP | EventFlags::ERR)
            {
                result = self.read(round, index);
            }
            if let Err(error) = result {
                round.failed(index, error);
            }
        }
        Ok(())
    }

    #[inline]
    fn write(&mut self, round: &Round<'_>, index: usize) -> Result<()> {
        let stream = &mut self.streams[index];
        let chunk = self.pattern.at(stream.sent, round.settings.size);
        stream.sent += round.send(index, chunk)?.unwrap_or(0) as u64;
        Ok(())
    }

    #[inline]
    fn read(&mut self, round: &mut Round<'_>, index: usize) -> Result<()> {
        let stream = &mut self.streams[index];
        let Some(count) = round.receive(index, &mut self.buffer)? else { return Ok(()) };
        if count == 0 {
            let missing = stream.sent.saturating_sub(stream.received);
            if self.writing || missing > 0 {
                let message = format!(
                    "the server closed the connection, and {missing} bytes did not come back"
                );
                return Err(Error::new(ErrorKind::NoReply, message));
            }
            round.ended(index);
            return Ok(());
        }
        let sample = &mut round.meter.sample;
        if round.settings.args.verify {
            let expected = self.pattern.at(stream.received, count);
            sample.wrong += u64::from(self.buffer[..count] != *expected);
        }
        stream.received += count as u64;
        sample.bytes += count as u64;
        Ok(())
    }

    /// Half-closes every stream and reads the rest: it must be complete and followed by the end of
    /// stream.
    fn drain(&mut self, round: &mut Round<'_>) -> Result<()> {
        self.writing = false;
        for fd in &round.fds {
            // A connection that has ended is not connected any more.
            let _ = SockRef::from(fd).shutdown(std::net::Shutdown::Write);
        }
        // The counts of the measurement stay; the rest is only compared.
        let bytes = round.meter.sample.bytes;
        let deadline = Instant::now() + round.settings.args.timeout;
        while round.any_open() && Instant::now() < deadline {
            self.turn(round)?;
        }
        for index in 0..round.fds.len() {
            if round.is_open(index) {
                round.failed(
                    index,
                    "the server did not close the connection in time after our half-close",
                );
            }
        }
        round.meter.sample.bytes = bytes;
        Ok(())
    }
}
