//! `--accept`: one process for each connection, as `Accept=yes` of systemd.socket(5) has it.

use std::ffi::OsString;
use std::fmt::Write;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;

use rustix::event::Timespec;
use rustix::io::Errno;
use rustix::process::{Pid, WaitOptions, wait};
use socket2::{SockAddr, SockRef, Socket};

use super::Bound;
use super::hand_over;
use super::target::Target;
use super::wait::{Signals, ready};
use crate::command::Outcome;
use crate::error::{Context, Errno as Reason, Result};
use crate::sys;

/// How long accept(2) and fork(2) are left alone after the system had no room for them.
const BACK_OFF: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };

/// A connection and its peer.
type Connection = (Socket, SockAddr);

/// The listening sockets, and the processes of their connections.
struct Acceptor<'a> {
    sockets: Vec<Bound>,
    target: &'a Target,
    children: Vec<Pid>,
    connections_max: usize,
    /// A connection that no process could be started for yet, and its socket's index. It is not
    /// dropped.
    waiting: Option<(usize, Connection)>,
}

/// Accepts until SIGTERM or SIGINT. In each new process it comes back only with the error of exec.
pub(super) fn run(
    sockets: Vec<Bound>,
    target: &Target,
    signals: &Signals,
    connections_max: u32,
) -> Outcome {
    for socket in &sockets {
        // A connection may be gone between poll(2) and accept(2), which then must not wait.
        SockRef::from(&socket.fd).set_nonblocking(true).context("set O_NONBLOCK")?;
    }
    let connections_max = connections_max as usize;
    let mut acceptor =
        Acceptor { sockets, target, children: Vec::new(), connections_max, waiting: None };
    let mut back_off = false;
    loop {
        let timeout = if back_off { Some(BACK_OFF) } else { None };
        // Past the limit, and while backing off, connections stay in the kernel's backlog.
        let accepting = !back_off && acceptor.children.len() < connections_max;
        let listeners = if accepting { acceptor.sockets.as_slice() } else { &[] };
        let ready = ready(listeners.iter().map(|socket| socket.fd.as_fd()), signals, timeout)?;
        if signals.stop_requested()? {
            return Ok(0);
        }
        acceptor.reap()?;
        back_off = !acceptor.turn(&ready)?;
    }
}

impl Acceptor<'_> {
    /// Serves the listeners that are ready; whether the system had room for all.
    fn turn(&mut self, ready: &[bool]) -> Result<bool> {
        if let Some((index, connection)) = self.waiting.take() {
            if !self.start(index, connection)? {
                return Ok(false);
            }
        }
        for index in (0..ready.len()).filter(|&index| ready[index]) {
            if self.children.len() >= self.connections_max {
                break;
            }
            match SockRef::from(&self.sockets[index].fd).accept() {
                Ok(connection) => {
                    if !self.start(index, connection)? {
                        return Ok(false);
                    }
                }
                Err(error) if is_shortage(&error) => {
                    let socket = &self.sockets[index];
                    log::warn!("accept on {socket}: {}; trying again", Reason(&error));
                    return Ok(false);
                }
                // The peer gave up before it was accepted, or a signal came.
                Err(_) => {}
            }
        }
        Ok(true)
    }

    /// Starts the process of a connection; whether there was room for it.
    fn start(&mut self, index: usize, connection: Connection) -> Result<bool> {
        match sys::handover::fork() {
            Ok(Some(child)) => {
                self.children.push(child);
                Ok(true)
            }
            // This is the new process. Exec closes its copies of everything else.
            Ok(None) => {
                let (socket, peer) = connection;
                let name = self.sockets[index].name.clone();
                let variables = remote(&peer);
                Err(hand_over::exec(self.target, vec![(socket.into(), name)], &variables))
            }
            Err(error) => {
                log::warn!("start a process for a connection: {}; trying again", Reason(&error));
                self.waiting = Some((index, connection));
                Ok(false)
            }
        }
    }

    /// Collects the processes that ended. As pid 1 of a container, orphans are among them.
    fn reap(&mut self) -> Result<()> {
        loop {
            match wait(WaitOptions::NOHANG) {
                Ok(Some((pid, status))) => {
                    self.children.retain(|&child| child != pid);
                    log::debug!("process {pid} of a connection ended: {status:?}");
                }
                Ok(None) | Err(Errno::CHILD) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error).context("wait for ended processes"),
            }
        }
    }
}

/// Whether accept(2) failed for lack of descriptors or memory: the connection is still there, and
/// poll(2) would report it again at once.
fn is_shortage(error: &io::Error) -> bool {
    let shortages = [libc::EMFILE, libc::ENFILE, libc::ENOBUFS, libc::ENOMEM];
    error.raw_os_error().is_some_and(|errno| shortages.contains(&errno))
}

/// REMOTE_ADDR and REMOTE_PORT, as systemd sets them: `Accept=` of systemd.socket(5). IPv4 that
/// came through an IPv6 socket is shown as IPv4. A unix peer has a path that starts with a slash or
/// an abstract name, in the escapes of C; an unnamed one, or one with a relative path, has none.
fn remote(peer: &SockAddr) -> Vec<(&'static str, OsString)> {
    if let Some(ip) = peer.as_socket() {
        let addr = ip.ip().to_canonical().to_string();
        return vec![("REMOTE_ADDR", addr.into()), ("REMOTE_PORT", ip.port().to_string().into())];
    }
    if let Some((cid, port)) = peer.as_vsock_address() {
        let addr = format!("vsock:{cid}");
        return vec![("REMOTE_ADDR", addr.into()), ("REMOTE_PORT", port.to_string().into())];
    }
    let path = peer.as_pathname().filter(|path| path.is_absolute());
    let addr = match (path, peer.as_abstract_namespace()) {
        (Some(path), _) => c_escaped(path.as_os_str().as_bytes()),
        (_, Some(name)) => format!("@{}", c_escaped(name)),
        _ => return Vec::new(),
    };
    vec![("REMOTE_ADDR", addr.into())]
}

/// The escapes of C that systemd uses for it, seen with systemd 257: octal for what has no letter,
/// and for every byte that is not ASCII.
fn c_escaped(bytes: &[u8]) -> String {
    let mut escaped = String::with_capacity(bytes.len());
    for &byte in bytes {
        let letter = match byte {
            7 => 'a',
            8 => 'b',
            b'\t' => 't',
            b'\n' => 'n',
            11 => 'v',
            12 => 'f',
            b'\r' => 'r',
            b'\\' | b'"' | b'\'' => char::from(byte),
            b' '..=b'~' => {
                escaped.push(char::from(byte));
                continue;
            }
            _ => {
                // Writing to a String does not fail.
                let _ = write!(escaped, "\\{byte:03o}");
                continue;
            }
        };
        escaped.extend(['\\', letter]);
    }
    escaped
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
            // These were seen with systemd 257.
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
