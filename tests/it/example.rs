//! The example of the activation library, run by both activators.

use std::io::Read;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::kit::{Process, clean, has_tool, program, program_path, run};

/// The example as it is now: `cargo test --test it` builds none.
fn example() -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(build).clone()
}

fn build() -> PathBuf {
    let profile = Path::new(program_path()).parent().expect("target/PROFILE");
    let example = profile.join("examples/activated-daemon");
    // Where the tests run on another machine than they were built on, there is no cargo.
    if Path::new(env!("CARGO")).exists() {
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["build", "--quiet", "--offline", "--example", "activated-daemon"]);
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
fn it_is_activated_by_ours_and_has_at_most_40_lines() {
    let source = include_str!("../../examples/activated-daemon.rs");
    assert!(source.lines().count() <= 40);
    let mut command = program();
    command.args(["activate", "-l", "tcp:127.0.0.1:0", "--fdname", "door", "--"]).arg(example());
    let process = Process::start(&mut command);
    let line = process.stderr_line("listening: ").expect("it listens");
    let port = line.rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port");
    for _ in 0..3 {
        assert_eq!(greeting(port), "welcome to door\n");
    }
}

#[test]
fn it_is_activated_by_systemds() {
    if !has_tool("systemd-socket-activate", "the example of the library") {
        return;
    }
    for _ in 0..5 {
        let port = std::net::TcpListener::bind("127.0.0.1:0")
            .and_then(|listener| listener.local_addr())
            .expect("bind")
            .port();
        let mut command = clean("systemd-socket-activate");
        command.args(["-l", &format!("127.0.0.1:{port}"), "--fdname=door"]).arg(example());
        let process = Process::start(&mut command);
        // Somebody else may have taken the port in between.
        if process.stderr_line("Listening on").is_some() {
            assert_eq!(greeting(port), "welcome to door\n");
            return;
        }
    }
    panic!("systemd-socket-activate does not listen");
}

#[test]
fn it_explains_what_is_wrong() {
    run(&mut clean(example())).expect_code(3).expect_stderr(&["no sockets were handed over"]);
    let mut command = program();
    command.args(["activate", "--now", "-l", "unix:@activated-daemon", "--fdname", "door"]);
    let finished = run(command.arg(example()));
    finished.expect_code(4).expect_stderr(&["door is no TCP listener", "ListenStream="]);
}
