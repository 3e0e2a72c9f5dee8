//! Runs commands in a test environment, and reports all that is known if one fails.

use std::fmt;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::page::{Step, readme};

/// Longer than anything here takes on a busy machine, shorter than a CI job's patience.
const COMMAND_TIMEOUT: &str = "240";

/// Why something cannot be tried, as a script of `tests/beds` says it.
#[derive(Debug, Clone)]
pub(crate) enum Why {
    /// This machine lacks a tool or a right.
    NotHere(String),
    /// A third party does not deliver what is needed; in its own words.
    NotNow(String),
    /// Whatever else went wrong is a fault of the sources or of the script.
    Failed(String),
}

impl Why {
    /// Reads what a script that failed has said.
    pub(crate) fn of(said: &str) -> Self {
        let line = |marker| said.lines().find_map(|line| line.strip_prefix(marker));
        match (line("NOT HERE: "), line("NOT NOW: ")) {
            (Some(what), _) => Self::NotHere(what.to_owned()),
            (None, Some(what)) => Self::NotNow(what.to_owned()),
            (None, None) => Self::Failed(said.trim().to_owned()),
        }
    }
}

/// Says that `what` was not tried and why; a failure where system tests are required.
#[track_caller]
pub(crate) fn not_run(what: &str, why: &Why) {
    let line = match why {
        Why::NotHere(why) => format!("NOT TESTED: {what}: {why}"),
        Why::NotNow(why) => format!("NOT TESTED: {what}: now unavailable: {why}"),
        Why::Failed(why) => panic!("{what} failed: {why}"),
    };
    say(&line);
    let required = std::env::var_os("REQUIRE_SYSTEM_TESTS").is_some_and(|value| value == "1");
    assert!(!required, "{line}");
}

/// Written past the harness, which hides what a passing test prints.
pub(crate) fn say(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}

/// A script of `tests/beds`.
pub(crate) fn bed_script(name: &str) -> Command {
    Command::new(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/beds").join(name))
}

/// Runs a script to its end. Its errors are its progress too, and so they are shown at once.
pub(crate) fn run_bed(script: &mut Command) -> Result<String, Why> {
    let (child, stderr) = start(script.stdin(Stdio::null()));
    let output = child.wait_with_output().expect("a child can be waited for");
    let stderr = stderr.join().expect("it reads to the end");
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        return Ok(stdout);
    }
    Err(Why::of(&format!("{stdout}{stderr}{}: {}", show(script), output.status)))
}

fn start(script: &mut Command) -> (Child, JoinHandle<String>) {
    script.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child =
        script.spawn().unwrap_or_else(|error| panic!("cannot run {}: {error}", show(script)));
    let stderr = BufReader::new(child.stderr.take().expect("stderr is piped"));
    let reader = thread::spawn(move || {
        let mut text = String::new();
        for line in stderr.split(b'\n').map_while(Result::ok) {
            let line = String::from_utf8_lossy(&line);
            say(&line);
            text.extend([&line, "\n"]);
        }
        text
    });
    (child, reader)
}

/// Runs `command` to its end.
pub(crate) fn run(command: &mut Command) -> Output {
    let shown = show(command);
    let output = command.stdin(Stdio::null()).output();
    let output = output.unwrap_or_else(|error| panic!("cannot run {shown}: {error}"));
    Output {
        command: shown,
        status: output.status,
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        journal: String::new(),
    }
}

fn show(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

/// What a finished command left behind. Its assertions print all of it.
pub(crate) struct Output {
    command: String,
    status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    journal: String,
}

impl Output {
    pub(crate) fn succeeded(&self) -> bool {
        self.status.success()
    }

    /// Fails the test unless the command exited with status 0.
    #[track_caller]
    pub(crate) fn ok(self) -> Self {
        assert!(self.succeeded(), "the command failed\n{self}");
        self
    }

    /// Fails the test unless the command failed.
    #[track_caller]
    pub(crate) fn refused(self) -> Self {
        assert!(!self.succeeded(), "the command succeeded\n{self}");
        self
    }

    /// Fails the test unless the text is in either stream.
    #[track_caller]
    pub(crate) fn said(self, text: &str) -> Self {
        assert!(self.says(text), "nothing says {text:?}\n{self}");
        self
    }

    fn says(&self, text: &str) -> bool {
        self.stdout.contains(text) || self.stderr.contains(text)
    }
}

impl fmt::Display for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "--- command\n{}\n--- {}\n", self.command, self.status)?;
        write!(f, "--- stdout\n{}--- stderr\n{}", self.stdout, self.stderr)?;
        if !self.journal.is_empty() {
            write!(f, "--- journal\n{}", self.journal)?;
        }
        Ok(())
    }
}

/// A set of namespaces in which commands are run. It ends when this is dropped, or when this
/// process ends in whatever way: the script that holds it reads from a pipe of ours.
pub(crate) struct Bed {
    holder: Child,
    lifeline: Option<ChildStdin>,
    pid: String,
    enter: Vec<String>,
    journal: &'static str,
}

impl Bed {
    /// Starts a bed script, which prints `ready PID`. `enter` makes of that PID the words before a
    /// command in the bed; `journal` is the command there that shows what happened lately.
    pub(crate) fn start(
        script: &mut Command,
        enter: impl Fn(&str) -> Vec<String>,
        journal: &'static str,
    ) -> Result<Self, Why> {
        let (mut holder, stderr) = start(script.stdin(Stdio::piped()));
        let lifeline = holder.stdin.take();
        let mut line = String::new();
        if let Some(stdout) = holder.stdout.take() {
            let _ = BufReader::new(stdout).read_line(&mut line);
        }
        let Some(pid) = line.trim().strip_prefix("ready ") else {
            let status = holder.wait().map_or_else(|error| error.to_string(), |s| s.to_string());
            let stderr = stderr.join().expect("it reads to the end");
            return Err(Why::of(&format!("{stderr}{}: {status}", show(script))));
        };
        let (pid, enter) = (pid.to_owned(), enter(pid));
        Ok(Self { holder, lifeline, pid, enter, journal })
    }

    /// The process whose namespaces the bed is.
    pub(crate) fn pid(&self) -> &str {
        &self.pid
    }

    /// Runs a shell script in the bed to its end.
    pub(crate) fn run(&self, script: &str) -> Output {
        let mut output = run(Command::new("timeout")
            .args(["--kill-after=5", COMMAND_TIMEOUT])
            .args(&self.enter)
            .args(["bash", "-c", script]));
        if !output.succeeded() && !self.journal.is_empty() {
            output.journal = run(&mut self.command(self.journal)).stdout;
        }
        output.command = script.to_owned();
        output
    }

    /// Runs a shell script in the bed beside the test.
    pub(crate) fn spawn(&self, script: &str) -> Background {
        Background::start(self.command(script), script)
    }

    /// Runs `script` again and again until it succeeds.
    #[track_caller]
    pub(crate) fn until(&self, script: &str) -> Output {
        self.run_until(script, Output::succeeded).ok()
    }

    pub(crate) fn run_until(&self, script: &str, done: impl Fn(&Output) -> bool) -> Output {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let output = self.run(script);
            if done(&output) || Instant::now() > deadline {
                return output;
            }
        }
    }

    /// Runs a command of the README. If the README shows what it prints, then until it does: socat
    /// does not wait for a service that is just being started.
    #[track_caller]
    pub(crate) fn readme(&self, command: &str) -> Output {
        self.readme_as(command, "")
    }

    /// The same, with a command before it that changes the user.
    #[track_caller]
    pub(crate) fn readme_as(&self, command: &str, user: &str) -> Output {
        let Step { command, prints } = readme(command);
        let script = format!("{user} sh -c '{command}'");
        if prints.is_empty() {
            return self.run(&script).ok();
        }
        let output = self.run_until(&script, |output| prints.iter().all(|line| output.says(line)));
        prints.iter().fold(output, |output, line| output.said(line))
    }

    fn command(&self, script: &str) -> Command {
        let mut command = Command::new(&self.enter[0]);
        command.args(&self.enter[1..]).args(["bash", "-c", script]);
        command
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        drop(self.lifeline.take());
        let _ = self.holder.wait();
    }
}

/// What a background command has printed so far, and how many of its streams are still open.
#[derive(Default)]
struct Said {
    text: String,
    open: usize,
}

/// A command that runs beside the test; killed when dropped.
pub(crate) struct Background {
    command: String,
    child: Child,
    said: Arc<(Mutex<Said>, Condvar)>,
}

impl Background {
    fn start(mut command: Command, shown: &str) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("cannot run {shown}: {error}"));
        let said = Arc::new((Mutex::new(Said { open: 2, ..Said::default() }), Condvar::new()));
        collect(child.stdout.take().expect("stdout is piped"), &said);
        collect(child.stderr.take().expect("stderr is piped"), &said);
        Self { command: shown.to_owned(), child, said }
    }

    /// Waits until the command has printed `text` on either stream.
    #[track_caller]
    pub(crate) fn wait_for(&self, text: &str) {
        let (found, said) = self.says(text);
        assert!(found, "{}\n--- has not said {text:?} but\n{said}", self.command);
    }

    /// Whether the command prints `text` before it ends, and what it has printed so far.
    pub(crate) fn says(&self, text: &str) -> (bool, String) {
        let (said, changed) = &*self.said;
        let guard = said.lock().unwrap_or_else(PoisonError::into_inner);
        let (said, _) = changed
            .wait_timeout_while(guard, Duration::from_secs(30), |said| {
                !said.text.contains(text) && said.open > 0
            })
            .unwrap_or_else(PoisonError::into_inner);
        (said.text.contains(text), said.text.clone())
    }

    /// Waits for the command's end and returns what it printed.
    pub(crate) fn finish(mut self) -> Output {
        let status = self.child.wait().expect("a child can be waited for");
        let (said, changed) = &*self.said;
        let guard = said.lock().unwrap_or_else(PoisonError::into_inner);
        let said =
            changed.wait_while(guard, |said| said.open > 0).unwrap_or_else(PoisonError::into_inner);
        let (stdout, stderr, journal) = (said.text.clone(), String::new(), String::new());
        drop(said);
        Output { command: self.command.clone(), status, stdout, stderr, journal }
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn collect(stream: impl Read + Send + 'static, into: &Arc<(Mutex<Said>, Condvar)>) {
    let into = Arc::clone(into);
    thread::spawn(move || {
        let (said, changed) = &*into;
        let edit = |change: &dyn Fn(&mut Said)| {
            change(&mut said.lock().unwrap_or_else(PoisonError::into_inner));
            changed.notify_all();
        };
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            edit(&|said| said.text.extend([line.as_str(), "\n"]));
        }
        edit(&|said| said.open -= 1);
    });
}
