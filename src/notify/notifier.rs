//! Sending to the service manager, with or without waiting.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};

use super::message::Message;
use super::socket::{NotifySocket, VsockTarget};
use super::state::{FdName, State};
use super::{unix, vsock};
use crate::deadline::Deadline;
use crate::error::{Error, ErrorKind, Result};

/// How long [`Notifier::send`] waits for room in the manager's queue.
const SEND_TIMEOUT: Duration = Duration::from_secs(5);

/// The connection to the service manager that `NOTIFY_SOCKET` names.
#[derive(Debug)]
pub struct Notifier {
    target: NotifySocket,
    channel: Channel,
}

#[derive(Debug)]
enum Channel {
    Unix(unix::Channel),
    Vsock(VsockTarget),
}

impl Notifier {
    /// The most descriptors of one message: `SCM_MAX_FD` of unix(7).
    pub const FDS_MAX: usize = unix::FDS_MAX;

    /// The notifier for `NOTIFY_SOCKET` of this process; `None` if it is not set.
    ///
    /// # Errors
    ///
    /// As [`Notifier::new`], and [`ErrorKind::Environment`] for a value that is not an address.
    pub fn from_env() -> Result<Option<Self>> {
        let Some(value) = std::env::var_os("NOTIFY_SOCKET") else { return Ok(None) };
        let target = NotifySocket::parse(&value).map_err(|error| {
            Error::from_cause(ErrorKind::Environment, error)
                .remedy("let the service manager set it, or unset it")
        })?;
        Self::new(target).map(Some)
    }

    /// The notifier for a manager that listens on `target`.
    ///
    /// # Errors
    ///
    /// Those of socket(2), for a unix target.
    pub fn new(target: NotifySocket) -> Result<Self> {
        let channel = match &target {
            NotifySocket::Unix(name) => unix::Channel::open(name)
                .map(Channel::Unix)
                .map_err(|error| failed(&target, "open a socket to", error))?,
            NotifySocket::Vsock(target) => Channel::Vsock(*target),
        };
        Ok(Self { target, channel })
    }

    /// Where the manager listens.
    pub fn target(&self) -> &NotifySocket {
        &self.target
    }

    /// Sends the assignments as one message. Waits up to five seconds if the manager's queue is
    /// full.
    ///
    /// # Errors
    ///
    /// The message was not sent. Success does not mean that the manager acts on it.
    pub fn send(&self, states: &[State<'_>]) -> Result<()> {
        self.send_with_fds(states, &[])
    }

    /// Sends without waiting, for an event loop. Returns whether the whole message is sent. If not,
    /// try the same message later: the manager's queue is full, the vsock connection is not
    /// established yet, or the kernel lacks a resource.
    ///
    /// # Errors
    ///
    /// As [`Notifier::send`]: the message cannot be sent.
    pub fn try_send(&self, message: &mut Message) -> Result<bool> {
        match self.transmit(message, &[], None) {
            Ok(()) => Ok(true),
            Err(error) => match errno(&error) {
                Errno::AGAIN | Errno::NOBUFS | Errno::NOMEM | Errno::MFILE | Errno::NFILE => {
                    Ok(false)
                }
                _ => Err(self.not_sent(message, error)),
            },
        }
    }

    /// Sends the rest of a message that [`Notifier::try_send`] did not deliver, within `timeout`.
    ///
    /// # Errors
    ///
    /// As [`Notifier::send`].
    pub fn finish(&self, message: &mut Message, timeout: Duration) -> Result<()> {
        let deadline = Some(Deadline::after(timeout));
        self.transmit(message, &[], deadline).map_err(|error| self.not_sent(message, error))
    }

    /// Sends the assignments with descriptors as one message.
    ///
    /// # Errors
    ///
    /// As [`Notifier::send`]. Descriptors to a vsock target, and more than [`Notifier::FDS_MAX`] of
    /// them, are errors too.
    pub fn send_with_fds(&self, states: &[State<'_>], fds: &[BorrowedFd<'_>]) -> Result<()> {
        let (mut message, deadline) = (Message::new(states), Some(Deadline::after(SEND_TIMEOUT)));
        self.transmit(&mut message, fds, deadline).map_err(|error| self.not_sent(&message, error))
    }

    /// Stores descriptors in the manager's fd store. After a restart, the service gets them again
    /// in `LISTEN_FDS` under this name. The unit needs `FileDescriptorStoreMax=`.
    ///
    /// The manager drops a descriptor that hangs up or has an error, unless `poll` is false.
    ///
    /// # Errors
    ///
    /// As [`Notifier::send_with_fds`].
    pub fn store_fds(&self, name: &FdName, fds: &[BorrowedFd<'_>], poll: bool) -> Result<()> {
        let states = [State::FdStore, State::FdName(name), State::FdPollOff];
        self.send_with_fds(&states[..if poll { 2 } else { 3 }], fds)
    }

    /// Waits until the manager has processed all earlier messages, and checks that its fd store has
    /// everything that they contained. This stores a descriptor of its own under `name`, which no
    /// other stored descriptor may have, and removes it again.
    ///
    /// A barrier alone does not show that: a manager without a store, or with a full one, closes
    /// descriptors silently, and so does a container engine, which relays only text.
    ///
    /// # Errors
    ///
    /// As [`Notifier::barrier`], and the manager does not have the descriptor: it has no store, or
    /// the store is full.
    pub fn check_fd_store(&self, name: &FdName, timeout: Duration) -> Result<()> {
        let attempted = "store descriptors in the fd store of";
        let pipe = || pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK);
        let failed_to = |errno: Errno| failed(&self.target, attempted, errno.into());
        // A manager may close in a thread of its own the descriptor for which a full store has no
        // room, so perhaps after the barrier. It closes what follows in the message at once. So of
        // two descriptors, one has hung up at the barrier unless the other is stored.
        let (first, first_stored) = pipe().map_err(failed_to)?;
        let (second, second_stored) = pipe().map_err(failed_to)?;
        self.store_fds(name, &[first_stored.as_fd(), second_stored.as_fd()], false)?;
        drop((first_stored, second_stored));
        let passed = self.barrier(timeout);
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        let mut fds = [&first, &second].map(|fd| PollFd::new(fd, PollFlags::empty()));
        let closed = poll(&mut fds, Some(&now)).map_err(failed_to)?;
        if passed.is_err() || closed < fds.len() {
            // Also after a timeout: the manager may process it later.
            let removed = self.remove_fds(name);
            passed.and(removed)?;
        }
        if closed == 0 {
            return Ok(());
        }
        let message = format!("{attempted} NOTIFY_SOCKET={}: it closed them", self.target);
        Err(Error::new(ErrorKind::Other, message).remedy(
            "set FileDescriptorStoreMax= in the unit to the number of descriptors and 2 more; a \
             container engine relays no descriptors to the service manager",
        ))
    }

    /// Makes the manager close the stored descriptors of this name.
    ///
    /// # Errors
    ///
    /// As [`Notifier::send`].
    pub fn remove_fds(&self, name: &FdName) -> Result<()> {
        self.send(&[State::FdStoreRemove, State::FdName(name)])
    }

    /// Waits until the manager has processed all earlier messages. It then closes the descriptor
    /// that this message carries: sd_notify_barrier(3).
    ///
    /// # Errors
    ///
    /// As [`Notifier::send_with_fds`], or the timeout has passed. A container engine that does not
    /// relay descriptors also causes a timeout.
    pub fn barrier(&self, timeout: Duration) -> Result<()> {
        let failed = |error| failed(&self.target, "wait for a barrier on", error);
        let deadline = Deadline::after(timeout);
        let (read, write) = pipe_with(PipeFlags::CLOEXEC).map_err(|errno| failed(errno.into()))?;
        let mut message = Message::new(&[State::Barrier]);
        self.transmit(&mut message, &[write.as_fd()], Some(deadline))
            .map_err(|error| self.not_sent(&message, error))?;
        drop(write);
        // A hang-up is reported whatever events are asked for, see poll(2).
        deadline.wait(&read, PollFlags::empty()).map(drop).map_err(failed)
    }

    /// Sends the rest of the message until the deadline. Without a deadline it does not wait, and
    /// fails with `EAGAIN` if a part remains.
    fn transmit(
        &self,
        message: &mut Message,
        fds: &[BorrowedFd<'_>],
        deadline: Option<Deadline>,
    ) -> io::Result<()> {
        let Message { text, connection } = message;
        match &self.channel {
            Channel::Unix(channel) => channel.send(text, fds, deadline),
            Channel::Vsock(_) if !fds.is_empty() => Err(Errno::OPNOTSUPP.into()),
            Channel::Vsock(target) => connection
                .get_or_insert_with(|| vsock::Connection::new(*target))
                .send(text, deadline),
        }
    }

    fn not_sent(&self, message: &Message, error: io::Error) -> Error {
        failed(&self.target, &format!("send {message} to"), error)
    }
}

fn errno(error: &io::Error) -> Errno {
    match error.kind() {
        // A deadline that has passed is not an error of the kernel, so it has no errno.
        io::ErrorKind::TimedOut => Errno::TIMEDOUT,
        _ => Errno::from_io_error(error).unwrap_or(Errno::IO),
    }
}

fn failed(target: &NotifySocket, attempted: &str, error: io::Error) -> Error {
    let errno = errno(&error);
    let error =
        Error::new(ErrorKind::Other, format!("{attempted} NOTIFY_SOCKET={target}")).because(errno);
    match remedy(target, errno) {
        Some(remedy) => error.remedy(remedy),
        None => error,
    }
}

fn remedy(target: &NotifySocket, errno: Errno) -> Option<&'static str> {
    let unix = matches!(target, NotifySocket::Unix(_));
    Some(match errno {
        Errno::NOENT => "mount the socket into the container, or unset NOTIFY_SOCKET",
        Errno::CONNREFUSED if unix => {
            "unset NOTIFY_SOCKET, which a parent process left behind: nobody reads this socket \
             any more"
        }
        Errno::ACCESS | Errno::PERM => {
            "allow this user, and its SELinux or AppArmor domain, to write to the socket"
        }
        Errno::PROTOTYPE => {
            "the socket there must be a datagram socket, as the service manager's \
                             is"
        }
        Errno::AGAIN => "its queue is full: see why the service manager does not read it",
        Errno::TOOBIG => "send at most 253 file descriptors at once",
        Errno::TOOMANYREFS => {
            "raise LimitNOFILE=: it also limits how many file descriptors of a user are on their way"
        }
        Errno::TIMEDOUT if unix => {
            "the receiver did not close the descriptor: NotifyAccess= has to allow this process, \
             and a container engine has to pass on its own socket (Notify=true)"
        }
        Errno::OPNOTSUPP if !unix => "file descriptors cannot be sent over vsock",
        Errno::AFNOSUPPORT => "load the kernel's vsock module",
        Errno::NODEV | Errno::NETUNREACH | Errno::ADDRNOTAVAIL => {
            "no vsock transport reaches that CID: load vsock_loopback for local, or give the VM a \
             vsock device"
        }
        Errno::SOCKTNOSUPPORT => "the vsock transport lacks this socket type: try vsock-stream:",
        Errno::CONNRESET | Errno::TIMEDOUT | Errno::CONNREFUSED => {
            "check that the receiver has this CID and listens on this port"
        }
        _ => return None,
    })
}
