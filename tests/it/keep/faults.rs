//! What goes wrong while connections are stored or taken: they are closed rather than continued with
//! a gap.

use std::io::Read;
use std::os::unix::net::UnixStream;

use rustix::fs::{SealFlags, fstat};
use rustix::process::Signal;
use socket2::Socket;

use super::{Bed, ENOUGH, exchange, expect_the_end, memfd};
use crate::clients::pattern;
use crate::fd_store::Answer;
use crate::kit::{DEADLINE, has_tool, program_path};

/// What a peer gets back of what it sent while nobody served: all of it, and the connection goes
/// on, or the end at any time. Never other bytes, and never nothing for ever. Returns whether the
/// connection goes on.
fn is_whole_or_ends(mut peer: &Socket, sent: &[u8]) -> bool {
    let mut received = Vec::new();
    let mut buffer = [0; 100];
    while received.len() < sent.len() {
        match peer.read(&mut buffer) {
            Ok(count) if count > 0 => received.extend_from_slice(&buffer[..count]),
            _ => break,
        }
    }
    assert!(sent.starts_with(&received), "{received:?}");
    let goes_on = received == sent
        && peer.send(b"more").is_ok()
        && peer.read(&mut buffer).is_ok_and(|count| count > 0);
    assert!(!goes_on || &buffer[..4] == b"more");
    goes_on
}

/// Lets the manager kill the process at the message with this number from now on.
fn kill_at(bed: &Bed, number: usize, answer: Answer) {
    let mut count = 0;
    bed.manager.rule(move |_| {
        count += 1;
        if count == number { answer } else { Answer::Process }
    });
}

/// Killed at any message while it stores: the next process goes on with all or with none.
#[test]
fn a_process_that_is_killed_while_it_stores_doubles_nothing() {
    for answer in [Answer::Kill, Answer::ProcessAndKill] {
        for number in 1.. {
            let bed = Bed::new(ENOUGH, &["unix", "unix-seqpacket", "tcp:127.0.0.1:0"]);
            let process = bed.start();
            let peers = bed.served();
            let before = bed.manager.said().len();
            kill_at(&bed, number, answer);
            process.signal(Signal::TERM);
            let was_killed = process.finish().status.code().is_none();
            for peer in &peers {
                let _ = peer.send(b"between");
            }
            let said = bed.manager.said().len() - before;
            bed.manager.rule(|_| Answer::Process);
            let process = bed.start();
            bed.served();
            bed.manager.wait_for_stored(&[]);
            let going_on = peers.iter().filter(|peer| is_whole_or_ends(peer, b"between")).count();
            assert!([0, peers.len()].contains(&going_on), "{answer:?} {number}: {going_on}");
            process.terminate().expect_code(0);
            if !was_killed {
                assert_eq!(going_on, peers.len());
                assert!(said > 5, "{answer:?}: {said} messages");
                break;
            }
        }
    }
}

/// Killed at any message while it takes: no connection is left behind, and none is doubled.
#[test]
fn a_process_that_is_killed_while_it_takes_doubles_nothing() {
    for answer in [Answer::Kill, Answer::ProcessAndKill] {
        // More time, three removals, the check's descriptors, its barrier, its removal.
        for number in 1..=7 {
            let bed = Bed::new(ENOUGH, &["unix", "unix-seqpacket", "tcp:127.0.0.1:0"]);
            let process = bed.start();
            let peers = bed.served();
            process.terminate().expect_code(0);
            for peer in &peers {
                peer.send(b"between").expect("it is stored");
            }
            kill_at(&bed, number, answer);
            assert_eq!(bed.start().finish().status.code(), None);
            bed.manager.rule(|_| Answer::Process);
            let process = bed.start();
            bed.served();
            bed.manager.wait_for_stored(&[]);
            for peer in &peers {
                is_whole_or_ends(peer, b"between");
            }
            process.terminate().expect_code(0);
        }
    }
}

/// Each system call of the start and of the end that can fail, with errors that the kernel has for
/// it. Whatever fails, all connections are kept, or all are drained; and if not all is well, the log
/// says so.
#[test]
fn a_system_call_that_fails_costs_no_peer_a_byte() {
    if !has_tool("strace", "faults while connections are kept") {
        return;
    }
    // How many of these calls there are, from the start to the end.
    for (call, errors, calls) in [
        ("memfd_create", &["EMFILE", "ENOMEM", "EPERM"][..], 1),
        ("sendmsg", &["ECONNREFUSED", "ENOBUFS", "ETOOMANYREFS"], 7),
        ("pipe2", &["EMFILE"], 4),
        ("/^p?poll$", &["ENOMEM"], 3),
    ] {
        for error in errors {
            for when in (1..=calls).map(|number| number.to_string()) {
                check_fault(&format!("{call}:error={error}:when={when}"));
            }
        }
    }
    // The ledger, and every line of the log.
    check_fault("write:error=ENOSPC");
}

/// Runs with one fault, as strace(1) describes it.
fn check_fault(fault: &str) {
    let bed = Bed::new(ENOUGH, &["unix", "unix-seqpacket", "tcp:127.0.0.1:0"]);
    let inject = format!("--inject={fault}");
    // With -D, the program has the process id that it was started with.
    let strace = ["strace", "-D", "-f", "-qq", "-o", "/dev/null", &inject];
    let serve = [program_path(), "serve", "--keep-connections"];
    let process = bed.manager.start(&[&strace[..], &serve].concat(), &[("FDSTORE", "512")]);
    let peers = bed.served();
    let finished = process.terminate().expect_code(0);
    let is_kept = bed.manager.stored().len() == peers.len() + 1;
    assert!(is_kept || bed.manager.stored().is_empty(), "{fault}: {:?}", bed.manager.stored());
    let is_told = finished.stderr.contains("warning: ") || fault.starts_with("write");
    assert!(is_kept || is_told, "{fault}: {}", finished.describe());
    for peer in &peers {
        let _ = peer.send(b"between");
    }
    let process = bed.start();
    bed.served();
    let going_on = peers.iter().filter(|peer| is_whole_or_ends(peer, b"between")).count();
    assert_eq!(going_on, if is_kept { peers.len() } else { 0 }, "{fault}: {}", finished.describe());
    process.terminate().expect_code(0);
}

/// A ledger that is not the one of these connections: none of them is continued.
#[test]
fn only_one_complete_ledger_counts() {
    let seals = SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL;
    let good = |inode: u64| {
        let numbers = [1u32, 1, 0].map(u32::to_le_bytes).concat();
        let entry = [inode, u64::MAX].map(u64::to_le_bytes).concat();
        [b"sae-kept-ledger\n", &numbers[..], &entry].concat()
    };
    for (name, why) in [
        ("none", "there is no ledger"),
        ("two", "there are 2 ledgers"),
        ("open", "it is not sealed"),
        ("short", "shorter than it says"),
        ("garbage", "another program wrote it"),
        ("stale", "the ledger does not name them; 1 that it names"),
        ("good", ""),
    ] {
        let bed = Bed::new(ENOUGH, &["unix"]);
        let (peer, connection) = UnixStream::pair().expect("socketpair");
        peer.set_read_timeout(Some(DEADLINE)).expect("a timeout");
        let good = good(fstat(&connection).expect("fstat(2)").st_ino);
        bed.manager.put("kept-socket", connection);
        let ledgers = match name {
            "none" => vec![],
            "two" => vec![memfd(&good, seals), memfd(&good, seals)],
            "open" => vec![memfd(&good, SealFlags::WRITE)],
            "short" => vec![memfd(&good[..good.len() - 1], seals)],
            "garbage" => vec![memfd(&pattern(100), seals)],
            "stale" => {
                let mut other = good;
                other[28] ^= 1;
                vec![memfd(&other, seals)]
            }
            _ => vec![memfd(&good, seals)],
        };
        ledgers.into_iter().for_each(|ledger| bed.manager.put("kept-ledger", ledger));
        let process = bed.start();
        let peer = Socket::from(peer);
        match name {
            "good" => exchange(&[peer]),
            _ => expect_the_end(&peer),
        }
        bed.served();
        bed.manager.wait_for_stored(&[]);
        process.terminate().expect_code(0).expect_stderr(&[why]);
    }
}
