//! `--idle-timeout`: who is idle ends, and nobody else.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use socket2::Socket;

use crate::activators::{Active, Kind};
use crate::clients::{connect, messages, pattern};
use crate::handover::hand_over;
use crate::kit::{many_descriptors, measured, run};

const CONNECTIONS: [Kind; 4] = [Kind::UnixStream, Kind::Tcp4, Kind::UnixSeqpacket, Kind::Mptcp];

/// Exchanges messages until the other connection ends. Returns the longest time between two.
fn busy_until_the_end(busy: &Socket, mut idle: &Socket) -> Duration {
    idle.set_nonblocking(true).expect("O_NONBLOCK");
    let (mut last, mut longest) = (Instant::now(), Duration::ZERO);
    loop {
        messages(busy, &[64]);
        longest = longest.max(last.elapsed());
        last = Instant::now();
        match idle.read(&mut [0]) {
            Ok(count) => {
                assert_eq!(count, 0, "the end of the stream");
                return longest;
            }
            Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock, "no reset"),
        }
    }
}

#[test]
fn who_is_idle_ends_and_who_is_not_goes_on() {
    const TIMEOUT: Duration = Duration::from_secs(1);
    for kind in CONNECTIONS {
        let active = Active::serve(kind, &["--idle-timeout", "1"]);
        let [idle, busy] = [0; 2].map(|_| connect(&active.address, &active.dir));
        messages(&busy, &[64]);
        let start = Instant::now();
        messages(&idle, &[64]);
        let longest = busy_until_the_end(&busy, &idle);
        let time = start.elapsed();
        assert!(time >= TIMEOUT, "{kind:?}: it ended after {time:?}");
        measured(&format!(
            "{kind:?}: ended after {time:?}; the other one paused for {longest:?} at most"
        ));
        messages(&busy, &[64]);
        active.process.terminate().expect_code(0).expect_stderr(&[
            "ended a connection on which nothing had moved for 1s",
            "served 2 connections",
        ]);
    }
}

/// A peer that never reads neither sends nor takes anything as soon as everything is full.
#[test]
fn who_takes_nothing_ends_although_it_is_owed_something() {
    let active = Active::serve(Kind::UnixStream, &["--idle-timeout", "1", "--debug"]);
    let [mut deaf, busy] = [0; 2].map(|_| connect(&active.address, &active.dir));
    messages(&busy, &[64]);
    deaf.set_nonblocking(true).expect("O_NONBLOCK");
    let chunk = pattern(65_536);
    loop {
        match deaf.write(&chunk) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => messages(&busy, &[64]),
            Err(_) => break,
        }
    }
    let finished = active.process.terminate().expect_code(0);
    let lost = finished.stderr.lines().find(|line| line.contains("idle for 1s, "));
    let lost = lost.unwrap_or_else(|| panic!("{}", finished.describe()));
    assert!(!lost.contains(" 0 bytes"), "{lost}");
}

/// All of them are idle at the same time. A line a second tells how many.
#[test]
fn many_end_and_are_counted() {
    const MANY: usize = 1000;
    let Some(_turn) = many_descriptors(MANY, "1,000 idle connections") else { return };
    let active = Active::serve(Kind::UnixStream, &["--idle-timeout", "0.5", "--workers", "2"]);
    let mut peers: Vec<UnixStream> =
        (0..MANY).map(|_| UnixStream::connect(active.dir.path("s")).expect("connect")).collect();
    let start = Instant::now();
    for peer in &mut peers {
        assert_eq!(peer.read(&mut [0]).expect("the end, and no reset"), 0);
    }
    let seconds = start.elapsed().as_secs();
    let finished = active.process.terminate().expect_code(0);
    let lines = finished.stderr.lines().filter(|line| line.contains("nothing had moved"));
    let counts: Vec<usize> =
        lines.map(|line| line.split(' ').find_map(|word| word.parse().ok()).unwrap_or(1)).collect();
    assert_eq!(counts.iter().sum::<usize>(), MANY, "{}", finished.describe());
    // One at each start of a second, and the rest at the end.
    assert!(counts.len() as u64 <= seconds + 3, "{}", finished.describe());
}

/// With Accept=yes the process ends with its connection.
#[test]
fn a_process_for_one_connection_ends_with_it() {
    let (mut peer, connection) = UnixStream::pair().expect("socketpair(2)");
    run(&mut hand_over(connection, &["serve", "--idle-timeout", "0.2"])).expect_code(0);
    assert_eq!(peer.read(&mut [0]).expect("the end"), 0);
}

/// A timer wakes nobody who has no connection.
#[test]
fn without_connections_it_sleeps() {
    let active = Active::serve(Kind::UnixStream, &["--idle-timeout", "0.1"]);
    let mut peer = UnixStream::connect(active.dir.path("s")).expect("connect");
    assert_eq!(peer.read(&mut [0]).expect("the end"), 0);
    // The line may be due a second later, and the sweep that logs it is the last one.
    let [first, second] =
        [0; 2].map(|_| UnixStream::connect(active.dir.path("s")).expect("connect"));
    for mut peer in [first, second] {
        assert_eq!(peer.read(&mut [0]).expect("the end"), 0);
    }
    let told = active.process.stderr_line("ended 2 connections").is_some();
    assert!(told, "{}", active.process.describe());
    let before = active.process.times_run();
    std::thread::sleep(Duration::from_secs(1));
    let runs = active.process.times_run() - before;
    assert!(runs <= 2, "it ran {runs} times");
    active.process.terminate().expect_code(0);
}
