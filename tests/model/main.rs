//! A model of what the server must send to each of its peers, compared with the server.
//!
//! A schedule lists what peers of every kind do, step by step: connect, send, stall, receive, end,
//! reset, and so on. The server runs in its own thread between the steps. The model knows what each
//! peer has sent, and so what must come back: of a stream the same bytes in order, of messages each
//! one whole and once. In the end every peer is served, the server returns, its statistics equal
//! the model's, and no descriptor is left.
//!
//! Schedules are random. A failing one is shortened, and printed as a row for `table`, with the
//! seed that repeats it.

#![allow(clippy::disallowed_methods, reason = "the tests are a program of their own")]

mod books;
mod doors;
mod ending;
mod peer;
mod schedule;
mod serving;
mod settle;
mod table;
mod tcp;
mod totals;
mod world;

use std::cell::{Cell, OnceCell};
use std::hash::{BuildHasher, RandomState};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use proptest::test_runner::{Config, RngSeed, TestCaseError, TestError, TestRunner};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::schedule::Schedule;
use crate::world::World;

/// How many random schedules there are if `MODEL_CASES` does not say: a few seconds.
const CASES: u32 = 300;

/// How many processes play them.
const PLAYERS: u32 = 4;

/// How often a shorter schedule is played until it is taken for one that does not fail: what depends
/// on who comes first fails now and then.
const TRIES: usize = 5;

/// What a failure may take to be made smaller, in milliseconds.
const SHRINK_TIME_MAX: u32 = 90_000;

/// Descriptors are counted over the whole process, so one schedule is played at a time.
fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

fn variable<T: std::str::FromStr>(name: &str) -> Option<T> {
    let value = std::env::var(name).ok()?;
    Some(value.parse().unwrap_or_else(|_| panic!("{name}={value} is not a number")))
}

/// Plays a schedule to its end.
///
/// # Errors
///
/// What the server did wrong.
fn play(schedule: &Schedule) -> Result<(), String> {
    let before = open_descriptors();
    let mut world = World::start(schedule);
    for (index, step) in schedule.steps.iter().enumerate() {
        let done = world.step(*step);
        done.map_err(|problem| format!("step {index}, {step:?}: {problem}"))?;
    }
    ending::finish(world).map_err(|problem| format!("in the end: {problem}"))?;
    let after = open_descriptors();
    if after > before {
        return Err(format!("{} descriptors are left open", after - before));
    }
    Ok(())
}

fn open_descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").expect("proc(5)").count()
}

/// Most of a schedule's time is spent on waiting, and descriptors are counted over a whole process:
/// so each of several processes plays its share.
#[test]
fn every_peer_gets_what_it_is_owed_whatever_the_others_do() {
    let _turn = turn();
    let cases = variable("MODEL_CASES").unwrap_or(CASES);
    if let Some(seed) = variable("MODEL_SEED") {
        return play_random_schedules(seed, cases);
    }
    let players: Vec<_> = (0..PLAYERS).map(|_| Player::start(cases.div_ceil(PLAYERS))).collect();
    let failures: Vec<_> = players.into_iter().filter_map(|player| player.finish().err()).collect();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// A process that plays schedules.
struct Player {
    seed: u64,
    process: Child,
}

impl Player {
    /// Starts one with a seed of its own.
    fn start(cases: u32) -> Self {
        let seed = RandomState::new().hash_one(cases);
        let mut command = Command::new(std::env::current_exe().expect("this program"));
        command.args(["--exact", "every_peer_gets_what_it_is_owed_whatever_the_others_do"]);
        command.env("MODEL_SEED", seed.to_string()).env("MODEL_CASES", cases.to_string());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Self { seed, process: command.spawn().expect("a process") }
    }

    fn finish(self) -> Result<(), String> {
        let output = self.process.wait_with_output().expect("its output");
        if output.status.success() {
            return Ok(());
        }
        let [stdout, stderr] = [output.stdout, output.stderr]
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        let (seed, status) = (self.seed, output.status);
        Err(format!("MODEL_SEED={seed}: {status}\n{stdout}\n{stderr}"))
    }
}

fn play_random_schedules(seed: u64, cases: u32) {
    raise_descriptor_limit();
    let config = Config {
        cases,
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(seed),
        max_shrink_time: SHRINK_TIME_MAX,
        ..Config::default()
    };
    let start = Instant::now();
    let (played, found) = (Cell::new(0), OnceCell::new());
    let result = TestRunner::new(config).run(&schedule::any(), |schedule| {
        played.set(played.get() + 1);
        let tries = if found.get().is_some() { TRIES } else { 1 };
        (0..tries).try_for_each(|_| play(&schedule)).map_err(|problem| {
            found.get_or_init(|| (played.get(), start.elapsed()));
            settle::expect_failures();
            TestCaseError::fail(problem)
        })
    });
    if let Err(TestError::Fail(problem, schedule)) = &result {
        let (count, time) = found.get().expect("it has failed");
        panic!(
            "schedule {count} failed after {time:.1?}; made shorter, as tests/model/table.rs wants \
             it:\n\n{schedule}\n{problem}\n\nthe same again: MODEL_SEED={seed} \
             MODEL_CASES={cases} cargo test --test model"
        );
    }
    result.expect("no other failure");
}

/// Hundreds of connections have both their ends in this process.
fn raise_descriptor_limit() {
    let maximum = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })
        .expect("up to the hard limit");
}

#[test]
fn schedules_that_have_failed_once_or_must_not() {
    let _turn = turn();
    for (name, schedule) in table::all() {
        play(&schedule).unwrap_or_else(|problem| panic!("{name}: {problem}"));
    }
}
