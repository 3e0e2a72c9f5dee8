//! The policy, driven with recordings from servers on two processors.

use super::*;

/// How an event came, as a server recorded it: after how many polls.
#[derive(Debug, Clone, Copy)]
enum Came {
    AtOnce,
    After(u32),
    /// The same, and another thread had the processor meanwhile.
    Shared(u32),
    /// Too late for any polling.
    Late,
}
use Came::{After, AtOnce, Late, Shared};

/// The result of polling over many waits.
#[derive(Debug, Default)]
struct Cost {
    looks: u32,
    found: u32,
    /// Waits in which another thread had to wait for the end of a poll.
    disturbed: u32,
}

/// Drives the policy with the waits.
fn drive(spin: &mut Spin, waits: impl IntoIterator<Item = Came>) -> Cost {
    let mut cost = Cost::default();
    for came in waits {
        if !spin.begins() {
            continue;
        }
        let (last, others_ran) = match came {
            AtOnce => continue,
            After(looks) => (looks, false),
            Shared(looks) => (looks, true),
            Late => (u32::MAX, false),
        };
        for looks in 1.. {
            cost.looks += 1;
            let found = looks == last;
            let others_ran = others_ran && found;
            cost.disturbed += u32::from(others_ran);
            let time = Duration::ZERO;
            if !spin.goes_on(&Seen { looks, time, found, others_ran }) {
                cost.found += u32::from(found && !others_ran);
                break;
            }
        }
    }
    cost
}

fn auto() -> Spin {
    Spin::new(BusyPoll::Auto)
}

/// One in twenty comes too late for polling.
fn alone(waits: u32) -> impl Iterator<Item = Came> {
    let one = |looks| After(looks);
    ALONE.into_iter().map(one).chain([Late]).cycle().take(waits as usize)
}

/// One client, alone on another processor.
const ALONE: [u32; 19] =
    [52, 73, 69, 70, 73, 70, 74, 65, 69, 72, 48, 23, 77, 72, 69, 71, 71, 69, 73];
/// One client on the same processor: its data is there when the server runs again.
const SHARED: [Came; 5] = [Shared(1), AtOnce, AtOnce, Shared(1), AtOnce];
/// A process on the same processor that never sleeps, and a client on another one.
const NEIGHBOUR: [Came; 6] = [Shared(1), Shared(3), Shared(2), Shared(4), Shared(1), Shared(1)];
/// 50 clients: most of the time one of them has sent data.
const FIFTY: [Came; 6] = [AtOnce, After(5), AtOnce, After(9), AtOnce, After(19)];

#[test]
fn one_client_on_another_processor_finds_it_awake() {
    let waits = 2000;
    let cost = drive(&mut auto(), alone(waits));
    assert!(cost.found >= waits * 9 / 10, "{cost:?}");
}

#[test]
fn whoever_shares_the_processor_is_left_alone() {
    for waits in [SHARED.as_slice(), &NEIGHBOUR] {
        let waits = waits.iter().copied().cycle().take(100_000);
        let cost = drive(&mut auto(), waits);
        assert!(cost.disturbed < 24, "{cost:?}");
        assert!(cost.looks < 48, "{cost:?}");
    }
}

#[test]
fn a_server_with_many_clients_looks_little() {
    let waits = 100 * FIFTY.len() as u32;
    let cost = drive(&mut auto(), FIFTY.into_iter().cycle().take(waits as usize));
    assert!(cost.looks < waits * 6, "{cost:?}");
    assert_eq!(cost.disturbed, 0);
}

#[test]
fn an_idle_server_sleeps() {
    let waits = 100_000;
    let cost = drive(&mut auto(), [Late].into_iter().cycle().take(waits));
    assert!(cost.looks < LOOKS_MAX * (16 + waits as u32 / PAUSE_MAX), "{cost:?}");
}

#[test]
fn each_burst_is_found_awake_and_costs_little_when_it_is_over() {
    let mut spin = auto();
    for _ in 0..10 {
        let burst = drive(&mut spin, alone(1000));
        assert!(burst.found > 800, "{burst:?}");
        let rest = drive(&mut spin, [Late; 100]);
        assert!(rest.looks <= LOOKS_MAX * (CREDIT_MAX + 5), "{rest:?}");
    }
}

#[test]
fn it_looks_again_when_the_neighbour_is_gone() {
    let mut spin = auto();
    drive(&mut spin, NEIGHBOUR.into_iter().cycle().take(1_000_000));
    let most = PAUSE_SHARED_MAX + 1000;
    let cost = drive(&mut spin, alone(most));
    assert!(cost.found > 800, "{cost:?}");
}

#[test]
fn a_time_that_is_asked_for_is_looked_for_whoever_else_runs() {
    let longest = Duration::from_micros(50);
    let mut spin = Spin::new(BusyPoll::For(longest));
    let mut seen = Seen { looks: 1, time: Duration::ZERO, found: false, others_ran: true };
    assert!(spin.begins() && spin.goes_on(&seen));
    seen.time = longest;
    assert!(!spin.goes_on(&seen) && spin.begins());
}

#[test]
fn words_and_numbers() {
    for (text, busy_poll) in [
        ("auto", Ok(BusyPoll::Auto)),
        ("off", Ok(BusyPoll::Off)),
        ("0", Ok(BusyPoll::Off)),
        ("50", Ok(BusyPoll::For(Duration::from_micros(50)))),
    ] {
        assert_eq!(text.parse(), busy_poll);
    }
    for text in ["", "on", "-1", "1.5"] {
        assert!(text.parse::<BusyPoll>().is_err(), "{text}");
    }
}
