//! `--accept`: one process for each connection, like `Accept=yes` of systemd.socket(5).

use std::ffi::OsString;
use std::fmt;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use rustix::event::{PollFlags, Timespec};
use rustix::process::Pid;
use socket2::{SockAddr, SockRef};

use super::failures::Failures;
use super::wait::{Signals, is_hung_up, ready, shut_down};
use crate::activator::{Bound, Target};
use crate::address::Address;
use crate::cli::ActivateArgs;
use crate::command::{Outcome, children};
use crate::error::{Context, Errno as Reason, Result};

/// The listening sockets, and the processes of their connections.
struct Acceptor<'a> {
    listeners: Vec<Listener>,
    target: &'a Target,
    /// The running processes, each with its client.
    children: Vec<(Pid, String)>,
    failures: Failures,
    is_inetd: bool,
    connections_max: usize,
    /// A connection whose process could not be started yet. It is not dropped.
    waiting: Option<Client>,
    fork: Retry,
}

/// An accepted connection with the program to start for it.
struct Client {
    connection: Bound,
    target: Target,
    peer: String,
}

struct Listener {
    socket: Bound,
    accept: Retry,
}

/// When to retry an operation that failed.
#[derive(Default)]
struct Retry {
    due: Option<Instant>,
}

impl Retry {
    /// How long to wait after accept(2) or fork(2) failed. The cause may last, and poll(2) would
    /// report the connection again at once.
    const PAUSE: Duration = Duration::from_millis(100);

    /// Plans the next try. Only the first of several failures in a row is logged.
    fn failed(&mut self, attempted: impl fmt::Display, error: &io::Error) {
        if self.due.is_none() {
            log::warn!("{attempted}: {}; trying again", Reason(error));
        }
        self.due = Some(Instant::now() + Self::PAUSE);
    }

    fn succeeded(&mut self) {
        self.due = None;
    }

    /// The remaining wait; `None` if it may be tried now.
    fn wait(&self, now: Instant) -> Option<Duration> {
        self.due.map(|due| due.saturating_duration_since(now)).filter(|wait| !wait.is_zero())
    }
}

/// Accepts until SIGTERM or SIGINT.
///
/// # Errors
///
/// No listening socket is left, or a system call failed unexpectedly.
pub(super) fn run(
    sockets: Vec<Bound>,
    target: &Target,
    signals: &Signals,
    args: &ActivateArgs,
) -> Outcome {
    let listener = |socket| Listener { socket, accept: Retry::default() };
    let mut acceptor = Acceptor {
        listeners: sockets.into_iter().map(listener).collect(),
        target,
        children: Vec::new(),
        failures: Failures::default(),
        is_inetd: args.inetd,
        connections_max: args.connections_max as usize,
        waiting: None,
        fork: Retry::default(),
    };
    loop {
        let ready = acceptor.wait(signals)?;
        let stop = signals.stop_requested()?;
        acceptor.reap()?;
        if let Some(signal) = stop {
            acceptor.failures.tell_rest();
            let served = acceptor.children.len();
            log::info!("ended by {signal}; connections that are still served: {served}");
            return Ok(0);
        }
        acceptor.turn(&ready)?;
    }
}

impl Acceptor<'_> {
    /// Waits for work. Returns the listeners that are ready, with their events.
    fn wait(&self, signals: &Signals) -> Result<Vec<(usize, PollFlags)>> {
        let now = Instant::now();
        // At the limit, and while a connection waits for its process, new ones stay in the kernel's
        // backlog.
        let accepting = self.waiting.is_none() && self.children.len() < self.connections_max;
        let listeners = if accepting { self.listeners.as_slice() } else { &[] };
        let is_due = |&index: &usize| listeners[index].accept.wait(now).is_none();
        let polled: Vec<_> = (0..listeners.len()).filter(is_due).collect();
        let timeout = match self.waiting {
            Some(_) => Some(self.fork.wait(now).unwrap_or_default()),
            None => listeners.iter().filter_map(|listener| listener.accept.wait(now)).min(),
        };
        let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
        let sockets = polled.iter().map(|&index| &listeners[index].socket);
        let ready = ready(sockets, signals, timeout)?;
        Ok(polled.into_iter().zip(ready).filter(|(_, events)| !events.is_empty()).collect())
    }

    /// Accepts on the listeners that are ready.
    fn turn(&mut self, ready: &[(usize, PollFlags)]) -> Result<()> {
        if self.fork.wait(Instant::now()).is_none() {
            if let Some(client) = self.waiting.take() {
                self.start(client);
            }
        }
        // From the last one to the first, because removing a listener moves those after it.
        for &(index, events) in ready.iter().rev() {
            if self.waiting.is_some() || self.children.len() >= self.connections_max {
                break;
            }
            self.accept(index, events)?;
        }
        Ok(())
    }

    fn accept(&mut self, index: usize, events: PollFlags) -> Result<()> {
        let Listener { socket, accept } = &mut self.listeners[index];
        let fd = SockRef::from(&*socket);
        // A connection may be gone between poll(2) and accept(2), which must then not wait. Every
        // holder of the socket shares the flag, and may have cleared it.
        fd.set_nonblocking(true).context(format!("set O_NONBLOCK on {socket}"))?;
        let error = match fd.accept() {
            Ok((connection, peer)) => {
                accept.succeeded();
                let connection = Bound::from_fd(connection, socket.name());
                let mut target = self.target.clone();
                let remote = remote(&peer).into_iter().map(|(name, value)| (name, Some(value)));
                target.environment.extend(remote);
                let peer = described(&peer, socket);
                self.start(Client { connection, target, peer });
                return Ok(());
            }
            Err(error) => error,
        };
        match error.raw_os_error() {
            // For a unix socket that was shut down, accept(2) returns only this when the backlog is
            // empty, while poll(2) reports it for ever.
            Some(libc::EAGAIN) if !is_hung_up(events) => {}
            Some(libc::EINTR) => {}
            // accept(2): the socket does not listen. It did before, and poll(2) reports a hang-up.
            Some(libc::EINVAL | libc::EAGAIN) => {
                let error = shut_down(&self.listeners.remove(index).socket);
                if self.listeners.is_empty() {
                    return Err(error);
                }
                log::warn!("{error}");
            }
            // No resources, a refusal by a firewall, or a network error of accept(2): the
            // connection may still be there, so the next try has to wait.
            _ => accept.failed(format_args!("accept on {socket}"), &error),
        }
        Ok(())
    }

    /// Starts the process of a connection, or keeps the connection until that is possible.
    fn start(&mut self, client: Client) {
        const NO_ROOM: [i32; 4] = [libc::EAGAIN, libc::ENOMEM, libc::EMFILE, libc::ENFILE];
        let error = match client.target.spawn(std::slice::from_ref(&client.connection), |_| {}) {
            Ok(child) => {
                self.fork.succeeded();
                return self.children.push((Pid::from_child(&child), client.peer));
            }
            Err(error) => error,
        };
        match error.io() {
            Some(answer) if answer.raw_os_error().is_some_and(|errno| NO_ROOM.contains(&errno)) => {
                self.fork.failed("start a process for a connection", answer);
                self.waiting = Some(client);
            }
            // It fails for the next connections too, until the program is repaired.
            _ => self.failures.tell(error),
        }
    }

    /// Reaps the processes that ended.
    fn reap(&mut self) -> Result<()> {
        children::reap(|pid, status| {
            let child = self.children.iter().position(|(child, _)| *child == pid);
            if let Some(child) = child {
                let (_, peer) = self.children.swap_remove(child);
                self.ended(&peer, pid, status);
            }
        })
    }

    /// Logs how the process of a connection ended, unless it succeeded.
    fn ended(&mut self, peer: &str, pid: Pid, status: ExitStatus) {
        let remedy = match self.is_inetd {
            true => "",
            false => "; a command that uses standard input and output needs --inetd",
        };
        if !status.success() {
            self.failures.tell(format_args!(
                "the command for {peer} failed: {status} (pid {pid}); see its output{remedy}"
            ));
        }
    }
}

/// The client's name in messages. Most unix sockets have no name.
fn described(peer: &SockAddr, socket: &Bound) -> String {
    let own = SockRef::from(socket);
    let kind = own.r#type().and_then(|r#type| Ok((r#type, own.protocol()?)));
    let address =
        kind.ok().and_then(|(r#type, protocol)| Address::from_sockaddr(peer, r#type, protocol));
    address.map_or_else(|| format!("a client of {socket}"), |address| address.to_string())
}

/// REMOTE_ADDR and REMOTE_PORT, as systemd sets them: `Accept=` of systemd.socket(5). An IPv4
/// address from an IPv6 socket is shown as IPv4. For a unix peer they have an absolute path or an
/// abstract name, in C escapes; an unnamed peer, or one with a relative path, has none.
fn remote(peer: &SockAddr) -> Vec<(OsString, OsString)> {
    let addr = |text: String| ("REMOTE_ADDR".into(), text.into());
    let port = |port: u32| ("REMOTE_PORT".into(), port.to_string().into());
    if let Some(ip) = peer.as_socket() {
        return vec![addr(ip.ip().to_canonical().to_string()), port(ip.port().into())];
    }
    if let Some((cid, number)) = peer.as_vsock_address() {
        return vec![addr(format!("vsock:{cid}")), port(number)];
    }
    let path = peer.as_pathname().filter(|path| path.is_absolute());
    match (path, peer.as_abstract_namespace()) {
        (Some(path), _) => vec![addr(c_escaped(path.as_os_str().as_bytes()))],
        (_, Some(name)) => vec![addr(format!("@{}", c_escaped(name)))],
        _ => Vec::new(),
    }
}

/// The C escapes that systemd uses for it, as seen with systemd 257: octal for characters without a
/// letter, and for every byte that is not ASCII.
fn c_escaped(bytes: &[u8]) -> String {
    let escape = |&byte: &u8| match byte {
        7 => r"\a".to_owned(),
        8 => r"\b".to_owned(),
        b'\t' => r"\t".to_owned(),
        b'\n' => r"\n".to_owned(),
        11 => r"\v".to_owned(),
        12 => r"\f".to_owned(),
        b'\r' => r"\r".to_owned(),
        b'\\' | b'"' | b'\'' => format!("\\{}", char::from(byte)),
        b' '..=b'~' => char::from(byte).to_string(),
        _ => format!("\\{byte:03o}"),
    };
    bytes.iter().map(escape).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_peer_as_systemd_shows_it() {
        let unix =
            |name: &[u8]| SockAddr::unix(std::ffi::OsStr::from_bytes(name)).expect("an address");
        let ip = |text: &str| SockAddr::from(text.parse::<std::net::SocketAddr>().expect(text));
        for (peer, addr, port) in [
            (ip("127.0.0.1:4"), Some("127.0.0.1"), Some("4")),
            (ip("[::1]:4"), Some("::1"), Some("4")),
            (ip("[::ffff:10.0.0.1]:4"), Some("10.0.0.1"), Some("4")),
            (SockAddr::vsock(20, 4), Some("vsock:20"), Some("4")),
            (unix(b"/run/c"), Some("/run/c"), None),
            (unix(b"\0c"), Some("@c"), None),
            (unix(b""), None, None),
            // As seen with systemd 257.
            (
                unix(b"/tmp/p\x1b[31m\nx\"'\\ \xc3\xa9"),
                Some(r#"/tmp/p\033[31m\nx\"\'\\ \303\251"#),
                None,
            ),
            (unix(b"\0ab\x1b\0c\xff"), Some(r"@ab\033\000c\377"), None),
            (unix(b"relative"), None, None),
        ] {
            let variables = remote(&peer);
            let get = |name: &str| {
                let found = variables.iter().find(|(key, _)| *key == name);
                found.and_then(|(_, value)| value.to_str())
            };
            assert_eq!((get("REMOTE_ADDR"), get("REMOTE_PORT")), (addr, port), "{peer:?}");
        }
    }
}
