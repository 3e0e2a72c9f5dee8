//! Starts, ends, and what remains.

use std::cell::OnceCell;
use std::os::fd::AsFd;
use std::os::unix::process::ExitStatusExt;
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::list;
use crate::activator::Bound;
use crate::address::{Address, Style};
use crate::command::conform::case::{Case, Miss, Seen};
use crate::command::conform::clients::{Client, knock};
use crate::command::conform::engine::{Engine, Run, SERVE};
use crate::error::ErrorKind;
use crate::proc::{self, Process, Socket};

/// How long helpers may take to end after the command.
const RELEASE_PATIENCE: Duration = Duration::from_secs(5);
const ROUNDS: usize = 20;

pub(super) fn cases(engine: &Engine) -> Vec<Case<'_>> {
    let rounds = Rc::new(OnceCell::new());
    let times = Rc::clone(&rounds);
    vec![
        Case::new(
            "exit.status",
            "the exit status of the program becomes that of the command",
            "systemd.service(5), SuccessExitStatus=, Restart=",
            || exit_status(engine),
        ),
        Case::new(
            "signal.term",
            "SIGTERM to the command ends the program, and what it was sent is answered before",
            "systemd.kill(5)",
            || signal(engine),
        ),
        Case::new(
            "start.waiting",
            "100 clients that came before the start are all served",
            "daemon(7), socket-based activation",
            || waiting(engine),
        ),
        Case::new(
            "stop.released",
            "after the end, no process has the sockets open",
            "systemd.socket(5); containers/podman#27854",
            || released(engine),
        ),
        Case::new(
            "restart.20",
            "in 20 rounds of start and stop, no client that waits is lost",
            "daemon(7), socket-based activation",
            move || {
                let Rounds { times, deaf } = rounds.get_or_init(|| restart(engine)).clone()?;
                let served = format!("{ROUNDS} rounds, {} clients", 3 * times.len());
                Ok(match deaf {
                    Some(round) => format!("{served}; SIGTERM did not end it in round {round}"),
                    None => served,
                })
            },
        ),
        Case::new(
            "start.time",
            "the time from a client's connect, just before the start, to its echo",
            "a measurement: it fails only if there is no echo",
            move || {
                let Rounds { mut times, .. } = times.get_or_init(|| restart(engine)).clone()?;
                times.sort_unstable();
                let (least, median) = (times[0], times[times.len() / 2]);
                Ok(format!("minimum {}, median {}", shown(least), shown(median)))
            },
        ),
    ]
}

fn shown(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1000.0)
}

fn tcp(engine: &Engine, name: &str) -> Result<Bound, Miss> {
    engine.bind(&"tcp:127.0.0.1:0".parse::<Address>().expect("an address"), name)
}

fn exit_status(engine: &Engine) -> Seen {
    let sockets = engine.listeners(&["a"])?;
    let _client = knock(&sockets[0], engine.timeout)?;
    let expected = i32::from(ErrorKind::Usage.exit_status());
    let run = Run { arguments: &["serve", "--no-such-flag"], ..SERVE };
    let status = engine.start(&sockets, run)?.wait()?;
    match status.code() {
        Some(code) if code == expected => Ok(format!("{code} of {expected}")),
        _ => Err(Miss::Fail(format!(
            "the program ended with exit status {expected} (a wrong flag), the command with {status}"
        ))),
    }
}

fn signal(engine: &Engine) -> Seen {
    let sockets = [tcp(engine, "tcp")?];
    let mut client = Client::new(&sockets[0], engine.timeout)?;
    let mut running = engine.start(&sockets, SERVE)?;
    client.echoed_by(&mut running)?;
    let status = running.stop()?;
    let killed =
        status.signal() == Some(libc::SIGKILL) || status.code() == Some(128 + libc::SIGKILL);
    if killed {
        return Err(Miss::Fail(format!("the command ended with {status}: SIGKILL ended it")));
    }
    match client.ended(engine.timeout) {
        Ok(true) => Ok(format!("the connection ended, then the command with {status}")),
        Ok(false) => Err(Miss::Fail("more came than was sent".to_owned())),
        Err(error) => Err(Miss::Fail(format!(
            "the command has ended with {status}, and the program goes on: the connection does not \
             end ({error})"
        ))),
    }
}

fn waiting(engine: &Engine) -> Seen {
    let udp: Address = "udp:127.0.0.1:0".parse().expect("an address");
    let sockets =
        [tcp(engine, "tcp")?, engine.unix(Style::Stream, "unix")?, engine.bind(&udp, "udp")?];
    let number = |index: usize| match index {
        0..40 => 0,
        40..80 => 1,
        _ => 2,
    };
    let clients: Result<Vec<_>, _> =
        (0..100).map(|index| Client::new(&sockets[number(index)], engine.timeout)).collect();
    let mut running = engine.start(&sockets, SERVE)?;
    let results: Vec<_> =
        clients?.iter_mut().map(|client| client.echoed_by(&mut running)).collect();
    let lost: Vec<_> = results.into_iter().filter_map(Result::err).collect();
    match lost.first() {
        None => Ok("100 of 100".to_owned()),
        Some(Miss::Fail(why) | Miss::Skip(why)) => {
            Err(Miss::Fail(format!("{} of 100 were not served; the first: {why}", lost.len())))
        }
    }
}

fn released(engine: &Engine) -> Seen {
    let sockets = [tcp(engine, "tcp")?, engine.unix(Style::Datagram, "datagram")?];
    let mut client = Client::new(&sockets[0], engine.timeout)?;
    let mut running = engine.start(&sockets, SERVE)?;
    client.echoed_by(&mut running)?;
    running.stop()?;
    let ended = Instant::now();
    loop {
        let holders = holders(&sockets);
        if holders.is_empty() {
            return Ok("nobody has them".to_owned());
        }
        if ended.elapsed() > RELEASE_PATIENCE {
            return Err(Miss::Fail(format!(
                "{RELEASE_PATIENCE:?} after the end, these still have them: {}",
                list(&holders)
            )));
        }
    }
}

/// The processes that have one of the sockets, except this one.
fn holders(sockets: &[Bound]) -> Vec<String> {
    let inodes = sockets.iter().filter_map(|socket| rustix::fs::fstat(socket.as_fd()).ok());
    let sockets: Vec<_> = inodes.map(|file| Socket { serves: true, inode: file.st_ino }).collect();
    let others = proc::holders(&sockets).into_iter().filter(|&pid| pid != std::process::id());
    let others = others.filter_map(Process::of);
    others.map(|one| format!("{} (pid {})", one.name, one.pid)).collect()
}

/// What was seen in the rounds of start and stop.
#[derive(Clone)]
struct Rounds {
    /// The time from the connect of the first client to its echo, in each round.
    times: Vec<Duration>,
    /// The round in which SIGTERM did not end the command.
    deaf: Option<usize>,
}

fn restart(engine: &Engine) -> Result<Rounds, Miss> {
    let udp: Address = "udp:127.0.0.1:0".parse().expect("an address");
    let sockets =
        [tcp(engine, "tcp")?, engine.unix(Style::Stream, "unix")?, engine.bind(&udp, "udp")?];
    let mut rounds = Rounds { times: Vec::with_capacity(ROUNDS), deaf: None };
    for round in 1..=ROUNDS {
        let in_round = |miss| match miss {
            Miss::Fail(why) => Miss::Fail(format!("round {round}: {why}")),
            skip => skip,
        };
        let connected = Instant::now();
        let clients: Result<Vec<_>, _> =
            sockets.iter().map(|socket| Client::new(socket, engine.timeout)).collect();
        let mut running = engine.start(&sockets, SERVE).map_err(in_round)?;
        for (index, client) in clients?.iter_mut().enumerate() {
            client.echoed_by(&mut running).map_err(in_round)?;
            if index == 0 {
                rounds.times.push(connected.elapsed());
            }
        }
        // SIGTERM is the matter of `signal.term`. A command that did not hear it once is killed
        // from then on: a wait for each round would take minutes.
        if rounds.deaf.is_some() {
            running.kill();
        } else if running.stop().is_err() {
            rounds.deaf = Some(round);
        }
    }
    Ok(rounds)
}
