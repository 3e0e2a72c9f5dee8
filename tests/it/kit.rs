//! Shared by the tests: processes whose output is captured, which end with the test, and whose
//! waits all have a deadline.

use std::ffi::OsStr;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};

/// How long a test waits for an event before it fails. Far more than any takes on a busy machine:
/// it is no measurement.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// The same for poll(2).
pub(crate) fn deadline() -> Timespec {
    Timespec::try_from(DEADLINE).expect("it fits")
}

/// Our program, without an activation environment or a notify socket of the one that runs the
/// tests.
pub(crate) fn program() -> Command {
    clean(env!("CARGO_BIN_EXE_socket-activate-echo"))
}

/// Any program, in the same clean environment.
pub(crate) fn clean(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    command.stdin(Stdio::null());
    for name in [
        "LISTEN_PID",
        "LISTEN_PIDFDID",
        "LISTEN_FDS",
        "LISTEN_FDNAMES",
        "NOTIFY_SOCKET",
        "WATCHDOG_USEC",
        "WATCHDOG_PID",
        "JOURNAL_STREAM",
    ] {
        command.env_remove(name);
    }
    command
}

/// The path of our program, for a shell or another activator to run.
pub(crate) fn program_path() -> &'static str {
    env!("CARGO_BIN_EXE_socket-activate-echo")
}

/// A copy of our program at `path`. Another process writes it: what is open for writing here may be
/// inherited by a process that another test starts just now, and then execve(2) answers ETXTBSY.
pub(crate) fn copy_program_to(path: &Path) {
    run(clean("cp").arg(program_path()).arg(path)).expect_code(0);
}

/// Whether a program that a test needs is there. If not, says which test does not run, past the
/// capture of the test harness, and fails where nothing may be left out.
pub(crate) fn has_tool(tool: &str, test: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).any(|directory| directory.join(tool).is_file());
    if !found {
        not_run(test, &format!("{tool} is not installed"), true);
    }
    found
}

/// unshare(1) with a namespace of its own, as `flag` says, in which `setup` works; the tools are
/// those of the test. `None` if one is missing, or that is not allowed here.
pub(crate) fn unshare(flag: &str, setup: &str, tools: &[&str], test: &str) -> Option<Command> {
    if !["unshare", "sh"].iter().chain(tools).all(|tool| has_tool(tool, test)) {
        return None;
    }
    let unshare = || {
        let mut command = clean("unshare");
        command.args(["--map-root-user", flag]);
        command
    };
    if run(unshare().args(["sh", "-c", setup])).status.success() {
        return Some(unshare());
    }
    not_run(test, &format!("unshare {flag} is not allowed here"), true);
    None
}

/// With a network namespace, whose loopback interface the test brings up.
pub(crate) fn unshare_net(tools: &[&str], test: &str) -> Option<Command> {
    unshare("--net", "ip link set lo up", &[&["ip"], tools].concat(), test)
}

/// Says that a test does not run, and why. What this machine's kernel lacks is not `required`: it
/// is tried in the virtual machine.
pub(crate) fn not_run(test: &str, why: &str, required: bool) {
    let line = format!("NOT TESTED: {test}: {why}\n");
    std::io::stderr().write_all(line.as_bytes()).expect("write to standard error");
    let strict = std::env::var_os("REQUIRE_SYSTEM_TESTS").is_some_and(|value| value == "1");
    assert!(!(required && strict), "{line}");
}

/// Whether the kernel lets a socket be bound to CID 1.
pub(crate) fn has_vsock_loopback() -> bool {
    use socket2::{Domain, SockAddr, Socket, Type};
    Socket::new(Domain::VSOCK, Type::STREAM, None)
        .and_then(|socket| socket.bind(&SockAddr::vsock(1, libc::VMADDR_PORT_ANY)))
        .is_ok()
}

/// Prints what was measured, past the capture of the test harness.
pub(crate) fn measured(what: &str) {
    let line = format!("measured: {what}\n");
    std::io::stderr().write_all(line.as_bytes()).expect("write to standard error");
}

/// What a process has written to one of its streams so far.
#[derive(Clone)]
struct Capture(Arc<(Mutex<Captured>, Condvar)>);

#[derive(Default)]
struct Captured {
    bytes: Vec<u8>,
    ended: bool,
}

impl Capture {
    fn of(mut stream: impl Read + Send + 'static) -> Self {
        let capture = Self(Arc::default());
        let writer = capture.clone();
        std::thread::spawn(move || {
            let mut buffer = [0; 65_536];
            loop {
                let count = stream.read(&mut buffer).unwrap_or(0);
                let (captured, changed) = &*writer.0;
                let mut captured = captured.lock().expect("no panic with the lock");
                captured.bytes.extend_from_slice(&buffer[..count]);
                captured.ended |= count == 0;
                changed.notify_all();
                if count == 0 {
                    return;
                }
            }
        });
        capture
    }

    fn text(&self) -> String {
        let captured = self.0.0.lock().expect("no panic with the lock");
        String::from_utf8_lossy(&captured.bytes).into_owned()
    }

    fn has_ended(&self) -> bool {
        self.0.0.lock().expect("no panic with the lock").ended
    }

    /// Waits until `find` finds something in the text, or the stream ends.
    fn wait<T>(&self, find: impl Fn(&str) -> Option<T>) -> Option<T> {
        let end = Instant::now() + DEADLINE;
        let (captured, changed) = &*self.0;
        let mut captured = captured.lock().expect("no panic with the lock");
        loop {
            let found = find(&String::from_utf8_lossy(&captured.bytes));
            let left = end.saturating_duration_since(Instant::now());
            if found.is_some() || captured.ended || left.is_zero() {
                return found;
            }
            captured = changed.wait_timeout(captured, left).expect("no panic with the lock").0;
        }
    }
}

/// A running process. It is killed when it goes out of scope; if the test failed, what it wrote is
/// shown.
pub(crate) struct Process {
    child: Child,
    what: String,
    stdin: Option<ChildStdin>,
    stdout: Capture,
    stderr: Capture,
}

/// A process that ended.
pub(crate) struct Finished {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    what: String,
}

impl Process {
    pub(crate) fn start(command: &mut Command) -> Self {
        let what = format!("{command:?}");
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = command.spawn().unwrap_or_else(|error| panic!("{what}: {error}"));
        Self::of_child(child, what)
    }

    /// A process that was started with pipes for both of its output streams.
    pub(crate) fn of_child(mut child: Child, what: String) -> Self {
        let stdout = Capture::of(child.stdout.take().expect("a pipe"));
        let stderr = Capture::of(child.stderr.take().expect("a pipe"));
        let stdin = child.stdin.take();
        Self { child, what, stdin, stdout, stderr }
    }

    pub(crate) fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Waits for a line of standard error that contains `part`; `None` if the stream ends first.
    pub(crate) fn stderr_line(&self, part: &str) -> Option<String> {
        self.stderr.wait(|text| complete_line(text, part))
    }

    /// Waits until standard output begins with, or is, `expected`.
    pub(crate) fn expect_stdout(&self, expected: &str) {
        let seen = self.stdout.wait(|text| text.starts_with(expected).then_some(()));
        assert!(seen.is_some(), "no `{expected}` from {}", self.describe());
    }

    /// Waits for a line of standard output that contains `part`; `None` if the stream ends first.
    pub(crate) fn stdout_line(&self, part: &str) -> Option<String> {
        self.stdout.wait(|text| complete_line(text, part))
    }

    /// What was written to standard error so far.
    pub(crate) fn stderr(&self) -> String {
        self.stderr.text()
    }

    /// Writes to standard input, which the command has to have as a pipe.
    pub(crate) fn write(&mut self, bytes: &[u8]) {
        let stdin = self.stdin.as_mut().expect("standard input is a pipe");
        stdin.write_all(bytes).expect("write to standard input");
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).expect("kill(2)");
    }

    /// Sends SIGTERM and waits for the end.
    pub(crate) fn terminate(self) -> Finished {
        self.signal(Signal::TERM);
        self.finish()
    }

    /// Whether it ends within the time.
    pub(crate) fn ends_within(&self, time: Duration) -> bool {
        let pidfd = pidfd_open(self.pid(), PidfdFlags::empty()).expect("pidfd_open(2)");
        let time = Timespec::try_from(time).expect("it fits");
        poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&time)).expect("poll(2)") == 1
    }

    /// Waits for the end.
    pub(crate) fn finish(mut self) -> Finished {
        assert!(self.ends_within(DEADLINE), "still running: {}", self.describe());
        let status = self.child.wait().expect("it ended");
        for stream in [&self.stdout, &self.stderr] {
            let _: Option<()> = stream.wait(|_| None);
            assert!(stream.has_ended(), "a child keeps a stream of {}", self.describe());
        }
        let (stdout, stderr) = (self.stdout.text(), self.stderr.text());
        Finished { status, stdout, stderr, what: self.what.clone() }
    }

    pub(crate) fn describe(&self) -> String {
        let (stdout, stderr) = (self.stdout.text(), self.stderr.text());
        format!("{}\n--- stdout\n{stdout}\n--- stderr\n{stderr}", self.what)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        if std::thread::panicking() {
            let _ = writeln!(std::io::stderr(), "\n{}", self.describe());
        }
    }
}

/// The first line with `part` in it that has its end.
fn complete_line(text: &str, part: &str) -> Option<String> {
    let lines = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
    lines.map(str::trim_end).find(|line| line.contains(part)).map(str::to_owned)
}

/// Runs a command to its end.
pub(crate) fn run(command: &mut Command) -> Finished {
    Process::start(command).finish()
}

impl Finished {
    /// Checks the exit status; a test that fails shows the command and both streams.
    #[track_caller]
    pub(crate) fn expect_code(self, code: i32) -> Self {
        assert_eq!(self.status.code(), Some(code), "{}", self.describe());
        self
    }

    /// Checks that standard error contains each part.
    #[track_caller]
    pub(crate) fn expect_stderr(self, parts: &[&str]) -> Self {
        for part in parts {
            assert!(self.stderr.contains(part), "no `{part}`: {}", self.describe());
        }
        self
    }

    /// Checks that it ended by itself, with an exit status of the program: a panic has 101, an abort
    /// none.
    #[track_caller]
    pub(crate) fn expect_code_in(&self, codes: std::ops::Range<i32>) {
        let is_ours = self.status.code().is_some_and(|code| codes.contains(&code));
        assert!(is_ours && !self.stderr.contains("panicked"), "{}", self.describe());
    }

    pub(crate) fn describe(&self) -> String {
        let Self { status, stdout, stderr, what } = self;
        format!("{what}: {status}\n--- stdout\n{stdout}\n--- stderr\n{stderr}")
    }
}

/// What is no number, and numbers that no clock, memory or count has room for.
pub(crate) const HOSTILE_NUMBERS: [&str; 14] = [
    "",
    "0",
    "-1",
    "nan",
    "inf",
    "-inf",
    "1e-300",
    "1e19",
    "1e308",
    "4294967295",
    "9223372036854775807",
    "18446744073709551615",
    "18446744073709551616",
    "340282366920938463463374607431768211456",
];

/// A temporary directory with a short name: the path of a unix socket has 107 bytes at most.
pub(crate) struct Dir(tempfile::TempDir);

impl Dir {
    pub(crate) fn new() -> Self {
        Self(tempfile::Builder::new().prefix("sae").tempdir_in("/tmp").expect("a directory"))
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }
}

/// Every file below a folder.
pub(crate) fn files(folder: &Path) -> Vec<PathBuf> {
    let paths =
        std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("one").path());
    paths.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

/// The turn of a test that binds the demo set: held until it is dropped. A network namespace gives
/// each its own port 3000 of TCP and UDP, but of vsock only in local mode (Linux 7.0,
/// `net.vsock.ns_mode`), and nextest runs each test as a process.
pub(crate) fn demo_set_turn() -> std::fs::File {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("demo-set.lock");
    let turn = std::fs::File::options().create(true).append(true).open(path).expect("open");
    rustix::fs::flock(&turn, rustix::fs::FlockOperation::LockExclusive).expect("flock(2)");
    turn
}

/// What `activate` ends with if a program beside the tests listens on the demo set's vsock port,
/// such as the echo@demo.socket of this machine's user or of a container. No event tells when that
/// lets go, so a test goes on with the rest of the set.
pub(crate) const VSOCK_PORT_IS_TAKEN: &str = "bind vsock:any:3000: Address already in use";

/// Lets this process, which holds the clients' ends, have as many descriptors as it may; tells how
/// many these are.
pub(crate) fn raise_descriptor_limit() -> u64 {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let maximum = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })
        .expect("up to the hard limit");
    maximum.unwrap_or(u64::MAX)
}

/// Room for so many descriptors in this process and in the server that it starts. Tests with
/// thousands of connections have them one after the other: all of them together would need more
/// descriptors than a process may have, and leave the others no processor time. `None` if there is
/// no room.
pub(crate) fn many_descriptors(needed: usize, test: &str) -> Option<MutexGuard<'static, ()>> {
    static TURN: Mutex<()> = Mutex::new(());
    let limit = raise_descriptor_limit();
    // The other tests of this process need some too.
    let needed = needed as u64 + 4000;
    if limit < needed {
        not_run(test, &format!("RLIMIT_NOFILE is {limit} and cannot be raised to {needed}"), true);
        return None;
    }
    Some(TURN.lock().unwrap_or_else(PoisonError::into_inner))
}
