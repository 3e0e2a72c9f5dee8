//! Hands a socket of the test to a program, without another activator.

use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::process::Command;

use crate::kit::{DEADLINE, Dir, clean, program_path};

/// Runs our program with `socket` as fd 3 under the name `echo.socket`. The shell puts it there and
/// then is replaced by the program, so that LISTEN_PID is right.
pub(crate) fn hand_over(socket: impl Into<OwnedFd>, arguments: &[&str]) -> Command {
    let environment = "LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=echo.socket";
    hand_over_with(socket, environment, "", arguments)
}

/// The same with other assignments (`$$` is the program's process id), and with more redirections
/// for the shell, for example `4</dev/null`.
pub(crate) fn hand_over_with(
    socket: impl Into<OwnedFd>,
    environment: &str,
    redirections: &str,
    arguments: &[&str],
) -> Command {
    let mut command = clean("sh");
    let script = format!("exec 3<&0 0</dev/null {redirections}; export {environment}; exec \"$@\"");
    command.args(["-c", &script, "sh", program_path()]).args(arguments).stdin(socket.into());
    command
}

/// A listening socket for the program, and a connection to it.
pub(crate) fn listener() -> (TcpListener, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    let client = TcpStream::connect(listener.local_addr().expect("address")).expect("connect");
    client.set_read_timeout(Some(DEADLINE)).expect("timeout");
    (listener, client)
}

/// A service manager that is told what sd_notify(3) says.
pub(crate) struct Notified {
    pub(crate) socket: UnixDatagram,
    dir: Dir,
}

impl Notified {
    pub(crate) fn new() -> Self {
        let dir = Dir::new();
        let socket = UnixDatagram::bind(dir.path("notify")).expect("bind");
        socket.set_read_timeout(Some(DEADLINE)).expect("a timeout");
        Self { socket, dir }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.dir.path("notify")
    }

    /// The command has it as its manager.
    pub(crate) fn of<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        command.env("NOTIFY_SOCKET", self.path())
    }

    #[track_caller]
    pub(crate) fn message(&self) -> String {
        let mut buffer = [0; 4096];
        let len = self.socket.recv(&mut buffer).expect("a message");
        String::from_utf8_lossy(&buffer[..len]).into_owned()
    }

    /// Checks that no message waits.
    #[track_caller]
    pub(crate) fn expect_no_message(&self) {
        self.socket.set_nonblocking(true).expect("O_NONBLOCK");
        self.socket.recv(&mut [0; 100]).expect_err("no message");
        self.socket.set_nonblocking(false).expect("O_NONBLOCK");
    }
}
