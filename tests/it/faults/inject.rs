//! One row: a server, its peers, and strace, which makes one system call fail.

use std::collections::BTreeSet;
use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{PidfdFlags, Signal, pidfd_open};
use socket_activate_echo::address::Address;

use super::peers::{self, Load, Peer};
use super::table::{Call, Fault, Kind};
use crate::kit::{DEADLINE, Dir, Process, clean, program, program_path};

/// Which calls fail, counted from when strace attaches, and how many failures are waited for: the
/// first, the second, every fifth.
const WHEN: [(&str, usize); 3] = [("1", 1), ("2", 1), ("5+5", 3)];
/// Calls that are made so rarely, because the server asks only when it matters, that every fifth one
/// is not waited for.
const RARE: [&str; 1] = ["ioctl"];
/// Every call, for a while.
const EVERY: &str = "1+";
/// A call that is not made within so many times the rounds that are enough is not reached.
const ROUNDS_IN_VAIN: u64 = 4;
/// In which the server must not be seen to run while nobody talks.
const IDLE: Duration = Duration::from_secs(1);
/// How long every call fails at least, and how many calls a server that waits longer each time
/// makes in a second at most, beyond the rounds of the peers that it serves. One that spins makes
/// some ten thousand.
const LASTING: Duration = Duration::from_millis(500);
const CALLS_PER_SECOND_MAX: f64 = 1000.0;

/// Runs a row.
///
/// # Errors
///
/// What a stranger has to know of a row that was not survived, in words.
pub(super) fn run(call: &Call, fault: &Fault) -> Result<(), String> {
    let server = Server::start(call.needs_debug);
    run_on(&server, call, fault).map_err(|what| {
        let log = server.process.stderr();
        let is_serious = |line: &&str| line.contains("warning: ") || line.contains("error: ");
        let log: BTreeSet<_> = log.lines().filter(is_serious).collect();
        let log: Vec<_> = log.into_iter().map(|line| format!("\n    {line}")).collect();
        format!("{what}{}", log.concat())
    })?;
    let finished = server.process.terminate();
    if finished.status.code() != Some(0) {
        return Err(format!("after SIGTERM: {}", finished.status));
    }
    if fault.kind == Kind::OneSocket && !finished.stderr.contains("error: ") {
        return Err("the log does not say that a socket is given up".to_owned());
    }
    Ok(())
}

fn run_on(server: &Server, call: &Call, fault: &Fault) -> Result<(), String> {
    let mut row = Row::new(server, fault.kind);
    row.add_peers(|load| !load.is_bulk());
    row.more_rounds().map_err(|what| format!("before any fault: {what}"))?;
    let mut injected = 0;
    // A socket that is given up stays so: there would be none left.
    let phases = match fault.kind {
        Kind::OneSocket => &WHEN[..1],
        _ if RARE.contains(&call.name) => &WHEN[..2],
        _ => &WHEN[..],
    };
    for &(when, enough) in phases {
        let tracer = Tracer::inject(server, call, fault, when)?;
        if when == WHEN[0].0 {
            // Only now, so that the first pipe is among the calls.
            row.add_peers(Load::is_bulk);
        }
        let result = row.until_injected(&tracer, enough);
        let count = tracer.detach(server);
        injected += count;
        let describe = |what| format!("when={when}, {count} failed: {what}");
        result.map_err(describe)?;
        row.check_losses(injected).map_err(describe)?;
        if count == 0 {
            return Err(describe("not reached: no such call was made".to_owned()));
        }
    }
    if call.lasts(fault) {
        let tracer = Tracer::inject(server, call, fault, EVERY)?;
        row.replies_may_expire = true;
        let (start, before) = (Instant::now(), row.rounds());
        let result = row.talk_for(LASTING);
        let count = tracer.detach(server);
        injected += count;
        let describe = |what| format!("when={EVERY}, {count} failed: {what}");
        result.map_err(describe)?;
        let time = start.elapsed();
        let most = CALLS_PER_SECOND_MAX * time.as_secs_f64() + (row.rounds() - before) as f64;
        if count as f64 > most {
            return Err(describe(format!("it spins: that many calls in {time:?}")));
        }
    }
    row.aftermath(injected).map_err(|what| format!("afterwards, {injected} failed: {what}"))
}

/// The system calls of a server that serves everybody, each with the error that it ended with;
/// an empty one for success.
pub(super) fn calls(is_debug: bool) -> Result<BTreeSet<(String, String)>, String> {
    let server = Server::start(is_debug);
    let mut row = Row::new(&server, Kind::Nobody);
    row.add_peers(|load| !load.is_bulk());
    row.more_rounds()?;
    let tracer = Tracer::attach(&server, &["-e", "raw=all"])?;
    row.add_peers(Load::is_bulk);
    for _ in 0..Load::PingPong.rounds() {
        row.more_rounds()?;
    }
    fill_buffers(&server.addresses);
    let log = tracer.text();
    tracer.detach(&server);
    let mut calls = BTreeSet::new();
    for line in log.lines() {
        let line =
            line.strip_prefix("[pid").and_then(|line| line.split_once("] ")).map_or(line, |l| l.1);
        let Some((name, rest)) = line.split_once('(') else { continue };
        if name.is_empty() || !name.chars().all(|char| char.is_ascii_alphanumeric() || char == '_')
        {
            continue;
        }
        let errno = rest.split_once(" = -1 ").and_then(|(_, error)| error.split(' ').next());
        calls.insert((name.to_owned(), errno.unwrap_or_default().to_owned()));
    }
    Ok(calls)
}

/// Sends over TCP and reads nothing, until the server cannot send either.
fn fill_buffers(addresses: &[Address]) {
    let address = addresses.iter().map(ToString::to_string).find_map(|address| {
        address.strip_prefix("tcp:").and_then(|rest| rest.parse::<SocketAddr>().ok())
    });
    let mut peer = TcpStream::connect(address.expect("a TCP address")).expect("connect");
    peer.set_nonblocking(true).expect("O_NONBLOCK");
    let patience = Timespec { tv_sec: 1, tv_nsec: 0 };
    while poll(&mut [PollFd::new(&peer, PollFlags::OUT)], Some(&patience)).expect("poll(2)") > 0 {
        let _ = peer.write(&[b'x'; 65_536]).expect("send");
    }
}

/// How a person can see the same.
pub(super) fn by_hand(call: &Call, fault: &Fault, when: &str) -> String {
    let (calls, errno) = (call.expression(), fault.errno);
    format!("strace -f -e trace='{calls}' -e inject='{calls}:error={errno}:when={when}' -p SERVER")
}

struct Server {
    process: Process,
    ended: OwnedFd,
    addresses: Vec<Address>,
    dir: PathBuf,
    _dir: Dir,
}

/// What the activator says when it becomes the server.
const STARTED: &str = " at once";

impl Server {
    fn start(is_debug: bool) -> Self {
        let dir = Dir::new();
        let mut command = program();
        command.args(["activate", "--now"]);
        for listen in [
            "tcp:127.0.0.1:0",
            "tcp:[::1]:0",
            "mptcp:127.0.0.1:0",
            "udp:127.0.0.1:0",
            "udp:[::1]:0",
            "udp:[::]:0",
        ] {
            command.args(["-l", listen]);
        }
        for scheme in ["unix", "unix-dgram", "unix-seqpacket"] {
            command.arg("-l").arg(format!("{scheme}:{}", dir.path(scheme).display()));
        }
        if is_debug {
            command.args(["--", program_path(), "serve", "--debug"]);
        }
        let process = Process::start(&mut command);
        assert!(process.stderr_line(STARTED).is_some(), "{}", process.describe());
        let text = process.stderr();
        let listening = text.lines().filter_map(|line| line.strip_prefix("listening: "));
        let address = |line: &str| line.rsplit(' ').next()?.parse().ok();
        let addresses = listening.map(|line| address(line).expect("an address")).collect();
        let ended = pidfd_open(process.pid(), PidfdFlags::empty()).expect("pidfd_open(2)");
        Self { process, ended, addresses, dir: dir.path(""), _dir: dir }
    }

    /// The processor's time while nobody talks.
    fn check_that_it_idles(&self) -> Result<(), String> {
        let before = self.process.cpu_time();
        let window = Timespec::try_from(IDLE).expect("it fits");
        let mut fds = [PollFd::new(&self.ended, PollFlags::IN)];
        if poll(&mut fds, Some(&window)).expect("poll(2)") > 0 {
            return Err("the server ended".to_owned());
        }
        let used = self.process.cpu_time() - before;
        if used < IDLE / 100 { Ok(()) } else { Err(format!("it spins: {used:?} of {IDLE:?}")) }
    }
}

/// strace, attached to the server that runs.
struct Tracer(Process);

impl Tracer {
    fn attach(server: &Server, arguments: &[&str]) -> Result<Self, String> {
        let mut command = clean("strace");
        command.args(["-f", "-s0", "-a1", "-e", "signal=STOP", "-p"]);
        command.arg(server.process.pid().as_raw_nonzero().to_string()).args(arguments);
        let process = Process::start(&mut command);
        if process.stderr_line("attached").is_none() {
            return Err(format!("strace does not attach: {}", process.describe()));
        }
        Ok(Self(process))
    }

    fn inject(server: &Server, call: &Call, fault: &Fault, when: &str) -> Result<Self, String> {
        let (calls, errno) = (call.expression(), fault.errno);
        let trace = format!("trace={calls}");
        let raw = format!("raw={calls}");
        let inject = format!("inject={calls}:error={errno}:when={when}");
        Self::attach(server, &["-e", &trace, "-e", &raw, "-e", &inject, "-e", "status=failed"])
    }

    fn text(&self) -> String {
        self.0.stderr()
    }

    /// How many calls have failed so far.
    fn injected(&self) -> usize {
        self.text().matches("(INJECTED)").count()
    }

    /// Lets the server go on by itself; tells how many calls failed. strace replaces a call that
    /// is to fail with one that does not exist, so it must not let go in between: a stopped
    /// process is in no call.
    fn detach(self, server: &Server) -> usize {
        server.process.signal(Signal::STOP);
        let has_stopped = self.0.stderr_line("stopped by SIGSTOP").is_some();
        self.0.signal(Signal::INT);
        let finished = self.0.finish();
        if has_stopped {
            server.process.signal(Signal::CONT);
        }
        finished.stderr.matches("(INJECTED)").count()
    }
}

/// A server, its peers, and until when all has to be done.
struct Row<'a> {
    server: &'a Server,
    peers: Vec<Peer<'a>>,
    kind: Kind,
    /// Whether something has failed for so long that replies which wait for their receiver are
    /// too old when it is over: the server keeps them for a second.
    replies_may_expire: bool,
    until: Instant,
}

/// How many rounds a peer has to have had.
#[derive(Debug, Clone, Copy)]
struct Aim {
    goal: u64,
    may_be_late: bool,
}

impl<'a> Row<'a> {
    fn new(server: &'a Server, kind: Kind) -> Self {
        let (peers, until) = (Vec::new(), Instant::now() + DEADLINE / 2);
        Self { server, peers, kind, replies_may_expire: false, until }
    }

    fn add_peers(&mut self, chosen: impl Fn(Load) -> bool) {
        let first = self.peers.len() as u32;
        self.peers.extend(peers::all(&self.server.addresses, &self.server.dir, first, chosen));
    }

    /// Lets the peers talk until `enough` calls failed and each then had its rounds, or until
    /// each had its rounds several times in vain.
    fn until_injected(&mut self, tracer: &Tracer, enough: usize) -> Result<(), String> {
        let rounds = |peer: &Peer, times| peer.rounds + times * peer.load.rounds();
        let mut goals: Vec<_> =
            self.peers.iter().map(|peer| rounds(peer, ROUNDS_IN_VAIN)).collect();
        let (mut has_failed, kind) = (false, self.kind);
        self.drive(|peers| {
            if !has_failed && tracer.injected() >= enough {
                has_failed = true;
                goals = peers.iter().map(|peer| rounds(peer, 1)).collect();
            }
            // While every fifth call breaks a connection, nobody comes to the end of so much.
            let may_be_late =
                |peer: &Peer| has_failed && kind != Kind::Nobody && peer.load.is_bulk();
            let aims = peers.iter().zip(&goals);
            aims.map(|(peer, goal)| Aim { goal: *goal, may_be_late: may_be_late(peer) }).collect()
        })
    }

    /// Those of all peers.
    fn rounds(&self) -> u64 {
        self.peers.iter().map(|peer| peer.rounds).sum()
    }

    fn more_rounds(&mut self) -> Result<(), String> {
        let aim = |peer: &Peer| Aim { goal: peer.rounds + 1, may_be_late: false };
        let aims: Vec<_> = self.peers.iter().map(aim).collect();
        self.drive(|_| aims.clone())
    }

    /// Lets them talk, whether they are answered or not.
    fn talk_for(&mut self, time: Duration) -> Result<(), String> {
        let end = Instant::now() + time;
        self.drive(|peers| {
            let may_be_late = Instant::now() > end;
            vec![Aim { goal: u64::MAX, may_be_late }; peers.len()]
        })
    }

    /// strace is gone: all is answered, the server sleeps, and everybody is served, old and new.
    fn aftermath(&mut self, injected: usize) -> Result<(), String> {
        self.settle()?;
        self.server.check_that_it_idles()?;
        self.add_peers(|_| true);
        self.more_rounds()?;
        self.check_losses(injected)
    }

    /// What must cost nobody anything has cost nothing, and each other failure one peer at most.
    fn check_losses(&self, injected: usize) -> Result<(), String> {
        let peers = self.peers.iter();
        let peers = peers.filter(|peer| !(self.replies_may_expire && peer.lets_replies_wait()));
        let losses: Vec<_> = peers.flat_map(|peer| &peer.losses).collect();
        let most = if self.kind == Kind::Nobody { 0 } else { injected };
        if losses.len() <= most {
            return Ok(());
        }
        let some = losses.iter().take(6).map(|loss| loss.as_str()).collect::<Vec<_>>();
        Err(format!("it cost {} (at most {most} may be): {}", losses.len(), some.join("; ")))
    }

    /// Gives the peers their turns until each has reached its goal, or may be late.
    fn drive(&mut self, mut aims: impl FnMut(&[Peer]) -> Vec<Aim>) -> Result<(), String> {
        loop {
            let aims = aims(&self.peers);
            let is_late = |index: usize| {
                !aims[index].may_be_late && self.peers[index].rounds < aims[index].goal
            };
            let late: Vec<_> = (0..aims.len()).filter(|index| is_late(*index)).collect();
            if self.are_done(&late)? {
                return Ok(());
            }
            // Bulk is dear: those that have done their part leave the time to the others.
            self.turns(|index, peer| !peer.load.is_bulk() || peer.rounds < aims[index].goal)?;
        }
    }

    /// Gives them their turns until nothing is on its way.
    fn settle(&mut self) -> Result<(), String> {
        loop {
            let is_late = |index: &usize| !self.peers[*index].is_quiet();
            let late: Vec<_> = (0..self.peers.len()).filter(is_late).collect();
            if self.are_done(&late)? {
                return Ok(());
            }
            self.turns(|_, _| false)?;
        }
    }

    /// Whether nobody is late; with a fault of a socket, the peers of one address may be.
    fn are_done(&self, late: &[usize]) -> Result<bool, String> {
        let Some(first) = late.first() else { return Ok(true) };
        let address = self.peers[*first].address;
        let mut peers = late.iter().map(|index| &self.peers[*index]);
        if self.kind == Kind::OneSocket && peers.all(|peer| peer.address == address) {
            return Ok(true);
        }
        if Instant::now() < self.until {
            return Ok(false);
        }
        let names: Vec<_> = late.iter().map(|index| self.peers[*index].name()).collect();
        Err(format!("no longer served: {}", names.join(", ")))
    }

    fn turns(&mut self, may_begin: impl Fn(usize, &Peer) -> bool) -> Result<(), String> {
        let events = self.wait()?;
        for (index, peer) in self.peers.iter_mut().enumerate() {
            if events[index] || peer.is_due() {
                let may_begin = may_begin(index, peer);
                peer.turn(may_begin)?;
            }
        }
        Ok(())
    }

    /// Waits for events of the peers, but not for long: some have to be tried without one.
    fn wait(&self) -> Result<Vec<bool>, String> {
        const PACE: Timespec = Timespec { tv_sec: 0, tv_nsec: 10_000_000 };
        let ended = PollFd::new(&self.server.ended, PollFlags::IN);
        let mut fds: Vec<_> = std::iter::once(ended)
            .chain(self.peers.iter().map(|peer| PollFd::new(peer.socket(), peer.interest())))
            .collect();
        poll(&mut fds, Some(&PACE)).expect("poll(2)");
        if !fds[0].revents().is_empty() {
            return Err("the server ended".to_owned());
        }
        Ok(fds[1..].iter().map(|fd| !fd.revents().is_empty()).collect())
    }
}
