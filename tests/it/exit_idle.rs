//! `serve --exit-idle-time`: the end of a server to which nobody talks, and the clients that come
//! just then.

use std::io::Read;
use std::net::{Shutdown as Direction, TcpListener};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::Stdio;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use socket_activate_echo::activator::{Bound, Target};
use socket_activate_echo::address::{Address, Style};
use socket_activate_echo::server::{self, Config, Kept, Limits, Shutdown, Statistics};

use crate::activators::Kind;
use crate::clients::{connect, messages, whole_stream, word};
use crate::handover::{Notified, hand_over, hand_over_with, listener};
use crate::kit::{Dir, Process, deadline, program_path};
use crate::random::Random;
use crate::workers::inherited;

const WORKERS: [&str; 2] = ["1", "4"];
/// In which a server that must go on would end.
const A_WHILE: Duration = Duration::from_millis(300);

/// A socket that stays open while servers come and go, as those of a service manager.
struct Door {
    socket: Bound,
    dir: Dir,
}

impl Door {
    fn open(kind: Kind) -> Self {
        let dir = Dir::new();
        let address = kind.address(&dir).parse().expect("an address");
        Self { socket: Bound::new(&address, 128, "door").expect("bind"), dir }
    }

    fn address(&self) -> &Address {
        self.socket.address().expect("an address")
    }

    fn duplicate(&self) -> OwnedFd {
        self.socket.as_fd().try_clone_to_owned().expect("dup")
    }
}

/// Runs the program with the sockets.
fn spawn(sockets: &[Bound], arguments: &[&str]) -> Process {
    let mut words = vec![program_path(), "serve"];
    words.extend(arguments);
    let target = Target::find(&words, vec![]).expect("find");
    let child = target.spawn(sockets, |command| {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    });
    Process::of_child(child.expect("spawn"), format!("serve {}", arguments.join(" ")))
}

#[test]
fn it_ends_if_nobody_comes_whatever_the_socket() {
    for kind in Kind::ALL {
        let door = [Door::open(kind).socket];
        for (workers, time, words) in [("1", "0", "idle for 0ns"), ("4", "0.02", "idle for 20ms")] {
            let process = spawn(&door, &["--workers", workers, "--exit-idle-time", time]);
            let nothing = "served 0 connections and 0 datagrams, 0 bytes";
            process.finish().expect_code(0).expect_stderr(&[nothing, words]);
        }
    }
}

/// The service manager learns of the end, after the start and before nothing else.
#[test]
fn the_manager_is_told() {
    for workers in WORKERS {
        let manager = Notified::new();
        let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
        let start = Instant::now();
        let flags = [
            "serve",
            "-s",
            "--exit-idle-time",
            "0.1",
            "--start-sleep",
            "0.2",
            "--workers",
            workers,
        ];
        let mut command = hand_over(listener, &flags);
        let process = Process::start(manager.of(&mut command));
        assert_eq!(manager.message(), "READY=1");
        assert!(manager.message().starts_with("STATUS=serving 1 socket: tcp:"));
        assert_eq!(manager.message(), "STOPPING=1");
        process.finish().expect_code(0);
        assert!(start.elapsed() >= Duration::from_millis(300), "it counts from the start on");
        manager.expect_no_message();
    }
}

#[test]
fn an_idle_connection_is_served_to_its_end() {
    for workers in WORKERS {
        let (listener, mut client) = listener();
        let flags = ["serve", "--exit-idle-time", "0", "--workers", workers];
        let process = Process::start(&mut hand_over(listener, &flags));
        word(&client);
        assert!(!process.ends_within(A_WHILE), "{}", process.describe());
        word(&client);
        client.shutdown(Direction::Write).expect("shutdown");
        assert_eq!(client.read(&mut [0]).expect("the end"), 0);
        process.finish().expect_code(0).expect_stderr(&["served 1 connection", "idle for"]);
    }
}

/// `Accept=yes`, and a connection on standard input: its end is the end anyway.
#[test]
fn a_server_for_one_connection_ends_with_it() {
    let environment = "LISTEN_PID=$$ LISTEN_FDS=1";
    for (environment, redirections) in [(environment, ""), ("X=", "0<&3 1>&3 3<&-")] {
        let (listener, mut client) = listener();
        let connection = listener.accept().expect("accept").0;
        let flags = ["serve", "--exit-idle-time", "0", "--workers", "4"];
        let mut command = hand_over_with(connection, environment, redirections, &flags);
        let process = Process::start(&mut command);
        drop(command);
        assert!(!process.ends_within(A_WHILE), "{}", process.describe());
        word(&client);
        client.shutdown(Direction::Write).expect("shutdown");
        assert_eq!(client.read(&mut [0]).expect("the end"), 0);
        process.finish().expect_code(0);
    }
}

/// Runs a server in this thread that ends as soon as it is idle.
fn serve(sockets: Vec<OwnedFd>, workers: usize, limits: Limits) -> Statistics {
    let (_trigger, shutdown) = Shutdown::on_trigger().expect("eventfd");
    let exit_idle_time = Some(Duration::ZERO);
    let config = Config { limits, workers, exit_idle_time, ..Config::default() };
    let sockets = sockets.into_iter().map(inherited).collect();
    let ended = server::run(sockets, Kept::default(), &config, &shutdown, &mut ());
    ended.expect("it ends well").statistics
}

/// Who does not read is waited for: the server is not idle.
#[test]
fn it_does_not_end_while_replies_are_kept() {
    const COUNT: usize = 800;
    let door = Door::open(Kind::UnixDatagram);
    let client = connect(door.address(), &door.dir);
    let hour = Duration::from_secs(3600);
    let limits = Limits { deferred_reply_age_max: hour, ..Limits::default() };
    let (ended, ends) = UnixStream::pair().expect("socketpair(2)");
    // It keeps the server until everything is sent.
    let (keeper, theirs) = UnixStream::pair().expect("socketpair(2)");
    std::thread::scope(|scope| {
        let server = scope.spawn(|| {
            let statistics = serve(vec![door.duplicate(), theirs.into()], 1, limits);
            drop(ends);
            statistics
        });
        for _ in 0..COUNT {
            client.send(&[0]).expect("send");
        }
        drop(keeper);
        let (mut fds, time) = ([PollFd::new(&ended, PollFlags::IN)], Timespec::try_from(A_WHILE));
        let ready = poll(&mut fds, Some(&time.expect("it fits"))).expect("poll(2)");
        assert_eq!(ready, 0, "replies are lost");
        for number in 0..COUNT {
            let received = (&client).read(&mut [0; 2]);
            assert_eq!(received.unwrap_or_else(|error| panic!("{number}: {error}")), 1);
        }
        let statistics = server.join().expect("no panic");
        assert_eq!((statistics.messages, statistics.unanswered), (COUNT as u64, 0));
        assert!(statistics.ended_idle);
    });
}

/// Like a service manager: runs a server for whatever waits, until `stop` hangs up.
fn supervise(doors: &[Bound], stop: BorrowedFd<'_>, cycles: &AtomicUsize, serve: impl Fn()) {
    loop {
        let mut fds: Vec<_> = doors.iter().map(|door| PollFd::new(door, PollFlags::IN)).collect();
        fds.push(PollFd::from_borrowed_fd(stop, PollFlags::empty()));
        assert!(poll(&mut fds, Some(&deadline())).expect("poll(2)") > 0, "nobody comes");
        let (stop, doors) = fds.split_last().expect("the last");
        if doors.iter().any(|door| !door.revents().is_empty()) {
            serve();
            cycles.fetch_add(1, Ordering::SeqCst);
        } else if !stop.revents().is_empty() {
            return;
        }
    }
}

/// One client of its kind, served to its end: it would not be if a server had taken what it did not
/// serve.
fn talk(address: &Address, dir: &Dir, pause: impl FnOnce()) {
    let socket = connect(address, dir);
    pause();
    if address.style() == Style::Stream {
        return whole_stream(&socket, 3000);
    }
    messages(&socket, &[64, 1]);
    if address.style() == Style::Seqpacket {
        socket.shutdown(Direction::Write).expect("shutdown");
        assert_eq!((&socket).read(&mut [0]).expect("the end"), 0);
    }
}

const RACING: [Kind; 5] =
    [Kind::Tcp4, Kind::UnixStream, Kind::UnixSeqpacket, Kind::Udp4, Kind::UnixDatagram];

/// Clients of every kind come around the end of servers that end as soon as they are idle.
fn race(cycles_min: usize, serve: impl Fn(&[Bound]) + Sync) {
    let random = Random::from_env("EXIT_IDLE_SEED");
    let (sockets, places): (Vec<_>, Vec<_>) = RACING
        .map(Door::open)
        .map(|door| (door.address().clone(), door))
        .map(|(address, door)| (door.socket, (address, door.dir)))
        .into_iter()
        .unzip();
    let cycles = AtomicUsize::new(0);
    let (stop, stops) = UnixStream::pair().expect("socketpair(2)");
    std::thread::scope(|scope| {
        scope.spawn(|| supervise(&sockets, stop.as_fd(), &cycles, || serve(&sockets)));
        // It hangs up when all clients have gone.
        let stops = std::sync::Arc::new(stops);
        for (number, (address, dir)) in places.iter().enumerate() {
            let (stops, mut random, cycles) = (stops.clone(), random.fork(number), &cycles);
            scope.spawn(move || {
                let _stops = stops;
                while cycles.load(Ordering::SeqCst) < cycles_min {
                    std::thread::sleep(random.pause());
                    let pause = random.pause();
                    talk(address, dir, || std::thread::sleep(pause / 4));
                }
            });
        }
    });
}

#[test]
fn whoever_comes_around_the_end_is_served() {
    for workers in [1, 4] {
        race(200, |doors| {
            let duplicate = |door: &Bound| door.as_fd().try_clone_to_owned().expect("dup");
            let statistics =
                serve(doors.iter().map(duplicate).collect(), workers, Limits::default());
            assert!(statistics.ended_idle && statistics.unanswered == 0, "{statistics:?}");
        });
    }
}

#[test]
fn whoever_comes_around_the_end_of_a_process_is_served() {
    for workers in WORKERS {
        race(100, |doors| {
            let process = spawn(doors, &["--exit-idle-time", "0.001", "--workers", workers]);
            let finished = process.finish().expect_code(0).expect_stderr(&["idle for 1ms"]);
            assert!(!finished.stderr.contains("not answered"), "{}", finished.describe());
        });
    }
}
