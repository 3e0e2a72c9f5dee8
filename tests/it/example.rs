//! The example of the activation library, run by both activators.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use rustix::fs::{OFlags, fcntl_getfl};
use rustix::process::{Resource, Rlimit, Signal, getrlimit, prlimit};
use socket_activate_echo::activator::{Bound, Target};

use crate::activate::{listening, port};
use crate::activators::{Activator, Kind, Who};
use crate::fd_store::Manager;
use crate::kit::{DEADLINE, Process, clean, has_tool, program, program_path, run};

fn example() -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| build("activated-daemon")).clone()
}

/// The example as it is now: `cargo test --test it` builds none.
fn build(name: &str) -> PathBuf {
    let profile = Path::new(program_path()).parent().expect("target/PROFILE");
    let example = profile.join("examples").join(name);
    // Where the tests run on another machine than they were built on, there is no cargo.
    if Path::new(env!("CARGO")).exists() {
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["build", "--quiet", "--offline", "--example", name]);
        if profile.ends_with("release") {
            cargo.arg("--release");
        }
        // A build takes as long as it takes.
        let built = cargo.current_dir(env!("CARGO_MANIFEST_DIR")).output().expect("cargo runs");
        assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    }
    assert!(example.exists(), "{}: not built", example.display());
    example
}

fn greeting(port: u16) -> String {
    let mut greeting = String::new();
    TcpStream::connect(("127.0.0.1", port))
        .and_then(|mut client| client.read_to_string(&mut greeting))
        .expect("receive");
    greeting
}

#[test]
fn it_is_activated_by_ours_and_has_at_most_45_lines() {
    let source = include_str!("../../examples/activated-daemon.rs");
    assert!(source.lines().count() <= 45);
    let mut command = program();
    command.args(["activate", "-l", "tcp:127.0.0.1:0", "--fdname", "door", "--"]).arg(example());
    let process = Process::start(&mut command);
    let port = port(&listening(&process)[0]);
    for _ in 0..3 {
        assert_eq!(greeting(port), "welcome to door\n");
    }
}

/// `NonBlocking=yes`, and a time without descriptors: accept(2) fails at once and would do so again.
#[test]
fn it_waits_for_clients_on_a_non_blocking_socket_and_outlasts_emfile() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    let port = listener.local_addr().expect("an address").port();
    listener.set_nonblocking(true).expect("set O_NONBLOCK");
    let ours = listener.try_clone().expect("dup");
    let daemon = Target::find(&[example()], vec![]).expect("find");
    let daemon = daemon.spawn(&[Bound::from_fd(listener, "door")], |command| {
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
    });
    let daemon = Process::of_child(daemon.expect("spawn"), "activated-daemon".to_owned());
    assert_eq!(greeting(port), "welcome to door\n");
    // The flag belongs to the open file description, which is ours too.
    let flags = fcntl_getfl(ours.as_fd()).expect("F_GETFL");
    assert!(!flags.contains(OFlags::NONBLOCK), "accept(2) does not wait");

    let limit = |current| {
        let maximum = getrlimit(Resource::Nofile).maximum;
        let limit = Rlimit { current, maximum };
        prlimit(Some(daemon.pid()), Resource::Nofile, limit).expect("prlimit(2)")
    };
    // Those that it has: the standard streams and the listener.
    let before = limit(Some(4));
    let client = std::thread::spawn(move || greeting(port));
    assert!(daemon.stderr_line("accept on door: Too many open files").is_some());
    limit(before.current);
    assert_eq!(client.join().expect("no panic"), "welcome to door\n");
}

#[test]
fn it_is_activated_by_systemds() {
    if !has_tool("systemd-socket-activate", "the example of the library") {
        return;
    }
    let example = example().display().to_string();
    let active = Activator { who: Who::Systemd, accept: false, inetd: false }
        .systemd(Kind::Tcp4, &["--fdname=door", &example]);
    let active = active.expect("it has TCP");
    assert_eq!(greeting(port(&active.address.to_string())), "welcome to door\n");
}

#[test]
fn it_explains_what_is_wrong() {
    run(&mut clean(example())).expect_code(3).expect_stderr(&["no sockets were passed"]);
    let mut command = program();
    command.args(["activate", "--now", "-l", "unix:@activated-daemon", "--fdname", "door"]);
    let finished = run(command.arg(example()));
    finished.expect_code(4).expect_stderr(&["not a TCP listener", "ListenStream=PORT"]);
}

/// The recipe for connections that outlive a restart, under a manager with a store, with one whose
/// store is full, and killed.
#[test]
fn kept_connections_outlive_a_restart_and_it_has_at_most_60_lines() {
    assert!(include_str!("../../examples/kept-connections.rs").lines().count() <= 60);
    let example = build("kept-connections").display().to_string();
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    let address = listener.local_addr().expect("an address");
    let manager = Manager::new(5, vec![("door".to_owned(), listener.into())]);
    let connect = || {
        let peer = TcpStream::connect(address).expect("connect");
        peer.set_read_timeout(Some(DEADLINE)).expect("a timeout");
        peer
    };
    let ask = |mut peer: &TcpStream, question: &str| {
        let _ = peer.write_all(question.as_bytes());
        let mut answer = vec![0; question.len()];
        peer.read_exact(&mut answer)
            .map(|()| assert_eq!(answer, question.to_uppercase().as_bytes()))
    };
    let mut process = manager.start(&[&example], &[]);
    let mut peers = vec![connect(), connect(), connect()];
    for _ in 0..3 {
        peers.iter().for_each(|peer| ask(peer, "still there?").expect("an answer"));
        process.terminate().expect_code(0);
        assert_eq!(manager.stored(), ["peer"; 3]);
        process = manager.start(&[&example], &[]);
    }
    // There is no room for so many.
    peers.extend([connect(), connect()]);
    peers.iter().for_each(|peer| ask(peer, "all of you?").expect("an answer"));
    process.terminate().expect_code(1).expect_stderr(&["FileDescriptorStoreMax="]);
    let process = manager.start(&[&example], &[]);
    ask(&connect(), "a new one?").expect("an answer");
    process.signal(Signal::KILL);
    process.finish();
    let _process = manager.start(&[&example], &[]);
    ask(&connect(), "a new one?").expect("an answer");
    // What was not in the store any more has ended.
    for peer in &peers {
        ask(peer, "and you?").expect_err("its server was killed");
    }
}
