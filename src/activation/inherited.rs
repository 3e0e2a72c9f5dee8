//! Takes the inherited descriptors: from their numbers to owned sockets of known kinds.

use std::net::TcpListener;
use std::os::fd::{AsFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};

use socket2::Protocol;

use super::env::{Environment, EnvironmentError, LISTEN_FDS_START, Process};
use super::kind::{Kind, Service, file_system};
use crate::error::{Context, Error, ErrorKind, Result};
use crate::proc::{self, ancestry};
use crate::sys;
use crate::text::Escaped;

/// Everything that was handed over to this process.
#[derive(Debug)]
pub struct Inherited {
    /// The descriptors in the order of their numbers.
    pub fds: Vec<InheritedFd>,
}

/// Where a descriptor comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// `LISTEN_FDS`: sd_listen_fds(3).
    ListenFds,
    /// `StandardInput=socket` of systemd.exec(5), or inetd.
    StandardInput,
}

/// One inherited file descriptor with its name and what it is.
#[derive(Debug)]
pub struct InheritedFd {
    /// The descriptor; `None` if it is not open.
    pub fd: Option<OwnedFd>,
    /// Its number when it was handed over.
    pub number: RawFd,
    /// Its name: `FileDescriptorName=` of systemd.socket(5). Several may have the same one.
    pub name: String,
    /// Where it comes from.
    pub origin: Origin,
    /// What it is.
    pub kind: Kind,
}

impl Inherited {
    /// Takes what was handed over: the descriptors that `LISTEN_FDS` announces or, without it, a
    /// socket on standard input. Each becomes close-on-exec.
    ///
    /// The variables stay set. A child process ignores them, because `LISTEN_PID` is not its
    /// process id.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Environment`] if nothing was handed over, or the variables are wrong;
    /// [`ErrorKind::Other`] on a second call, because the first one owns the descriptors.
    pub fn take() -> Result<Self> {
        static TAKEN: AtomicBool = AtomicBool::new(false);
        if TAKEN.swap(true, Ordering::SeqCst) {
            return Err(Error::new(ErrorKind::Other, "the inherited sockets were taken before"));
        }
        let environment = Environment::of_this_process();
        if !environment.is_set() {
            if let Some(socket) = InheritedFd::standard_input()? {
                return Ok(Self { fds: vec![socket] });
            }
        }
        let process = Process::reading(&environment);
        let names = environment.handover(process).map_err(|wrong| explain(wrong, process.pid))?;
        let fds = (LISTEN_FDS_START..).zip(names);
        let fds = fds.map(|(number, name)| InheritedFd::adopt(number, name, Origin::ListenFds));
        Ok(Self { fds: fds.collect::<Result<_>>()? })
    }

    /// Whether a socket was inherited on standard input, which needs no variables.
    #[cfg(feature = "cli")]
    pub(crate) fn is_standard_input(&self) -> bool {
        self.fds.iter().any(|fd| fd.origin == Origin::StandardInput)
    }

    /// All descriptors as sockets, each with its [`Service`].
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Descriptor`] for the first descriptor that fits no [`Service`].
    pub fn into_sockets(self) -> Result<Vec<InheritedSocket>> {
        self.fds.into_iter().map(InheritedFd::into_socket).collect()
    }
}

/// An inherited socket that a daemon can use.
#[derive(Debug)]
pub struct InheritedSocket {
    /// The socket.
    pub fd: OwnedFd,
    /// The name of `LISTEN_FDNAMES`.
    pub name: String,
    /// What it is.
    pub kind: super::SocketKind,
    /// What a daemon does with it.
    pub service: Service,
}

impl InheritedSocket {
    /// The socket as the standard library's TCP listener, in blocking mode.
    ///
    /// `NonBlocking=yes` in the unit sets `O_NONBLOCK`. accept(2) then fails with `EAGAIN` while no
    /// connection waits, and a loop around it uses a whole processor. The flag belongs to the open
    /// file description, so this clears it for every process that has the socket, and any of them
    /// can set it again.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Descriptor`] if it is not a listening TCP or MPTCP socket; [`ErrorKind::Other`]
    /// if fcntl(2) fails.
    pub fn into_tcp_listener(self) -> Result<TcpListener> {
        let Self { fd, name, kind, service } = self;
        let is_tcp = kind
            .protocol
            .is_some_and(|protocol| protocol == Protocol::TCP || protocol == Protocol::MPTCP);
        if service != Service::StreamListener || !is_tcp {
            let name = Escaped::new(&name);
            let message = format!("{name} is a {}, not a TCP listener", Kind::Socket(kind));
            return Err(Error::new(ErrorKind::Descriptor, message).remedy(
                "use ListenStream=PORT in the socket unit, or `activate -l tcp:HOST:PORT`",
            ));
        }
        let listener = TcpListener::from(fd);
        let blocking = listener.set_nonblocking(false);
        blocking.context(format!("clear O_NONBLOCK on {}", Escaped::new(&name)))?;
        Ok(listener)
    }
}

impl InheritedFd {
    fn standard_input() -> Result<Option<Self>> {
        match Kind::of(rustix::stdio::stdin()) {
            Ok(Kind::Socket(_)) => {
                Self::adopt(0, "stdin".to_owned(), Origin::StandardInput).map(Some)
            }
            _ => Ok(None),
        }
    }

    fn adopt(number: RawFd, name: String, origin: Origin) -> Result<Self> {
        let fd = sys::descriptor::adopt(number).context(format!("take fd {number} ({name})"))?;
        let kind = match &fd {
            Some(fd) => {
                Kind::of(fd.as_fd()).context(format!("ask what fd {number} ({name}) is"))?
            }
            None => Kind::Closed,
        };
        Ok(Self { fd, number, name, origin, kind })
    }

    /// The descriptor as a socket with its [`Service`].
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Descriptor`] if it fits no [`Service`]; see [`InheritedFd::refusal`].
    pub fn into_socket(self) -> Result<InheritedSocket> {
        let refusal = self.refusal();
        match (self.kind.service(), self.fd, self.kind) {
            (Some(service), Some(fd), Kind::Socket(kind)) => {
                Ok(InheritedSocket { fd, name: self.name, kind, service })
            }
            _ => Err(refusal),
        }
    }
}

impl Process {
    /// This process, with the inode number of its pidfd only if `environment` names one.
    pub fn reading(environment: &Environment) -> Self {
        let pidfd_id = environment.listen_pidfdid.as_ref().and_then(|_| own_pidfd_id());
        Self { pid: std::process::id(), pidfd_id }
    }
}

/// The inode number of this process's pidfd, for `LISTEN_PIDFDID`; `None` where the kernel has
/// no pidfs.
///
/// Before Linux 6.9 all pidfds share one inode of another file system.
pub fn own_pidfd_id() -> Option<u64> {
    /// `PID_FS_MAGIC` of linux/magic.h.
    const PID_FS_MAGIC: i64 = 0x5049_4446;
    let pidfd = rustix::process::pidfd_open(
        rustix::process::getpid(),
        rustix::process::PidfdFlags::empty(),
    )
    .ok()?;
    if file_system(pidfd.as_fd()).ok()? != PID_FS_MAGIC {
        return None;
    }
    Some(rustix::fs::fstat(&pidfd).ok()?.st_ino)
}

/// The error for a wrong environment. If `LISTEN_PID` is another process, it describes that
/// process.
fn explain(wrong: EnvironmentError, pid: u32) -> Error {
    let error = Error::from_cause(ErrorKind::Environment, wrong.clone()).remedy(wrong.remedy());
    let EnvironmentError::OtherPid { listen_pid, .. } = wrong else { return error };
    let (other, ancestry) = (proc::describe(listen_pid), proc::describe_chain(&ancestry(pid)));
    error.detail(format!("{other}; ancestry: {ancestry}"))
}
