//! From addresses to bound sockets.

use std::io;

use socket2::{Domain, SockAddr, Socket, Type};

use super::unix_file::{self, SocketFile};
use super::{Bound, explain};
use crate::address::{Address, Host, Inet, Style, UnixName, domain_of};
use crate::error::{ErrorKind, Result};

/// The system call that failed on the way to a bound socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Socket,
    Bind,
    Listen,
}

/// What the kernel answered, and to which call.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) step: Step,
    pub(super) error: io::Error,
}

/// Binds each address; a host name that has several addresses gives a socket for each.
///
/// A socket is called by its name of `names`: one for all, or one for each address in turn.
/// Without names it is called by the scheme of its address.
pub(super) fn bind_all(
    addresses: &[Address],
    names: &[String],
    backlog: i32,
) -> Result<Vec<Bound>> {
    let mut sockets = Vec::with_capacity(addresses.len());
    for (index, address) in addresses.iter().enumerate() {
        let name = match names {
            [] => address.scheme(),
            [name] => name,
            names => &names[index],
        };
        for target in numeric(address)? {
            let bound = bind(&target, backlog, name);
            sockets.push(bound.map_err(|failure| explain::error(&target, failure))?);
        }
    }
    Ok(sockets)
}

/// The address itself or, for a host name, the addresses that it stands for.
fn numeric(address: &Address) -> Result<Vec<Address>> {
    let resolved = address.resolve().map_err(|error| error.of_kind(ErrorKind::Bind))?;
    let Address::Inet(inet, Host::Name(_), _) = address else { return Ok(vec![address.clone()]) };
    let ips = resolved.iter().filter_map(SockAddr::as_socket);
    Ok(ips.map(|ip| Address::from_ip(*inet, ip)).collect())
}

/// A socket bound to `address` and, unless it is a datagram socket, listening.
pub(super) fn bind(address: &Address, backlog: i32, name: &str) -> Result<Bound, Failure> {
    let at = |step| move |error| Failure { step, error };
    let sockaddr = first_sockaddr(address).map_err(at(Step::Bind))?;
    let r#type = address.style().socket_type();
    // Socket::new sets close-on-exec from birth.
    let socket =
        Socket::new(domain_of(&sockaddr), r#type, address.protocol()).map_err(at(Step::Socket))?;
    set_options(&socket, address, &sockaddr).map_err(at(Step::Socket))?;
    bind_to(&socket, address, &sockaddr).map_err(at(Step::Bind))?;
    let file = match address {
        Address::Unix(_, UnixName::Path(path)) => SocketFile::bound(path),
        _ => SocketFile::NONE,
    };
    if r#type != Type::DGRAM {
        socket.listen(backlog).map_err(at(Step::Listen))?;
    }
    let actual = Address::of_socket(&socket).ok().flatten().unwrap_or_else(|| address.clone());
    Ok(Bound { fd: socket.into(), address: Some(actual), name: name.to_owned(), file })
}

fn first_sockaddr(address: &Address) -> io::Result<SockAddr> {
    let resolved = address.resolve().map_err(|error| match error.io() {
        Some(answer) => io::Error::new(answer.kind(), answer.to_string()),
        None => io::Error::other(error.to_string()),
    })?;
    resolved.into_iter().next().ok_or_else(|| io::Error::other("it stands for no address"))
}

fn set_options(socket: &Socket, address: &Address, sockaddr: &SockAddr) -> io::Result<()> {
    // The kernel then tells who sent each datagram, the first one included, and only who is known
    // can be answered safely: systemd.socket(5), PassCredentials=.
    if let Address::Unix(Style::Datagram, _) = address {
        rustix::net::sockopt::set_socket_passcred(socket, true)?;
    }
    let Address::Inet(inet, ..) = address else { return Ok(()) };
    // Connections of the last run that are in TIME_WAIT do not keep the port. A datagram socket
    // must not have it: there it lets two processes share a port, of which one gets nothing.
    if address.style() == Style::Stream {
        socket.set_reuse_address(true)?;
    }
    // The default is the sysctl net.ipv6.bindv6only; `[::]` means every address here, always.
    if domain_of(sockaddr) == Domain::IPV6 && *inet != Inet::SctpSeqpacket {
        socket.set_only_v6(false)?;
    }
    Ok(())
}

fn bind_to(socket: &Socket, address: &Address, sockaddr: &SockAddr) -> io::Result<()> {
    let Err(error) = socket.bind(sockaddr) else { return Ok(()) };
    match address {
        Address::Unix(_, UnixName::Path(path))
            if error.raw_os_error() == Some(libc::EADDRINUSE) && unix_file::remove_stale(path)? =>
        {
            log::info!("{address}: replaced a socket file that nobody listens on");
            socket.bind(sockaddr)
        }
        _ => Err(error),
    }
}
