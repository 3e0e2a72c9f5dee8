//! From addresses to bound sockets.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use socket2::{Domain, SockAddr, SockRef, Socket, Type};

use super::explain::{self, Step};
use super::unix_file::{self, SocketFile};
use crate::address::{Address, Host, Inet, Style, UnixName, domain_of};
use crate::error::{ErrorKind, Result};

/// A socket to hand over. The file that was made for it, if it is a unix socket with a path, is
/// removed when this is dropped.
#[derive(Debug)]
pub struct Bound {
    pub(super) fd: OwnedFd,
    address: Option<Address>,
    pub(super) name: String,
    is_listener: bool,
    pub(super) file: SocketFile,
}

impl Bound {
    /// A socket bound to `address`, or to the first one that a host name stands for, and, unless it
    /// is a datagram socket, listening with this backlog. `name` is what `LISTEN_FDNAMES` calls it:
    /// printable ASCII without a colon, see [`FdName`](crate::notify::FdName).
    ///
    /// The file of a unix socket that no process has any more is replaced; another one never is.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Bind`], with who has the address or what else is in the way.
    pub fn new(address: &Address, backlog: i32, name: &str) -> Result<Self> {
        let failed = |step| move |error| explain::error(address, step, error);
        let sockaddr = resolve(address)?.swap_remove(0);
        let r#type = address.style().socket_type();
        // Socket::new sets close-on-exec from birth.
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

    /// A socket that was made elsewhere. Its file, if it has one, is left alone.
    pub fn from_fd(fd: impl Into<OwnedFd>, name: &str) -> Self {
        let fd = fd.into();
        let address = Address::of_socket(&fd).ok().flatten();
        let is_listener = SockRef::from(&fd).is_listener().unwrap_or(false);
        Self { fd, address, name: name.to_owned(), is_listener, file: SocketFile::default() }
    }

    /// The address as the kernel has it: with the port that was chosen, if it was 0. `None` for a
    /// socket that has no address of our grammar.
    pub fn address(&self) -> Option<&Address> {
        self.address.as_ref()
    }

    /// What `LISTEN_FDNAMES` calls it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether connections can be accepted from it, or could be when this was made: another holder
    /// may have shut it down since.
    pub fn is_listener(&self) -> bool {
        self.is_listener
    }

    /// Leaves the file of a unix socket where it is.
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

/// The sockets of an address: a host name that has several addresses gives a socket for each.
///
/// # Errors
///
/// A name that is not resolved, and those of [`Bound::new`].
pub fn bind(address: &Address, backlog: i32, name: &str) -> Result<Vec<Bound>> {
    let Address::Inet(inet, Host::Name(_), _) = address else {
        return Ok(vec![Bound::new(address, backlog, name)?]);
    };
    let resolved = resolve(address)?;
    let ips = resolved.iter().filter_map(SockAddr::as_socket);
    ips.map(|ip| Bound::new(&Address::from_ip(*inet, ip), backlog, name)).collect()
}

/// One or more.
fn resolve(address: &Address) -> Result<Vec<SockAddr>> {
    address.resolve().map_err(|error| error.of_kind(ErrorKind::Bind))
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
