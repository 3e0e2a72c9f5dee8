//! Connections that do nothing: what each costs the server, and whether each still answers.

use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};
use socket2::SockRef;

use super::meter::{Meter, Sample};
use super::pattern::Pattern;
use super::peer::{Peer, Step};
use super::progress::Progress;
use super::server::Server;
use super::settings::Settings;
use super::target::Target;
use super::wait::{TICK, Trigger, Wait};
use crate::address::Style;
use crate::error::{Error, ErrorKind, Result};

/// How long no connection may end, after all were half-closed, before the rest is left alone.
const END_PATIENCE: Duration = Duration::from_secs(1);

/// The server's memory, in bytes; the kernel's part of a socket is not in it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Memory {
    /// Resident with one connection that was used.
    pub(super) before: u64,
    /// Resident with all connections.
    pub(super) idle: u64,
    /// Resident after each was used once.
    pub(super) used: u64,
    /// How many connections were added to the first one.
    pub(super) added: usize,
}

impl Memory {
    /// Bytes that each connection added.
    pub(super) fn per_connection(&self) -> f64 {
        (self.idle as f64 - self.before as f64) / self.added.max(1) as f64
    }
}

/// One round: connects, holds the connections for the duration, then uses each once.
pub(super) fn run(target: &Target, settings: &Settings, progress: &mut Progress) -> Result<Sample> {
    // The first connection, used once, pays for what the server sets up for all of them.
    let first = Settings { connections: 1, ..settings.clone() };
    let mut used = Used::new(target, settings);
    let mut meter = Meter::new(settings, Server::find(target, settings), progress)?;
    let mut peers = vec![Peer::new((0, one(target.connect_all(&first)?)?))];
    used.use_once(&mut peers[0], &mut meter)?;
    let server = Server::find(target, settings);
    let memory = || server.as_ref().and_then(Server::memory).map(|(_, anonymous)| anonymous);
    let before = memory();
    let rest = target.connect_all(settings)?;
    peers.extend(rest.into_iter().enumerate().map(Peer::new));
    hold(&mut meter, settings);
    let idle = memory();
    meter.stop();
    for peer in &mut peers[1..] {
        used.use_once(peer, &mut meter)?;
    }
    let after = memory();
    used.end_all(&peers, &mut meter)?;
    let mut sample = meter.sample;
    if let (Some(before), Some(idle), Some(used)) = (before, idle, after) {
        sample.memory = Some(Memory { before, idle, used, added: settings.connections });
    }
    Ok(sample)
}

fn one(fds: Vec<std::os::fd::OwnedFd>) -> Result<std::os::fd::OwnedFd> {
    fds.into_iter().next().ok_or_else(|| Error::new(ErrorKind::Connect, "no connection"))
}

/// Waits for the end of the measurement; the meter's own tick is the only thing that wakes us.
fn hold(meter: &mut Meter<'_>, settings: &Settings) {
    let end = Instant::now() + settings.warmup + settings.duration;
    loop {
        let now = meter.now();
        if !meter.goes_on(now) {
            return;
        }
        let left = end.saturating_duration_since(Instant::now());
        std::thread::sleep(left.clamp(Duration::from_millis(1), Duration::from_millis(50)));
    }
}

/// Sends a message on a connection and waits for it.
struct Used {
    pattern: Pattern,
    buffer: Vec<u8>,
    size: usize,
    /// The whole message is one receive call's.
    messages: bool,
    timeout: Duration,
}

impl Used {
    fn new(target: &Target, settings: &Settings) -> Self {
        Self {
            pattern: Pattern::new(settings.size),
            // One byte more than a message shows a reply that is too long.
            buffer: vec![0; settings.size + 1],
            size: settings.size,
            messages: target.address.style() != Style::Stream,
            timeout: settings.timeout,
        }
    }

    fn use_once(&mut self, peer: &mut Peer, meter: &mut Meter<'_>) -> Result<()> {
        let mut wait = Wait::on_all(std::iter::once(&peer.fd), false, Trigger::Edge)?;
        let started = meter.now();
        peer.next_message(started);
        let deadline = Instant::now() + self.timeout;
        let mut failed = peer.send(&self.pattern, self.size, &wait).err();
        while failed.is_none() {
            match peer.look(&self.pattern, &mut self.buffer, self.size, self.messages, &wait) {
                Step::Back { right } => {
                    let now = meter.now();
                    meter.sample.round_trip(now - started, self.size);
                    meter.sample.wrong += u64::from(!right);
                    return Ok(());
                }
                Step::Failed(why) => failed = Some(why),
                Step::Waiting | Step::Late if Instant::now() >= deadline => {
                    failed = Some("no reply in time".to_owned());
                }
                Step::Waiting | Step::Late => {
                    wait.wait(TICK)?;
                }
            }
        }
        meter.sample.error(|| failed.unwrap_or_default());
        Ok(())
    }

    /// Half-closes the connections. What comes before their ends was not sent: no message follows
    /// that it would make wrong.
    fn end_all(&mut self, peers: &[Peer], meter: &mut Meter<'_>) -> Result<()> {
        let mut wait = Wait::on_all(peers.iter().map(|peer| &peer.fd), false, Trigger::Edge)?;
        for peer in peers {
            let _ = SockRef::from(&peer.fd).shutdown(std::net::Shutdown::Write);
        }
        let mut open = peers.len();
        let mut deadline = Instant::now() + END_PATIENCE;
        while open > 0 && Instant::now() < deadline {
            for at in 0..wait.wait(TICK)? {
                let peer = &peers[wait.event(at).0];
                let surplus = match recv(&peer.fd, self.buffer.as_mut_slice(), RecvFlags::empty()) {
                    Err(Errno::AGAIN | Errno::INTR) => continue,
                    Ok((count, _)) => count > 0,
                    Err(_) => false,
                };
                meter.sample.wrong += u64::from(surplus);
                wait.forget(&peer.fd);
                open -= 1;
                deadline = Instant::now() + END_PATIENCE;
            }
        }
        Ok(())
    }
}
