//! One round against one server: the connections, the clock and the counts. Each load adds only its
//! own steps.

use std::fmt::Display;
use std::os::fd::OwnedFd;
use std::time::Instant;

use indicatif::ProgressBar;
use rustix::io::{Errno, retry_on_intr};
use rustix::net::{RecvFlags, SendFlags};
use socket2::{SockRef, Socket};

use super::meter::Meter;
use super::server::Server;
use super::settings::{Load, Settings};
use super::target::Target;
use super::wait::{Trigger, Wait};
use crate::address::Style;
use crate::client;
use crate::error::{Context, Error, ErrorKind, Result};

/// ECONNREFUSED on a datagram socket: nobody has the address any more, or nobody ever had.
pub(super) const NOBODY_LISTENS: &str = "Connection refused: nobody listens there";

/// A single connection waits in its receive call only if a message fits in every socket buffer.
const IN_RECEIVE_MAX: usize = 16 * 1024;

/// What every load uses.
pub(super) struct Round<'a> {
    pub(super) target: &'a Target,
    pub(super) settings: &'a Settings<'a>,
    /// The connections, or datagram sockets, including those that have ended.
    pub(super) fds: Vec<OwnedFd>,
    /// Which connections are open, and how many.
    open: Vec<bool>,
    open_count: usize,
    pub(super) wait: Wait,
    pub(super) meter: Meter<'a>,
}

impl<'a> Round<'a> {
    /// Connects and starts the warm-up.
    pub(super) fn open(
        target: &'a Target,
        settings: &'a Settings<'a>,
        progress: &'a ProgressBar,
    ) -> Result<Self> {
        // The first idle connection includes what the server sets up once for all of them.
        let count = if settings.load == Load::Idle { 1 } else { settings.connections };
        let fds = connect_all(target, settings, count)?;
        let is_alone = settings.load == Load::PingPong
            && settings.args.rate.is_none()
            && settings.size <= IN_RECEIVE_MAX;
        let trigger = if settings.load == Load::Bulk { Trigger::Level } else { Trigger::Edge };
        let wait = match &fds[..] {
            [fd] if is_alone => Wait::in_receive(fd, settings.args.busy)?,
            fds => Wait::on_all(fds, settings.args.busy, trigger)?,
        };
        let mut meter = Meter::new(settings, Server::find(target, settings), progress);
        meter.sample.congestion = fds.first().and_then(congestion);
        let (open, open_count) = (vec![true; count], count);
        Ok(Self { target, settings, fds, open, open_count, wait, meter })
    }

    /// Opens the other connections of the idle load.
    pub(super) fn connect_more(&mut self, count: usize) -> Result<()> {
        for fd in connect_all(self.target, self.settings, count)? {
            self.wait.add(&fd, self.fds.len(), Trigger::Edge)?;
            self.fds.push(fd);
            self.open.push(true);
            self.open_count += 1;
        }
        Ok(())
    }

    /// Runs the warm-up and the measurement, calling `turn` with the time again and again. Returns
    /// the time of the end; the connections are still open.
    pub(super) fn run(
        &mut self,
        mut turn: impl FnMut(&mut Self, u64) -> Result<()>,
    ) -> Result<u64> {
        let mut now = self.meter.now();
        loop {
            turn(self, now)?;
            now = self.meter.now();
            if !self.meter.goes_on(now) || self.open_count == 0 {
                self.meter.stop();
                return Ok(now);
            }
        }
    }

    pub(super) fn is_datagram(&self) -> bool {
        self.target.address.style() == Style::Datagram
    }

    pub(super) fn is_open(&self, index: usize) -> bool {
        self.open[index]
    }

    /// Whether any connection is open.
    pub(super) fn any_open(&self) -> bool {
        self.open_count > 0
    }

    /// Sends as much of a stream as the socket accepts, or one message. `None` if it accepts
    /// nothing.
    #[inline]
    pub(super) fn send(&self, index: usize, bytes: &[u8]) -> Result<Option<usize>> {
        let fd = &self.fds[index];
        match retry_on_intr(|| rustix::net::send(fd, bytes, SendFlags::NOSIGNAL)) {
            Ok(count) => Ok(Some(count)),
            Err(Errno::AGAIN) => Ok(None),
            Err(Errno::CONNREFUSED) => Err(Error::new(ErrorKind::Connect, NOBODY_LISTENS)),
            Err(error) => Err(error).context("send"),
        }
    }

    /// Receives the available bytes, or one message. `None` if nothing is available.
    #[inline]
    pub(super) fn receive(&self, index: usize, buffer: &mut [u8]) -> Result<Option<usize>> {
        let fd = &self.fds[index];
        match retry_on_intr(|| rustix::net::recv(fd, &mut *buffer, RecvFlags::empty())) {
            Ok((count, _)) => Ok(Some(count)),
            Err(Errno::AGAIN) => Ok(None),
            Err(Errno::CONNREFUSED) => Err(Error::new(ErrorKind::Connect, NOBODY_LISTENS)),
            Err(error) => Err(error).context("receive"),
        }
    }

    /// Counts a message that came back, and whether it was right. Returns the time.
    #[inline]
    pub(super) fn back(&mut self, started: u64, is_right: bool) -> u64 {
        let now = self.meter.now();
        self.meter.sample.round_trip(now.saturating_sub(started), self.settings.size);
        self.meter.sample.wrong += u64::from(!is_right);
        now
    }

    /// Counts an error of a connection.
    pub(super) fn error(&mut self, index: usize, why: impl Display) {
        self.meter.sample.error(|| format!("connection {}: {why}", index + 1));
    }

    /// Counts an error that ends a connection.
    pub(super) fn failed(&mut self, index: usize, why: impl Display) {
        self.error(index, why);
        self.ended(index);
    }

    /// Stops using a connection.
    pub(super) fn ended(&mut self, index: usize) {
        self.wait.forget(&self.fds[index]);
        self.open_count -= usize::from(std::mem::take(&mut self.open[index]));
    }
}

/// Connects once to each server except the first, which is connected next anyway. So an unreachable
/// server is found before the others are measured.
pub(super) fn reach(targets: &[Target], settings: &Settings) -> Result<()> {
    targets.iter().skip(1).try_for_each(|target| connect_all(target, settings, 1).map(drop))
}

/// Opens connections, one after the other.
fn connect_all(target: &Target, settings: &Settings, count: usize) -> Result<Vec<OwnedFd>> {
    let deadline = Instant::now() + settings.args.timeout;
    let connect = |_| {
        let left = deadline.saturating_duration_since(Instant::now());
        let connection = client::connect(&target.address.to_client(), left)?;
        if settings.load != Load::Bulk {
            connection.reserve(settings.size)?;
        }
        let socket = connection.socket;
        if target.is_tcp() {
            // A small message must be sent at once, because the measurement is about the server,
            // not about Nagle's algorithm in the client.
            socket.set_tcp_nodelay(true).context("set TCP_NODELAY")?;
            if let Some(name) = &settings.args.congestion {
                set_congestion(&socket, name)?;
            }
        }
        Ok(socket.into())
    };
    (0..count).map(connect).collect()
}

fn set_congestion(socket: &Socket, name: &str) -> Result<()> {
    socket.set_tcp_congestion(name.as_bytes()).map_err(|error| {
        Error::new(ErrorKind::Usage, format!("set the congestion control {name}"))
            .because(error)
            .remedy("choose one that /proc/sys/net/ipv4/tcp_available_congestion_control lists")
    })
}

/// The congestion control of the client's end of a TCP connection.
fn congestion(fd: &OwnedFd) -> Option<String> {
    let name = SockRef::from(fd).tcp_congestion().ok()?;
    let name: Vec<u8> = name.into_iter().take_while(|&byte| byte != 0).collect();
    String::from_utf8(name).ok().filter(|name| !name.is_empty())
}
