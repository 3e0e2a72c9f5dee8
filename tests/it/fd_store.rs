//! A service manager for tests: it starts a program with sockets and with what is in its fd store,
//! and answers sd_notify(3) as systemd does, or as a rule of the test says.

use std::ffi::OsString;
use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::JoinHandle;

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags};
use rustix::process::{Pid, Signal, kill_process};
use socket_activate_echo::activator::{Bound, Target};

use crate::kit::{DEADLINE, Dir, Process};

/// What the manager does with a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    /// What systemd does.
    Process,
    /// It gets the text only, as through a container engine.
    Relay,
    /// It reads the message and then does nothing, not even close its descriptors.
    Hold,
    /// The process that has sent it is killed first, and the message is lost.
    Kill,
    /// The process that has sent it is killed after it was processed.
    ProcessAndKill,
}

type Rule = Box<dyn FnMut(&str) -> Answer + Send>;

struct State {
    fds_max: usize,
    stored: Vec<(String, OwnedFd)>,
    said: Vec<String>,
    rule: Rule,
    /// systemd closes in another thread what a full store has no room for. Here that takes until
    /// the end.
    closing: Vec<OwnedFd>,
    held: Vec<OwnedFd>,
    process: Option<Pid>,
    /// How many [`MARK`]s have come.
    marks: u32,
}

pub(crate) struct Manager {
    state: Arc<(Mutex<State>, Condvar)>,
    thread: Option<JoinHandle<()>>,
    dir: Dir,
    listeners: Vec<(String, OwnedFd)>,
}

const END: &str = "X_END=1";
/// What was sent before it was taken before it.
const MARK: &str = "X_MARK=1";

impl Manager {
    /// A manager whose store takes so many descriptors, for a service with these sockets.
    pub(crate) fn new(fds_max: usize, listeners: Vec<(String, OwnedFd)>) -> Self {
        let dir = Dir::new();
        let socket = UnixDatagram::bind(dir.path("notify")).expect("bind");
        let state = State {
            fds_max,
            stored: Vec::new(),
            said: Vec::new(),
            rule: Box::new(|_| Answer::Process),
            closing: Vec::new(),
            held: Vec::new(),
            process: None,
            marks: 0,
        };
        let state = Arc::new((Mutex::new(state), Condvar::new()));
        let ours = Arc::clone(&state);
        let thread = std::thread::spawn(move || {
            loop {
                let (text, fds) = receive(&socket);
                if text == END {
                    return;
                }
                let mut state = ours.0.lock().expect("no panic with the lock");
                if text == MARK {
                    state.marks += 1;
                } else {
                    state.take(text, fds);
                }
                drop(state);
                ours.1.notify_all();
            }
        });
        Self { state, thread: Some(thread), dir, listeners }
    }

    /// Where it listens, for `NOTIFY_SOCKET`.
    pub(crate) fn path(&self) -> PathBuf {
        self.dir.path("notify")
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.0.lock().expect("no panic with the lock")
    }

    /// From now on, the rule decides about each message.
    pub(crate) fn rule(&self, rule: impl FnMut(&str) -> Answer + Send + 'static) {
        self.lock().rule = Box::new(rule);
    }

    /// Puts a descriptor into the store, as the unit's other processes can.
    pub(crate) fn put(&self, name: &str, fd: impl Into<OwnedFd>) {
        self.lock().stored.push((name.to_owned(), fd.into()));
    }

    /// The names in the store, sorted, after all that was sent until now.
    pub(crate) fn stored(&self) -> Vec<String> {
        let before = self.lock().marks;
        let socket = UnixDatagram::unbound().expect("a socket");
        socket.send_to(MARK.as_bytes(), self.path()).expect("send");
        let is_behind = |state: &mut State| state.marks == before;
        let waited = self.state.1.wait_timeout_while(self.lock(), DEADLINE, is_behind);
        drop(waited.expect("no panic with the lock"));
        let mut names: Vec<_> = self.lock().stored.iter().map(|(name, _)| name.clone()).collect();
        names.sort();
        names
    }

    /// Waits until the store has exactly these names, in order.
    pub(crate) fn wait_for_stored(&self, names: &[&str]) {
        let has = |state: &State| {
            let mut stored: Vec<_> = state.stored.iter().map(|(name, _)| name.as_str()).collect();
            stored.sort_unstable();
            stored == names
        };
        let waited = self.state.1.wait_timeout_while(self.lock(), DEADLINE, |state| !has(state));
        let (state, timeout) = waited.expect("no panic with the lock");
        let stored: Vec<_> = state.stored.iter().map(|(name, _)| name).collect();
        assert!(!timeout.timed_out(), "{stored:?}, not {names:?}; {:?}", state.said);
    }

    /// What was said so far.
    pub(crate) fn said(&self) -> Vec<String> {
        self.lock().said.clone()
    }

    /// Starts a program with the sockets and all that is in the store. `environment` comes on top,
    /// for example `FDSTORE`.
    pub(crate) fn start(&self, command: &[&str], environment: &[(&str, &str)]) -> Process {
        let mut state = self.lock();
        let all = self.listeners.iter().chain(&state.stored);
        let duplicate = |fd: &OwnedFd| fd.try_clone().expect("dup");
        let sockets: Vec<_> = all.map(|(name, fd)| Bound::from_fd(duplicate(fd), name)).collect();
        let notify_socket = ("NOTIFY_SOCKET".into(), Some(self.path().into_os_string()));
        let others = environment.iter().map(|&(name, value)| (name.into(), Some(value.into())));
        let environment: Vec<(OsString, Option<OsString>)> =
            std::iter::once(notify_socket).chain(others).collect();
        let target = Target::find(command, environment).expect("it is there");
        let child = target.spawn(&sockets, |command| {
            command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        });
        let process = Process::of_child(child.expect("spawn"), command.join(" "));
        state.process = Some(process.pid());
        process
    }
}

impl Drop for Manager {
    fn drop(&mut self) {
        let socket = UnixDatagram::unbound().expect("socket");
        socket.send_to(END.as_bytes(), self.path()).expect("send");
        let ended = self.thread.take().expect("it runs").join();
        assert!(ended.is_ok() || std::thread::panicking(), "the manager's thread panicked");
    }
}

impl State {
    fn take(&mut self, text: String, fds: Vec<OwnedFd>) {
        let answer = (self.rule)(&text);
        match answer {
            Answer::Process | Answer::ProcessAndKill => self.process(&text, fds),
            Answer::Hold => self.held.extend(fds),
            Answer::Relay | Answer::Kill => {}
        }
        if matches!(answer, Answer::Kill | Answer::ProcessAndKill) {
            kill_process(self.process.expect("it was started"), Signal::KILL).expect("kill(2)");
        }
        self.said.push(text);
    }

    fn process(&mut self, text: &str, fds: Vec<OwnedFd>) {
        let lines: Vec<_> = text.lines().collect();
        let name = lines.iter().find_map(|line| line.strip_prefix("FDNAME=")).unwrap_or("stored");
        if lines.contains(&"FDSTOREREMOVE=1") {
            self.stored.retain(|(stored, _)| stored != name);
        } else if lines.contains(&"FDSTORE=1") {
            assert!(lines.contains(&"FDPOLL=0"), "the manager would drop what hangs up");
            // The order within a message is not defined.
            for fd in fds.into_iter().rev() {
                if self.stored.len() < self.fds_max {
                    self.stored.push((name.to_owned(), fd));
                } else {
                    self.closing.push(fd);
                    return;
                }
            }
        }
    }
}

/// One message and the descriptors that came with it.
pub(crate) fn receive(manager: &UnixDatagram) -> (String, Vec<OwnedFd>) {
    let mut text = [0; 4096];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(253))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received = rustix::net::recvmsg(
        manager.as_fd(),
        &mut [IoSliceMut::new(&mut text)],
        &mut control,
        RecvFlags::CMSG_CLOEXEC,
    )
    .expect("receive");
    let mut fds = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(more) = message {
            fds.extend(more);
        }
    }
    (String::from_utf8_lossy(&text[..received.bytes]).into_owned(), fds)
}
