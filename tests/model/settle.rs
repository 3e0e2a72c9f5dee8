//! Receives what must still come back to the peers. A peer that gets nothing for long is a failure.

use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::peer::Peer;

/// How long nothing at all may come of what is owed: far more than any of it takes on a busy
/// machine. It is no measurement.
const PATIENCE: Duration = Duration::from_secs(15);
/// While a failure is made smaller, it happens again and again.
const SHORT_PATIENCE: Duration = Duration::from_secs(1);

static EXPECTS_FAILURES: AtomicBool = AtomicBool::new(false);

/// A schedule has failed, and shorter ones are tried.
pub(crate) fn expect_failures() {
    EXPECTS_FAILURES.store(true, Ordering::Relaxed);
}

pub(crate) fn deadline() -> Duration {
    if EXPECTS_FAILURES.load(Ordering::Relaxed) { SHORT_PATIENCE } else { PATIENCE }
}

/// All of the peers that `wait` receive, until each of them has what it is owed.
pub(crate) fn settle<'a>(
    peers: impl Iterator<Item = &'a mut Peer>,
    is_owed: impl Fn(&Peer) -> bool,
) -> Result<(), String> {
    let mut waiting: Vec<&mut Peer> = peers.filter(|peer| is_owed(peer)).collect();
    while !waiting.is_empty() {
        let ready = wait(&waiting, None);
        if ready.is_empty() {
            let peers: Vec<_> = waiting.iter().map(|peer| peer.describe()).collect();
            return Err(format!("nothing more comes back:\n  {}", peers.join("\n  ")));
        }
        for index in ready {
            let peer = &mut *waiting[index];
            peer.receive_all()?;
            if peer.end.is_some() && !(peer.is_half_closed && peer.is_satisfied()) {
                return Err(format!("the server ended it: {}", peer.describe()));
            }
        }
        waiting.retain(|peer| is_owed(peer));
    }
    Ok(())
}

/// Everybody receives until the server, which was told to stop, has returned.
pub(crate) fn drain(peers: &mut [Peer], ended: BorrowedFd<'_>) -> Result<(), String> {
    loop {
        let mut waiting: Vec<&mut Peer> =
            peers.iter_mut().filter(|peer| peer.end.is_none()).collect();
        let ready = wait(&waiting, Some(ended));
        if ready.is_empty() {
            return Err("the server does not return, and sends nothing more".to_owned());
        }
        for index in &ready {
            if let Some(peer) = waiting.get_mut(*index) {
                peer.receive_all()?;
            }
        }
        if ready.contains(&waiting.len()) {
            break;
        }
    }
    // What came between the last look and the end.
    peers.iter_mut().try_for_each(Peer::receive_all)
}

/// The server has returned, and has never accepted so many: the ends of all others come, if the
/// network is slow a little later. Whoever gets none is found by whoever asks next.
pub(crate) fn receive_ends(peers: &mut [Peer], not_accepted: usize) -> Result<(), String> {
    loop {
        let is_waiting = |peer: &&mut Peer| !peer.kind.is_datagram() && peer.end.is_none();
        let mut waiting: Vec<_> = peers.iter_mut().filter(is_waiting).collect();
        if waiting.len() <= not_accepted && waiting.iter().all(|peer| peer.books.received == 0) {
            return Ok(());
        }
        let ready = wait(&waiting, None);
        if ready.is_empty() {
            return Ok(());
        }
        for index in ready {
            waiting[index].receive_all()?;
        }
    }
}

/// Waits until some of the peers can receive, or `other` can: that one comes behind them.
fn wait(peers: &[&mut Peer], other: Option<BorrowedFd<'_>>) -> Vec<usize> {
    let mut fds: Vec<_> = peers.iter().map(|peer| PollFd::new(&**peer, PollFlags::IN)).collect();
    fds.extend(other.as_ref().map(|other| PollFd::new(other, PollFlags::IN)));
    poll(&mut fds, Some(&Timespec::try_from(deadline()).expect("it fits"))).expect("poll(2)");
    let is_ready = |(index, fd): (usize, &PollFd<'_>)| (!fd.revents().is_empty()).then_some(index);
    fds.iter().enumerate().filter_map(is_ready).collect()
}
