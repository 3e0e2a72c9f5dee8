//! From addresses to bound sockets.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use socket2::{Domain, SockAddr, SockRef, Socket, Type};

use super::explain::{self, Step};
use super::unix_file::{self, SocketFile};
use crate::address::{Address, Host, Inet, Style, UnixName, domain_of};
use crate::error::{ErrorKind, Result};

/// A socket to hand over. Dropping it removes the file that [`Bound::new`] made for a unix socket.
#[derive(Debug)]
pub struct Bound {
    pub(super) fd: OwnedFd,
    address: Option<Address>,
    pub(super) name: String,
    is_listener: bool,
    pub(super) file: SocketFile,
}

impl Bound {
    /// Binds a socket to `address`, or to the first address of a host name. Unless it is a datagram
    /// socket, it listens with this backlog. `name` is its name in `LISTEN_FDNAMES`: printable
    /// ASCII without a colon, see [`FdName`](crate::notify::FdName).
    ///
    /// It replaces the file of a unix socket that no process has open any more, and no other file.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Bind`], with the process that has the address, or what else prevents it.
    pub fn new(address: &Address, backlog: i32, name: &str) -> Result<Self> {
        let failed = |step| move |error| explain::error(address, step, error);
        let sockaddr = resolve(address)?.swap_remove(0);
        let r#type = address.style().socket_type();
        // `Socket::new` opens it close-on-exec.
        let socket = Socket::new(domain_of(&sockaddr), r#type, address.protocol())
            .map_err(failed(Step::Socket))?;
        set_options(&socket, address, &sockaddr).map_err(failed(Step::Socket))?;
        bind_to(&socket, address, &sockaddr).map_err(failed(Step::Bind))?;
        let file = match address {
            Address::Unix(_, UnixName::Path(path)) => SocketFile::bound(path),
            _ => SocketFile::default(),
        };
        let is_listener = r#type != Type::DGRAM;
        if is_listener {
            socket.listen(backlog).map_err(failed(Step::Listen))?;
        }
        let actual = Address::of_socket(&socket).ok().flatten();
        let address = Some(actual.unwrap_or_else(|| address.clone()));
        Ok(Self { fd: socket.into(), address, name: name.to_owned(), is_listener, file })
    }

    /// A socket that was made elsewhere. Dropping it leaves its file in place.
    pub fn from_fd(fd: impl Into<OwnedFd>, name: &str) -> Self {
        let fd = fd.into();
        let address = Address::of_socket(&fd).ok().flatten();
        let is_listener = SockRef::from(&fd).is_listener().unwrap_or(false);
        Self { fd, address, name: name.to_owned(), is_listener, file: SocketFile::default() }
    }

    /// The address that the kernel reports: instead of port 0, it has the port that the kernel
    /// chose. `None` for a socket that the address grammar does not have.
    pub fn address(&self) -> Option<&Address> {
        self.address.as_ref()
    }

    /// Its name in `LISTEN_FDNAMES`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether it listened for connections when this was created. Another process may have shut it
    /// down since.
    pub fn is_listener(&self) -> bool {
        self.is_listener
    }

    /// Leaves the file of a unix socket in place when this is dropped.
    pub fn keep_file(&mut self) {
        self.file.keep();
    }
}

impl AsFd for Bound {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.address {
            Some(address) => address.fmt(f),
            None => f.write_str("(a socket without an address)"),
        }
    }
}

/// Binds the sockets of an address: one for each address of a host name.
///
/// # Errors
///
/// The host name cannot be resolved, or those of [`Bound::new`].
pub fn bind(address: &Address, backlog: i32, name: &str) -> Result<Vec<Bound>> {
    let Address::Inet(inet, Host::Name(_), _) = address else {
        return Ok(vec![Bound::new(address, backlog, name)?]);
    };
    let resolved = resolve(address)?;
    let ips = resolved.iter().filter_map(SockAddr::as_socket);
    ips.map(|ip| Bound::new(&Address::from_ip(*inet, ip), backlog, name)).collect()
}

/// Returns at least one.
fn resolve(address: &Address) -> Result<Vec<SockAddr>> {
    address.resolve().map_err(|error| error.of_kind(ErrorKind::Bind))
}

fn set_options(socket: &Socket, address: &Address, sockaddr: &SockAddr) -> io::Result<()> {
    // With it, the kernel reports the sender of each datagram from the first one on. A server needs
    // the sender to answer safely: systemd.socket(5), `PassCredentials=`.
    if let Address::Unix(Style::Datagram, _) = address {
        rustix::net::sockopt::set_socket_passcred(socket, true)?;
    }
    let Address::Inet(inet, ..) = address else { return Ok(()) };
    // `SO_REUSEADDR`: connections in TIME_WAIT do not block the port. Not for datagram sockets:
    // there two processes could share a port, and one of them would get nothing.
    if address.style() == Style::Stream {
        socket.set_reuse_address(true)?;
    }
    // The default is the sysctl net.ipv6.bindv6only; `[::]` always includes IPv4.
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
