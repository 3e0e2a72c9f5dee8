//! Sending: one datagram over `AF_UNIX`, or one connection a message over `AF_VSOCK`.

use std::fmt;
use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix};
use socket2::{Domain, SockAddr, SockRef, Socket};

use super::socket::NotifySocket;
use super::state::{FdName, State, message};
use crate::address::{Cid, Style, UnixName};
use crate::error::{Error, ErrorKind, Result};

/// How long a message may wait for room in the manager's queue.
const SEND_TIMEOUT: Duration = Duration::from_secs(5);

/// The most descriptors that one message carries: `SCM_MAX_FD`, see unix(7).
const FDS_MAX: usize = 253;

/// The connection to the service manager that `NOTIFY_SOCKET` names.
#[derive(Debug)]
pub struct Notifier {
    target: NotifySocket,
    channel: Channel,
}

#[derive(Debug)]
enum Channel {
    /// Open from the start, so that a keep-alive needs no free descriptor, and never connected, so
    /// that it reaches a manager that was started anew.
    Unix(OwnedFd, SocketAddrUnix),
    /// Opened for each message, which is a connection of its own.
    Vsock(Cid, u32, Option<Style>),
}

impl Notifier {
    /// The notifier for `NOTIFY_SOCKET` of this process; `None` if it is not set.
    ///
    /// # Errors
    ///
    /// As [`Notifier::new`], and [`ErrorKind::Environment`] for a value that is no address.
    pub fn from_env() -> Result<Option<Self>> {
        let Some(value) = std::env::var_os("NOTIFY_SOCKET") else { return Ok(None) };
        let target = NotifySocket::parse(&value).map_err(|error| {
            Error::new(ErrorKind::Environment, error.to_string())
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
            NotifySocket::Unix(name) => {
                unix_channel(name).map_err(|error| failed(&target, "open a socket to", error))?
            }
            NotifySocket::Vsock { cid, port, style } => Channel::Vsock(*cid, *port, *style),
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
    /// The message could not be handed over; whether the manager acts on it cannot be told.
    pub fn send(&self, states: &[State<'_>]) -> Result<()> {
        self.send_with_fds(states, &[])
    }

    /// As [`Notifier::send`], but fails at once if the manager's queue is full: for an event loop,
    /// which may not block.
    ///
    /// # Errors
    ///
    /// As [`Notifier::send`]. Over vsock it may still wait, for the connection.
    pub fn try_send(&self, states: &[State<'_>]) -> Result<()> {
        self.transmit(states, &[], SendFlags::DONTWAIT)
    }

    /// Sends the assignments with descriptors as one message.
    ///
    /// # Errors
    ///
    /// As [`Notifier::send`]; descriptors to a vsock target; more than 253 descriptors.
    pub fn send_with_fds(&self, states: &[State<'_>], fds: &[BorrowedFd<'_>]) -> Result<()> {
        self.transmit(states, fds, SendFlags::empty())
    }

    /// Hands descriptors to the manager's fd store, which gives them back on a restart, as
    /// `LISTEN_FDS` under this name. The unit needs `FileDescriptorStoreMax=`.
    ///
    /// The manager drops descriptors that hang up, unless `poll` is false.
    ///
    /// # Errors
    ///
    /// As [`Notifier::send_with_fds`].
    pub fn store_fds(&self, name: &FdName, fds: &[BorrowedFd<'_>], poll: bool) -> Result<()> {
        let states = [State::FdStore, State::FdName(name), State::FdPollOff];
        self.send_with_fds(&states[..if poll { 2 } else { 3 }], fds)
    }

    /// Lets the manager close the stored descriptors of this name.
    ///
    /// # Errors
    ///
    /// As [`Notifier::send`].
    pub fn remove_fds(&self, name: &FdName) -> Result<()> {
        self.send(&[State::FdStoreRemove, State::FdName(name)])
    }

    /// Waits until the manager has worked off every message so far: it closes the descriptor that
    /// this one carries.
    ///
    /// # Errors
    ///
    /// As [`Notifier::send_with_fds`]; the time is over, which is also what a container engine
    /// that relays no descriptors leads to.
    pub fn barrier(&self, timeout: Duration) -> Result<()> {
        let failed = |error: Errno| failed(&self.target, "wait for a barrier on", error);
        let (read, write) =
            rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).map_err(failed)?;
        self.send_with_fds(&[State::Barrier], &[write.as_fd()])?;
        drop(write);
        hang_up(read.as_fd(), timeout).map_err(failed)
    }

    fn transmit(
        &self,
        states: &[State<'_>],
        fds: &[BorrowedFd<'_>],
        flags: SendFlags,
    ) -> Result<()> {
        let text = message(states);
        match &self.channel {
            Channel::Unix(socket, address) => {
                send_datagram(socket.as_fd(), address, &text, fds, flags)
            }
            Channel::Vsock(..) if !fds.is_empty() => Err(Errno::OPNOTSUPP),
            Channel::Vsock(cid, port, style) => send_vsock(*cid, *port, *style, &text),
        }
        .map_err(|error| failed(&self.target, &format!("send {} to", Summary(states)), error))
    }
}

/// The keys of a message in one line: `READY=1` or `FDSTORE=1 FDNAME=x`.
struct Summary<'a>(&'a [State<'a>]);

impl fmt::Display for Summary<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&message(self.0).replace('\n', " "))
    }
}

fn unix_channel(name: &UnixName) -> Result<Channel, Errno> {
    let address = match name {
        UnixName::Path(path) => SocketAddrUnix::new(path.as_path())?,
        UnixName::Abstract(name) => SocketAddrUnix::new_abstract_name(name)?,
    };
    let socket = rustix::net::socket_with(
        rustix::net::AddressFamily::UNIX,
        rustix::net::SocketType::DGRAM,
        rustix::net::SocketFlags::CLOEXEC,
        None,
    )?;
    SockRef::from(&socket).set_write_timeout(Some(SEND_TIMEOUT)).map_err(errno)?;
    Ok(Channel::Unix(socket, address))
}

fn send_datagram(
    socket: BorrowedFd<'_>,
    address: &SocketAddrUnix,
    text: &str,
    fds: &[BorrowedFd<'_>],
    flags: SendFlags,
) -> Result<(), Errno> {
    if fds.len() > FDS_MAX {
        return Err(Errno::TOOBIG);
    }
    let mut space =
        vec![std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(fds.len()))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() {
        control.push(SendAncillaryMessage::ScmRights(fds));
    }
    let text = [IoSlice::new(text.as_bytes())];
    let flags = flags | SendFlags::NOSIGNAL;
    rustix::io::retry_on_intr(|| {
        rustix::net::sendmsg_addr(socket, address, &text, &mut control, flags)
    })
    .map(drop)
}

/// Each message has a connection of its own, whose end is the end of the message; that is how
/// the manager of a VM tells them apart.
fn send_vsock(cid: Cid, port: u32, style: Option<Style>, text: &str) -> Result<(), Errno> {
    let socket = match style {
        Some(style) => connect_vsock(cid, port, style)?,
        // QEMU's device has no datagrams, some others have no seqpacket either, and the transport
        // may say so only when it is asked to connect.
        None => connect_vsock(cid, port, Style::Datagram)
            .or_else(|error| fall_back(error, cid, port, Style::Seqpacket))
            .or_else(|error| fall_back(error, cid, port, Style::Stream))?,
    };
    let mut rest = text.as_bytes();
    while !rest.is_empty() {
        let sent =
            rustix::io::retry_on_intr(|| rustix::net::send(&socket, rest, SendFlags::NOSIGNAL))?;
        rest = &rest[sent..];
    }
    Ok(())
}

fn fall_back(error: Errno, cid: Cid, port: u32, style: Style) -> Result<Socket, Errno> {
    match error {
        Errno::NODEV | Errno::SOCKTNOSUPPORT | Errno::OPNOTSUPP | Errno::PROTONOSUPPORT => {
            connect_vsock(cid, port, style)
        }
        other => Err(other),
    }
}

fn connect_vsock(cid: Cid, port: u32, style: Style) -> Result<Socket, Errno> {
    let socket = Socket::new(Domain::VSOCK, style.socket_type(), None).map_err(errno)?;
    bind_privileged(&socket);
    socket.set_write_timeout(Some(SEND_TIMEOUT)).map_err(errno)?;
    socket.connect(&SockAddr::vsock(cid.0, port)).map_err(errno)?;
    Ok(socket)
}

/// A port below 1024 proves to the receiver that a privileged process sends, see systemd(1) on
/// `vmm.notify_socket`. Without the privilege the kernel chooses the port.
fn bind_privileged(socket: &Socket) {
    for port in (1..1024).rev() {
        match socket.bind(&SockAddr::vsock(Cid::ANY.0, port)) {
            Err(error) if error.raw_os_error() == Some(libc::EADDRINUSE) => {}
            _ => return,
        }
    }
}

fn hang_up(read: BorrowedFd<'_>, timeout: Duration) -> Result<(), Errno> {
    let start = std::time::Instant::now();
    loop {
        let left = timeout.saturating_sub(start.elapsed());
        // More seconds than the kernel counts are for ever.
        let left = Timespec::try_from(left).ok();
        // Nothing is asked for: the hang-up is reported all the same, see poll(2).
        let mut fds = [PollFd::from_borrowed_fd(read, PollFlags::empty())];
        match rustix::event::poll(&mut fds, left.as_ref()) {
            Err(Errno::INTR) => {}
            Err(error) => return Err(error),
            Ok(0) => return Err(Errno::TIMEDOUT),
            Ok(_) => return Ok(()),
        }
    }
}

fn errno(error: io::Error) -> Errno {
    Errno::from_io_error(&error).unwrap_or(Errno::IO)
}

fn failed(target: &NotifySocket, attempted: &str, errno: Errno) -> Error {
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
            "nobody reads it any more: unset the NOTIFY_SOCKET that a parent process left behind"
        }
        Errno::ACCESS | Errno::PERM => {
            "allow this user, and its SELinux or AppArmor domain, to write to the socket"
        }
        Errno::PROTOTYPE => "a datagram socket has to listen there, as the service manager's does",
        Errno::AGAIN => "its queue is full: see why the service manager does not read it",
        Errno::TOOBIG => "send at most 253 file descriptors at once",
        Errno::TIMEDOUT if unix => {
            "the receiver kept the descriptor: NotifyAccess= has to allow this process, and a \
             container engine has to hand its own socket on (Notify=true)"
        }
        Errno::OPNOTSUPP if !unix => "file descriptors cannot be sent over vsock",
        Errno::AFNOSUPPORT => "load the kernel's vsock module",
        Errno::NODEV | Errno::NETUNREACH | Errno::ADDRNOTAVAIL => {
            "no vsock transport reaches that CID: load vsock_loopback for local, or give the VM a \
             vsock device"
        }
        Errno::SOCKTNOSUPPORT => "the vsock transport lacks this socket type: try vsock-stream:",
        Errno::CONNRESET | Errno::TIMEDOUT | Errno::CONNREFUSED => {
            "see whether that vsock CID is the receiver's and whether it listens on that port"
        }
        _ => return None,
    })
}
