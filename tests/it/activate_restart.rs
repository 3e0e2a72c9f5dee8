//! `activate --restart`: what becomes of the sockets, the clients and the activator when the
//! command ends.

use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};
use socket2::SockRef;

use crate::activate::{activate, listening, port};
use crate::activate_faults::echo;
use crate::activators::{Active, Kind};
use crate::clients::{connect, messages, pattern, receive};
use crate::handover::hand_over;
use crate::kit::{DEADLINE, Dir, Process, clean, deadline, has_tool, program, program_path};
use crate::usage::children;

fn restart(kind: Kind, flags: &[&str], command: &[&str]) -> Active {
    let dir = Dir::new();
    let mut program = program();
    program.args(["activate", "--restart", "-l", &kind.address(&dir)]).args(flags);
    Active::ours(dir, program.arg("--").args(command))
}

/// The process of the command, once there is one: no event tells when it was started.
fn child(activator: &Process) -> Pid {
    let until = Instant::now() + DEADLINE;
    loop {
        match activator.children()[..] {
            [pid] => return pid,
            _ => assert!(Instant::now() < until, "{}", activator.describe()),
        }
        std::thread::yield_now();
    }
}

/// A process that a signal has just ended is gone as soon as the activator has collected it.
fn kill(pid: Pid, signal: Signal) {
    let killed = kill_process(pid, signal);
    assert!(matches!(killed, Ok(()) | Err(Errno::SRCH)), "kill(2): {killed:?}");
}

fn socket(pid: Pid, fd: i32) -> PathBuf {
    let pid = pid.as_raw_nonzero();
    std::fs::read_link(format!("/proc/{pid}/fd/{fd}")).expect("it is open")
}

/// For env(1): a shell cannot trap a signal that it inherits as ignored, and that is how a shell
/// starts the tests in the background.
const TAKES_SIGINT: &str = "--default-signal=INT";

/// A command that prints `started`, and a line for each SIGTERM and SIGINT. The last of `signals`
/// ends it with `status`.
fn trapping(signals: usize, status: &str) -> String {
    format!(
        "i=0; sleep 1000 >/dev/null 2>&1 & pid=$!; \
         got() {{ i=$((i + 1)); echo $1 $i; test $i -lt {signals} || \
             {{ kill -KILL $pid; trap - TERM; {status}; }}; }}; \
         trap 'got TERM' TERM; trap 'got INT' INT; echo started; \
         while :; do wait; done"
    )
}

#[test]
fn the_sockets_stay_and_the_next_client_starts_the_next_process() {
    for kind in Kind::ALL {
        for inetd in [false, true] {
            let flags: &[&str] = if inetd { &["--inetd"] } else { &[] };
            let active = restart(kind, flags, &[program_path()]);
            let fd = if inetd { 0 } else { 3 };
            let mut seen = Vec::new();
            for end in [Signal::TERM, Signal::KILL, Signal::INT, Signal::TERM] {
                messages(&connect(&active.address, &active.dir), &[64, 1]);
                let pid = child(&active.process);
                seen.push((pid, socket(pid, fd)));
                let pidfd = pidfd_open(pid, PidfdFlags::empty()).expect("pidfd_open(2)");
                kill(pid, end);
                let ended = poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&deadline()));
                assert_eq!(ended, Ok(1), "{kind:?}: {}", active.process.describe());
            }
            let first = &seen[0];
            assert!(seen[1..].iter().all(|(pid, socket)| *pid != first.0 && *socket == first.1));
            active.process.terminate().expect_code(0);
        }
    }
}

/// Whoever comes while no process serves waits in the kernel, and the next process serves them.
#[test]
fn all_who_wait_are_served() {
    const CLIENTS: usize = 30;
    let dir = Dir::new();
    let gate = dir.path("gate");
    let gate_path = gate.to_str().expect("UTF-8");
    let mkfifo = crate::kit::run(clean("mkfifo").arg(&gate));
    mkfifo.expect_code(0);
    let script = "read line < \"$0\"; exec \"$1\"";
    for kind in [Kind::Tcp4, Kind::UnixStream, Kind::UnixSeqpacket, Kind::Udp4] {
        let active = restart(kind, &[], &["sh", "-c", script, gate_path, program_path()]);
        for _ in 0..3 {
            let message = pattern(100);
            let clients: Vec<_> =
                (0..CLIENTS).map(|_| connect(&active.address, &active.dir)).collect();
            for client in &clients {
                assert_eq!(client.send(&message).expect("send"), message.len());
            }
            std::fs::write(&gate, "go\n").expect("the shell reads it");
            for client in &clients {
                assert_eq!(receive(client, message.len()), message, "{kind:?}");
            }
            kill(child(&active.process), Signal::TERM);
        }
        // The last one may still be on its way to its end, and then no other is started.
        active.process.terminate().expect_code(0);
    }
}

/// Each datagram is answered by the process that received it, or is left to the next one.
#[test]
fn a_process_that_ends_between_two_datagrams_loses_none() {
    const ENDS: usize = 40;
    for kind in [Kind::Udp4, Kind::UnixDatagram] {
        let active = restart(kind, &[], &[program_path()]);
        let client = connect(&active.address, &active.dir);
        messages(&client, &[64]);
        for end in 0..ENDS {
            // Before, between and after the datagrams of the round.
            for number in 0..3 {
                client.send(&[end as u8, number]).expect("send");
                if number as usize == end % 3 {
                    kill(child(&active.process), Signal::TERM);
                }
            }
            for number in 0..3 {
                assert_eq!(receive(&client, 2), [end as u8, number], "{kind:?}");
            }
        }
        active.process.terminate().expect_code(0);
    }
}

/// The server ends as soon as nobody is there, and clients arrive before, at and after that.
#[test]
fn nobody_is_lost_around_the_end_of_an_idle_server() {
    const CLIENTS: usize = 200;
    let command = [program_path(), "serve", "--exit-idle-time", "0"];
    for kind in [Kind::Tcp4, Kind::UnixStream, Kind::UnixSeqpacket, Kind::Udp4, Kind::UnixDatagram]
    {
        let active = restart(kind, &[], &command);
        for pause in pattern(CLIENTS) {
            std::thread::sleep(Duration::from_micros(40 * u64::from(pause)));
            messages(&connect(&active.address, &active.dir), &[64]);
        }
        let finished = active.process.terminate();
        let count = finished.stderr.rsplit_once("the command was started ");
        let count = count.and_then(|(_, count)| count.split(' ').next()?.parse::<usize>().ok());
        assert!(count.is_some_and(|count| count > 1), "{kind:?}: {}", finished.describe());
        assert!(!finished.stderr.contains("warning: "), "{kind:?}: {}", finished.describe());
    }
}

#[test]
fn both_signals_are_forwarded_and_the_status_is_that_of_the_command() {
    for (status, code) in [("exit 0", 0), ("exit 7", 7), ("kill -TERM $$", 143)] {
        let command = ["env", TAKES_SIGINT, "sh", "-c", &trapping(3, status)];
        let active = restart(Kind::Tcp4, &[], &command);
        connect(&active.address, &active.dir);
        active.process.expect_stdout("started\n");
        let mut expected = "started\n".to_owned();
        for (signal, line) in
            [(Signal::TERM, "TERM 1\n"), (Signal::INT, "INT 2\n"), (Signal::TERM, "TERM 3\n")]
        {
            expected += line;
            active.process.signal(signal);
            active.process.expect_stdout(&expected);
        }
        let finished = active.process.finish().expect_code(code);
        finished.expect_stderr(&["ended by SIGTERM: "]);
    }
}

/// Without a process there is nothing to wait for, also during a pause.
#[test]
fn without_a_process_the_end_is_a_success() {
    for (command, traffic) in [("true", false), ("exit 1", true), ("exit 0", true)] {
        let active = restart(Kind::Tcp4, &[], &["sh", "-c", command]);
        let _client = traffic.then(|| connect(&active.address, &active.dir));
        if traffic {
            let line = active.process.stderr_line("the command ");
            assert!(line.is_some(), "{}", active.process.describe());
        }
        // A signal that meets a process may end it first.
        let finished = active.process.terminate();
        let code = finished.status.code();
        assert!([Some(0), Some(1), Some(143)].contains(&code), "{}", finished.describe());
        finished.expect_stderr(&["ended by SIGTERM", "the command was started "]);
    }
}

/// The terminal sends SIGINT to the command too, so it is not sent again.
#[test]
fn a_terminal_interrupts_the_command_once() {
    let test = "activate --restart on a terminal";
    if !has_tool("script", test) {
        return;
    }
    // The command line is printed too, so the words are put together only here.
    let command = "say() { echo \\<\\$1\\>; }; trap 'say INT' INT; trap 'say end; exit 0' TERM; \
                   say started; while :; do read line; done";
    let line = format!(
        "exec '{}' activate --restart --now -l tcp:127.0.0.1:0 env {TAKES_SIGINT} sh -c \"{command}\"",
        program_path()
    );
    let mut script = clean("script");
    script.args(["--quiet", "--return", "--command", &line, "/dev/null"]);
    script.env("SHELL", "/bin/sh").stdin(std::process::Stdio::piped());
    let mut process = Process::start(&mut script);
    assert!(process.stdout_line("<started>").is_some(), "{}", process.describe());
    // ETX is what Ctrl-C types. The activator has read its own signal before it takes this one.
    process.write(b"\x03");
    assert!(process.stdout_line("<INT>").is_some(), "{}", process.describe());
    let activator = child(&process);
    kill(activator, Signal::TERM);
    let finished = process.finish();
    assert_eq!(finished.stdout.matches("<INT>").count(), 1, "{}", finished.describe());
    assert!(finished.stdout.contains("<end>"), "{}", finished.describe());
}

/// The least time in which the back-off allows so many starts, if each pause is at most `longest`.
fn least_time(starts: usize, longest: u64) -> Duration {
    let pauses = (0..starts.saturating_sub(1)).map(|pause| longest.min(1 << pause.min(20)));
    Duration::from_millis(pauses.sum())
}

#[test]
fn a_command_that_is_of_no_use_is_started_ever_more_rarely() {
    for (kind, flags, end, longest, said) in [
        (Kind::Tcp4, &[][..], "exit 1", 500, "failed: exit status: 1 (pid "),
        (Kind::Udp4, &[], "kill -KILL $$", 500, "failed: signal: 9 (SIGKILL) (pid "),
        (Kind::UnixStream, &[], "exit 0", 100, "does not take the traffic"),
        (Kind::UnixDatagram, &[], "exit 0", 100, "does not take the traffic"),
        (Kind::Tcp4, &["--now"], "exit 1", 500, "the sockets are held, and it is started again"),
        (Kind::Tcp4, &["--now"], "exit 0", 100, "the sockets are held, and it is started again"),
    ] {
        const STARTS: usize = 12;
        let dir = Dir::new();
        let script = format!("echo started; {end}");
        let mut program = activate(&["--restart", "-l", &kind.address(&dir)]);
        let begin = Instant::now();
        let process = Process::start(program.args(flags).args(["--", "sh", "-c", &script]));
        let line = process.stderr_line("listening: ").expect("an address");
        let address = line.rsplit(' ').next().expect("a word").parse().expect("an address");
        let client = (!flags.contains(&"--now")).then(|| connect(&address, &dir));
        if let Some(client) = client.as_ref().filter(|_| kind.is_datagram()) {
            client.send(b"x").expect("send");
        }
        process.expect_stdout(&"started\n".repeat(STARTS));
        let line = process.stderr_line(said);
        assert!(line.is_some(), "no `{said}`: {}", process.describe());
        let finished = process.terminate();
        let starts = finished.stdout.lines().count();
        let elapsed = begin.elapsed();
        assert!(elapsed >= least_time(starts, longest), "{starts} starts in {elapsed:?}");
        let lines = finished.stderr.lines().filter(|line| line.contains("the command "));
        let most = 4 + 2 * elapsed.as_secs() as usize;
        assert!(lines.count() <= most, "{}", finished.describe());
    }
}

/// The pauses begin anew after a run that was of use, and a command that works again is started.
#[test]
fn who_waits_is_served_when_the_command_is_repaired() {
    let dir = Dir::new();
    let program = dir.path("program");
    let path = program.to_str().expect("UTF-8").to_owned();
    let link = |to: &str| {
        let new = dir.path("new");
        std::os::unix::fs::symlink(to, &new).expect("symlink");
        std::fs::rename(&new, &program).expect("rename");
    };
    link(program_path());
    let active = restart(Kind::Tcp4, &[], &[&path]);
    let echo = || messages(&connect(&active.address, &active.dir), &[64]);
    echo();
    for (broken, said) in [("/bin/false", "the command failed: "), ("/none", "warning: run ")] {
        link(broken);
        kill(child(&active.process), Signal::TERM);
        let client = connect(&active.address, &active.dir);
        let line = active.process.stderr_line(said);
        assert!(line.is_some(), "{}", active.process.describe());
        link(program_path());
        messages(&client, &[64]);
        echo();
    }
    active.process.terminate().expect_code(0);
}

/// Nobody would hold the sockets any more, and the next activator could not bind the addresses.
#[test]
fn the_process_ends_with_an_activator_that_was_killed() {
    let active = restart(Kind::Tcp4, &[], &[program_path()]);
    let client = connect(&active.address, &active.dir);
    messages(&client, &[64]);
    let pid = child(&active.process);
    let pidfd = pidfd_open(pid, PidfdFlags::empty()).expect("pidfd_open(2)");
    active.process.signal(Signal::KILL);
    // The server drains, as on any SIGTERM.
    assert_eq!(receive(&client, 1), b"");
    let ended = poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&deadline()));
    assert_eq!(ended, Ok(1), "the server goes on");
    TcpListener::bind(("127.0.0.1", port(&active.address.to_string()))).expect("it is free");
}

/// Of PID 1 of a container, orphans become children.
#[test]
fn orphans_of_the_command_are_collected() {
    let test = "activate --restart as PID 1";
    if !has_tool("unshare", test) {
        return;
    }
    let script = "(sleep 0.1; exit 0) >/dev/null 2>&1 & exec \"$0\" 2>/dev/null";
    let mut command = clean("unshare");
    command.args(["--map-root-user", "--pid", "--fork", "--kill-child", "--mount-proc"]);
    command.args([program_path(), "activate", "--restart", "-l", "tcp:127.0.0.1:0", "--"]);
    let process = Process::start(command.args(["sh", "-c", script, program_path()]));
    let port = port(&listening(&process)[0]);
    let activator = child(&process);
    for _ in 0..5 {
        echo(port);
        kill(children(activator)[0], Signal::TERM);
        // The end of the orphan, and of the server, is the end of this pipe's last writer.
        while !children(activator).is_empty() {
            std::thread::yield_now();
        }
    }
    kill(activator, Signal::TERM);
    process.finish().expect_code(0);
}

/// shutdown(2) is for all holders, and the next process would get the socket too. A socket unit
/// fails as well.
#[test]
fn a_listener_that_was_shut_down_is_the_end() {
    for others in [&[][..], &["-l", "udp:127.0.0.1:0"]] {
        for served in [false, true] {
            let holder = TcpListener::bind("127.0.0.1:0").expect("bind");
            let handed_over = holder.try_clone().expect("dup");
            let arguments = [&["activate", "--restart"], others, &["--", program_path()]].concat();
            let process = Process::start(&mut hand_over(handed_over, &arguments));
            let port = port(&listening(&process)[0]);
            if served {
                echo(port);
            }
            SockRef::from(&holder).shutdown(Shutdown::Both).expect("shutdown");
            if served && !others.is_empty() {
                // The server has another socket to serve.
                kill(child(&process), Signal::TERM);
            }
            let finished = process.finish().expect_code(1);
            finished.expect_stderr(&["accept on ", "does not listen any more", "start `activate`"]);
        }
    }
}

#[test]
fn a_connection_cannot_be_restarted_for() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    let connection = TcpStream::connect(listener.local_addr().expect("an address"));
    let flags = ["activate", "--restart", "--", "cat"];
    let mut command: Command = hand_over(connection.expect("connect"), &flags);
    let finished = crate::kit::run(&mut command).expect_code(2);
    finished.expect_stderr(&["--restart with fd 3", "leave out --restart"]);
}
