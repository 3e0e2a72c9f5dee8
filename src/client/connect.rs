//! From an address to a connection, within a deadline.

use std::io;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use rustix::event::PollFlags;
use socket2::{Domain, SockAddr, Socket, Type};

use super::{Connection, Deadline, Failure, Symptom, mux, nearby, unix_path};
use crate::address::{Address, Cid, Inet, Style, UnixName, domain_of};
use crate::error::ErrorKind;

/// Connects to `address`: to each address of a host name in turn, until one answers. A UDP socket
/// learns of a refusal only after a send, so there an [`Exchange`](super::Exchange) that is refused
/// tries the next address, and an address of this machine that has a socket comes first.
///
/// A datagram socket is connected too, so that it learns of a refusal and receives from no other
/// sender. A unix datagram socket is bound to a name that the kernel chooses (autobind, unix(7)),
/// because a server can answer only a socket with a name. That name is abstract, so it belongs to
/// the network namespace in which the sockets were made: a server in a container, which got its
/// socket by activation, can reach it. It could not reach a path.
///
/// # Errors
///
/// The failure of the last address that was tried; see [`Symptom`].
pub fn connect(address: &Address, timeout: Duration) -> Result<Connection, Failure> {
    let deadline = Deadline::after(timeout);
    let mut targets = resolve(address, deadline)?;
    if let (Address::Inet(inet, ..), Style::Datagram, 2..) =
        (address, address.style(), targets.len())
    {
        let is_served = |ip| nearby::is_served(&Address::from_ip(*inet, ip));
        targets.sort_by_cached_key(|target| !target.as_socket().is_some_and(is_served));
    }
    connect_to_one_of(address, &targets, deadline)
}

/// Connects to each target in turn, until one answers.
pub(super) fn connect_to_one_of(
    address: &Address,
    mut targets: &[SockAddr],
    deadline: Deadline,
) -> Result<Connection, Failure> {
    let mut result =
        Err(Failure::new(Symptom::NotResolved, address, format!("resolve {address}: no address")));
    while let [target, untried @ ..] = targets {
        result = connect_to(address, target, deadline.share(targets.len()));
        if let Ok(connection) = &mut result {
            connection.untried = untried.to_vec();
            break;
        }
        targets = untried;
    }
    result
}

/// The resolver has its own time limits and takes no deadline. So it runs on another thread, which
/// is abandoned if it takes too long.
fn resolve(address: &Address, deadline: Deadline) -> Result<Vec<SockAddr>, Failure> {
    let failure = |symptom| Failure::new(symptom, address, format!("resolve {address}"));
    let answer = if address.needs_resolver() {
        let (sender, receiver) = mpsc::channel();
        let query = address.clone();
        std::thread::spawn(move || sender.send(query.resolve()));
        let patience = deadline.remaining().unwrap_or(Duration::MAX);
        receiver.recv_timeout(patience).map_err(|_| {
            failure(Symptom::NotResolved).because(io::Error::other("no answer in time"))
        })?
    } else {
        address.resolve()
    };
    answer.map_err(|error| {
        let symptom = match error.kind() {
            ErrorKind::Usage => Symptom::Failed,
            _ => Symptom::NotResolved,
        };
        // If no system call failed, the error is a complete message.
        if error.io().is_none() {
            return Failure::new(symptom, address, error.to_string());
        }
        failure(symptom).because(error.into_io())
    })
}

fn connect_to(
    address: &Address,
    target: &SockAddr,
    deadline: Deadline,
) -> Result<Connection, Failure> {
    let failure = |error: io::Error| {
        let symptom = Symptom::of_connect(address, &error);
        let mut message = format!("connect to {}", address.with_ip(target));
        if let (Symptom::PermissionDenied, Some(obstacle)) = (symptom, obstacle_to(address)) {
            message = format!("{message}: {obstacle}");
        }
        Failure::new(symptom, address, message).because(error).at(target)
    };
    require_loopback(address)?;
    let started = Instant::now();
    let socket = new_socket(address, domain_of(target)).map_err(failure)?;
    match address {
        Address::Unix(..) | Address::VsockMux(..) => connect_unix(&socket, target, deadline),
        _ => connect_in_background(&socket, target, deadline),
    }
    .map_err(failure)?;
    if let Address::Inet(Inet::Tcp | Inet::Mptcp, ..) = address {
        // Nagle's algorithm would delay the end of a message until the rest is acknowledged.
        // Without the option, the echo is only slower.
        let _ = socket.set_tcp_nodelay(true);
    }
    let mut connection = Connection {
        socket,
        address: address.clone(),
        connect_time: Duration::ZERO,
        target: target.clone(),
        untried: Vec::new(),
    };
    if let Address::VsockMux(_, port) = address {
        mux::handshake(&connection, *port, deadline)?;
    }
    connection.connect_time = started.elapsed();
    Ok(connection)
}

fn obstacle_to(address: &Address) -> Option<String> {
    match address {
        Address::Unix(_, UnixName::Path(path)) | Address::VsockMux(UnixName::Path(path), _) => {
            unix_path::obstacle(path)
        }
        _ => None,
    }
}

fn new_socket(address: &Address, domain: Domain) -> io::Result<Socket> {
    let style = match address.style() {
        // A one-to-many socket needs the peer's address for each send, and fails with `EPIPE`
        // without it. A one-to-one socket speaks the same protocol and has one peer (RFC 6458).
        Style::Seqpacket if !address.kind().has_connections() => Style::Stream,
        style => style,
    };
    let r#type = style.socket_type().cloexec().nonblocking();
    let socket = Socket::new_raw(domain, r#type, address.protocol())?;
    if let Address::Unix(Style::Datagram, _) = address {
        // An address with only a family requests autobind.
        socket.bind(&SockAddr::unix("")?)?;
    }
    Ok(socket)
}

/// connect(2) of a unix socket does not run in the background: with a full backlog, non-blocking
/// mode fails with `EAGAIN`, and no event tells when to retry. Blocking mode waits, at most for the
/// send timeout.
fn connect_unix(socket: &Socket, target: &SockAddr, deadline: Deadline) -> io::Result<()> {
    socket.set_nonblocking(false)?;
    loop {
        // A shorter timeout could round to 0, which means no limit.
        let timeout = deadline.remaining().map(|left| left.max(Duration::from_millis(1)));
        socket.set_write_timeout(timeout)?;
        match socket.connect(target) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // The send timeout ends like this.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                return Err(io::ErrorKind::TimedOut.into());
            }
            result => {
                result?;
                return socket.set_nonblocking(true);
            }
        }
    }
}

fn connect_in_background(socket: &Socket, target: &SockAddr, deadline: Deadline) -> io::Result<()> {
    match socket.connect(target) {
        Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => {
            deadline.wait(socket, PollFlags::OUT)?;
            socket.take_error()?.map_or(Ok(()), Err)
        }
        result => result,
    }
}

/// Without a loopback transport, the kernel of a VM sends packets for CID 1 to the host, which
/// never answers.
fn require_loopback(address: &Address) -> Result<(), Failure> {
    match address {
        Address::Vsock(_, Cid::LOCAL, _) if !has_vsock_loopback() => Err(Failure::new(
            Symptom::NoTransport,
            address,
            format!("connect to {address}: the kernel has no vsock loopback transport"),
        )),
        _ => Ok(()),
    }
}

/// Whether the kernel has the vsock loopback transport: only then can a socket be bound to CID 1.
/// Also true without AF_VSOCK, for which connect(2) has an error of its own.
pub(crate) fn has_vsock_loopback() -> bool {
    let Ok(socket) = Socket::new(Domain::VSOCK, Type::STREAM, None) else { return true };
    let bound = socket.bind(&SockAddr::vsock(Cid::LOCAL.0, libc::VMADDR_PORT_ANY));
    !bound.is_err_and(|error| error.raw_os_error() == Some(libc::EADDRNOTAVAIL))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_backlog_ends_at_the_deadline() {
        let name = format!("unix:@backlog-{}", std::process::id());
        let listener = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
        let target: Address = name.parse().unwrap();
        listener.bind(&target.resolve().unwrap()[0]).unwrap();
        listener.listen(0).unwrap();
        let _first = connect(&target, Duration::from_secs(5)).unwrap();
        let failure = connect(&target, Duration::from_millis(20)).unwrap_err();
        assert_eq!(failure.symptom, Symptom::ConnectTimeout, "{failure}");
    }
}
