//! The end of a schedule: every peer is served, the server returns, and its statistics equal those
//! of the model.

use socket_activate_echo::server::Statistics;

use crate::peer::{Did, End, Peer};
use crate::schedule::Kind;
use crate::settle::{drain, receive_ends, settle};
use crate::totals::Totals;
use crate::world::World;

/// How often a queue is waited for.
const FULL_QUEUE_ROUNDS: usize = 1000;

pub(crate) fn finish(mut world: World<'_>) -> Result<(), String> {
    let was_stopped = world.serving.is_stopping;
    if !was_stopped {
        world.settle()?;
        one_more_at_each_door(&mut world)?;
        world.peers.iter_mut().for_each(Peer::half_close);
        settle(world.peers.iter_mut(), |peer| !peer.is_satisfied())?;
        world.serving.stop();
    }
    drain(&mut world.peers, world.serving.ended())?;
    world.totals.add_bystander(world.serving.round_trips);
    let statistics = world.serving.end()?;
    let not_accepted = world.totals.connections.saturating_sub(statistics.connections as usize);
    receive_ends(&mut world.peers, not_accepted)?;
    for peer in &world.peers {
        check_end(peer, was_stopped)?;
    }
    check(&statistics, &world.peers, world.totals, was_stopped)
}

/// Who comes last is served last: after that everything that came before has been.
fn one_more_at_each_door(world: &mut World<'_>) -> Result<(), String> {
    for kind in Kind::ALL {
        if let Some(index) = world.connect(kind, None) {
            // A queue may be full of what others have sent that are gone.
            for _ in 0..FULL_QUEUE_ROUNDS {
                if world.peers[index].send(3, None)? != Did::NotNow {
                    break;
                }
                world.serving.sync()?;
            }
        }
    }
    Ok(())
}

/// A peer that is still there, after the server has returned.
fn check_end(peer: &Peer, was_stopped: bool) -> Result<(), String> {
    let problem = match peer.end {
        _ if peer.kind.is_datagram() => return Ok(()),
        None if peer.books.received > 0 => "its end is missing",
        // It was not accepted.
        None => return Ok(()),
        Some(_) if was_stopped && peer.books.missing_in_the_end() > 0 => {
            "what had reached the server is missing"
        }
        Some(End::Reset) if !was_stopped || peer.books.sent_nothing_since() => "it was reset",
        Some(_) => return Ok(()),
    };
    Err(format!("{problem}: {}", peer.describe()))
}

fn check(
    statistics: &Statistics,
    peers: &[Peer],
    mut totals: Totals,
    was_stopped: bool,
) -> Result<(), String> {
    let was_not_accepted = |peer: &&Peer| !peer.kind.is_datagram() && peer.end.is_none();
    let waiting = peers.iter().filter(was_not_accepted).count();
    let accepted_max = totals.connections - waiting;
    let accepted_min = if was_stopped {
        accepted_max.saturating_sub(totals.closed_connections)
    } else {
        accepted_max
    };
    // Replies over UDP may still be on their way when a server that was told to stop has returned.
    let is_late = |peer: &&Peer| was_stopped && peer.kind.is_udp();
    let late: usize = peers.iter().filter(is_late).map(|peer| peer.books.messages_owed()).sum();
    let not_received = totals.messages_owed + late;
    peers.iter().for_each(|peer| totals.add_gone(peer));
    let Totals { sent, received, messages_sent, messages_received, .. } = totals;
    // Datagrams are left to the next server if this one was told to stop.
    let messages_min = if was_stopped { messages_received } else { messages_sent };
    let answered = statistics.messages.saturating_sub(statistics.unanswered);
    for (what, value, min, max) in [
        ("connections", statistics.connections, accepted_min, accepted_max),
        ("bytes", statistics.bytes, received, sent),
        ("messages", statistics.messages, messages_min, messages_sent),
        ("unanswered", statistics.unanswered, 0, not_received),
        ("answered", answered, messages_received, messages_received + not_received),
    ] {
        let range = min as u64..=max as u64;
        if !range.contains(&value) {
            return Err(format!("{value} {what}, and there were {range:?}: {statistics:?}"));
        }
    }
    Ok(())
}
