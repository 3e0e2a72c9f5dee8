//! The system calls of a start, of a round trip and of bulk.

use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use rustix::process::{Signal, kill_process};
use socket2::Socket;

use crate::activators::{Active, Kind};
use crate::clients::{connect, messages, pattern, receive};
use crate::kit::{Dir, clean, has_tool, program_path};

#[test]
fn a_round_trip_is_one_receive_and_one_send_without_an_allocation() {
    if !has_tool("strace", "the system calls of a round trip") {
        return;
    }
    const WARM_UP: usize = 200;
    const ROUND_TRIPS: usize = 1000;
    for kind in [Kind::Tcp4, Kind::UnixStream, Kind::Udp4, Kind::UnixDatagram, Kind::UnixSeqpacket]
    {
        let (active, log) = traced(kind, "all");
        let client = connect(&active.address, &active.dir);
        messages(&client, &[64; WARM_UP]);
        exchange(&client, FIRST_MARK);
        messages(&client, &[64; ROUND_TRIPS]);
        exchange(&client, LAST_MARK);
        let log = end_traced(active, &log);
        let count = |names: &[&str]| calls(&log).filter(|call| names.contains(call)).count();
        // Each mark is one of the messages too, and the first has been received already.
        let receives = count(&["read", "readv", "recvfrom", "recvmsg", "recvmmsg"]);
        let in_vain = receives - (ROUND_TRIPS + 1);
        // One that crosses with the peer's next message may find nothing; and that there is no
        // other message is not known of a seqpacket socket before a receive says so.
        let most = if kind == Kind::UnixSeqpacket { ROUND_TRIPS } else { ROUND_TRIPS / 50 };
        assert!(in_vain <= most, "{kind:?}: {in_vain} receives in vain");
        // A batch that asks for a second datagram looks for it in vain.
        let larger = log
            .lines()
            .filter(|line| line.contains("recvmmsg(") && !line.contains("], 1, MSG_DONTWAIT"));
        let larger = larger.count();
        assert!(larger <= ROUND_TRIPS / 25, "{kind:?}: {larger} receives of several datagrams");
        let sends = count(&["write", "writev", "sendto", "sendmsg", "sendmmsg"]);
        assert_eq!(sends, ROUND_TRIPS + 1, "{kind:?}");
        let memory = count(&["brk", "mmap", "munmap", "mremap", "madvise"]);
        assert_eq!(memory, 0, "{kind:?}");
    }
}

const FIRST_MARK: &[u8] = b"first mark";
const LAST_MARK: &[u8] = b"last mark";

fn exchange(client: &Socket, message: &[u8]) {
    client.send(message).expect("send");
    assert_eq!(receive(client, message.len()), message);
}

/// The names of the system calls after the receipt of the first mark, up to that of the last one.
fn calls(log: &str) -> impl Iterator<Item = &str> {
    let has = |line: &str, mark: &[u8]| line.contains(std::str::from_utf8(mark).expect("ASCII"));
    let lines = log.lines().skip_while(move |line| !has(line, FIRST_MARK)).skip(1);
    let mut ended = false;
    let lines = lines.take_while(move |line| {
        let goes_on = !ended;
        ended |= has(line, LAST_MARK);
        goes_on
    });
    lines.filter_map(|line| line.split_once(' ')?.1.trim_start().split_once('(').map(|call| call.0))
}

/// The first client waits for all of it: a new call needs a reason, and a row here. Other processors
/// have other names for some of them.
#[cfg(target_arch = "x86_64")]
const START: &[&str] = &[
    "fstat",      // Is standard error the journal, or a client?
    "getpid",     // LISTEN_PID
    "fcntl",      // close-on-exec
    "getsockopt", // SO_DOMAIN
    "getsockopt", // SO_TYPE
    "getsockopt", // SO_PROTOCOL
    "getsockopt", // SO_ACCEPTCONN
    "getsockname",
    "rt_sigprocmask",
    "signalfd4",
    "sysinfo",      // the memory of the machine
    "prlimit64",    // RLIMIT_NOFILE
    "prctl",        // the size of a page, for rustix
    "rt_sigaction", // SIGSYS
    "rt_sigaction", // SIGSEGV
    "rt_sigaction", // SIGBUS
    "epoll_create1",
    "epoll_ctl",               // the signals
    "getsockopt",              // SO_LINGER
    "ioctl",                   // FIONBIO
    "epoll_ctl",               // the listener
    "landlock_create_ruleset", // its version
    "landlock_create_ruleset",
    "prctl", // no_new_privs, for Landlock
    "landlock_restrict_self",
    "close",
    "prctl", // no_new_privs, for seccomp
    "seccomp",
];

/// What reads the CPU quota, once for each control group: no file can be read later.
#[cfg(target_arch = "x86_64")]
const QUOTA: &[&str] = &["openat", "statx", "read", "close"];
/// The files that limit the memory: they are opened, read and closed.
#[cfg(target_arch = "x86_64")]
const MEMORY: &[&str] = &["/sys/fs/cgroup/", "/cgroup\"", "/cgroup>"];

/// What checks LISTEN_PIDFDID, where the kernel has pidfs.
#[cfg(target_arch = "x86_64")]
const PIDFD: &[&str] = &["getpid", "pidfd_open", "fstatfs", "fstat", "close"];

#[test]
#[cfg(target_arch = "x86_64")]
fn the_system_calls_before_the_first_wait_are_known() {
    if !has_tool("strace", "the system calls of a start") {
        return;
    }
    let (active, log) = traced(Kind::Tcp4, "all");
    messages(&connect(&active.address, &active.dir), &[64]);
    let log = end_traced(active, &log);
    // Before our first call there are those of the loader and of Rust's runtime.
    let (_, serving) = log.rsplit_once(" execve(").expect("an execve");
    // The allocator asks for memory as it likes, a limit is raised only where it is too low, and a
    // debug build looks at what it closes.
    // Which files limit the memory depends on the control group, see `MEMORY`.
    const OTHERS: &[&str] = &[" brk(", " mmap(", " munmap(", "RLIMIT_NOFILE, {", "F_GETFD"];
    let is_ours = |line: &&str| !OTHERS.iter().any(|other| line.contains(other));
    let mut made: Vec<_> = serving
        .lines()
        .skip_while(|line| !line.contains(" fstat(2<"))
        .filter(is_ours)
        .filter(|line| !MEMORY.iter().any(|file| line.contains(file)))
        .filter_map(|line| line.split_once(' ')?.1.trim_start().split_once('(').map(|call| call.0))
        .take_while(|call| !call.starts_with("epoll_wait") && !call.starts_with("epoll_pwait"))
        .collect();
    if made.get(1..=PIDFD.len()) == Some(PIDFD) {
        made.drain(1..=PIDFD.len());
    }
    let quota = made.iter().position(|call| *call == "epoll_create1").expect("it waits");
    let last_signal = made.iter().rposition(|call| *call == "rt_sigaction");
    let quota_start = last_signal.expect("SIGBUS") + 1;
    assert!(made.drain(quota_start..quota).all(|call| QUOTA.contains(&call)));
    assert_eq!(made, START);
}

/// A server under strace, which writes the system calls `of` its to a file.
fn traced(kind: Kind, of: &str) -> (Active, PathBuf) {
    let dir = Dir::new();
    let log = dir.path("strace");
    let mut command = clean("strace");
    // With the path of each descriptor.
    command.args(["-f", "-qq", "-y", "-e", &format!("trace={of}"), "-o"]).arg(&log);
    command.args([program_path(), "activate", "-l", &kind.address(&dir)]);
    (Active::ours(dir, &mut command), log)
}

/// Ends it. Returns what strace wrote.
fn end_traced(active: Active, log: &Path) -> String {
    // strace ends with what it traces; a signal would only detach it.
    for child in active.process.children() {
        kill_process(child, Signal::TERM).expect("kill(2)");
    }
    active.process.finish().expect_code(0);
    std::fs::read_to_string(log).expect("the log")
}

/// Bulk over a unix stream is spliced, with the buffers that a client has by default.
#[test]
fn bulk_over_a_unix_stream_is_spliced() {
    if !has_tool("strace", "whether bulk is spliced") {
        return;
    }
    for size in [4096, 16 * 1024, 64 * 1024, 256 * 1024] {
        const BYTES: usize = 4 << 20;
        let (active, log) = traced(Kind::UnixStream, "splice");
        let client = UnixStream::from(OwnedFd::from(connect(&active.address, &active.dir)));
        let sent = pattern(BYTES);
        let received = std::thread::scope(|scope| {
            scope.spawn(|| sent.chunks(size).for_each(|chunk| (&client).write_all(chunk).unwrap()));
            let mut received = vec![0; BYTES];
            (&client).read_exact(&mut received).expect("receive");
            received
        });
        assert!(received == sent);
        drop(client);
        let log = end_traced(active, &log);
        let moved = log.lines().filter_map(|line| line.rsplit_once("= ")?.1.parse::<usize>().ok());
        // Each byte goes into a pipe and out of it.
        let spliced = moved.sum::<usize>() / 2;
        assert!(spliced > BYTES / 4 * 3, "writes of {size}: {spliced} bytes of {BYTES}");
    }
}
