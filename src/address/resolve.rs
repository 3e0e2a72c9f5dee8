//! From an [`Address`] to the `sockaddr`s to try, in the order of the resolver.

use std::io;
use std::net::{SocketAddr, SocketAddrV4, SocketAddrV6, ToSocketAddrs};

use rustix::net::netdevice::name_to_index;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
use socket2::SockAddr;

use super::{Address, Host};
use crate::error::{Error, ErrorKind, Result};

impl Address {
    /// The address as text. A host name is followed by the IP address of `target`.
    #[cfg(feature = "cli")]
    pub(crate) fn with_ip(&self, target: &SockAddr) -> String {
        match target.as_socket() {
            Some(ip) if self.needs_resolver() => format!("{self} ({ip})"),
            _ => self.to_string(),
        }
    }

    /// Whether [`Address::resolve`] asks the resolver, which may take long.
    pub fn needs_resolver(&self) -> bool {
        matches!(self, Self::Inet(_, Host::Name(_), _))
    }

    /// The `sockaddr`s to bind or connect to: for a host name one for each of its addresses,
    /// otherwise one. Asks the resolver only for a host name.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Connect`] if a name is not resolved or a scope names no interface.
    pub fn resolve(&self) -> Result<Vec<SockAddr>> {
        match self {
            Self::Inet(_, host, port) => {
                let ips = host.resolve(*port).map_err(|error| self.unresolved(error))?;
                Ok(ips.into_iter().map(SockAddr::from).collect())
            }
            Self::Unix(_, name) | Self::VsockMux(name, _) => name
                .to_sockaddr()
                .map(|addr| vec![addr])
                .map_err(|error| Error::new(ErrorKind::Usage, self.to_string()).because(error)),
            Self::Vsock(_, cid, port) => Ok(vec![SockAddr::vsock(cid.0, *port)]),
        }
    }

    fn unresolved(&self, error: io::Error) -> Error {
        let remedy = match self {
            Self::Inet(_, Host::V6(_, Some(_)), _) => {
                "write an interface that `ip link` lists, or its number, after the %"
            }
            _ => {
                "check the spelling, or use a numeric address; a container with --network=none \
                 reaches no name server"
            }
        };
        Error::new(ErrorKind::Connect, format!("resolve {self}")).because(error).remedy(remedy)
    }
}

impl Host {
    fn resolve(&self, port: u16) -> io::Result<Vec<SocketAddr>> {
        match self {
            Self::V4(ip) => Ok(vec![SocketAddrV4::new(*ip, port).into()]),
            Self::V6(ip, scope) => {
                let scope = scope.as_deref().map_or(Ok(0), interface_index)?;
                Ok(vec![SocketAddrV6::new(*ip, port, 0, scope).into()])
            }
            Self::Name(name) => {
                let ips: Vec<_> = (name.as_str(), port).to_socket_addrs()?.collect();
                if ips.is_empty() {
                    return Err(io::Error::other("the name has no address"));
                }
                Ok(ips)
            }
        }
    }
}

fn interface_index(scope: &str) -> io::Result<u32> {
    if let Ok(index) = scope.parse() {
        return Ok(index);
    }
    // Any socket gives the network namespace of this process; /sys may show another one.
    let socket = socket_with(AddressFamily::UNIX, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
    name_to_index(socket, scope)
        .map_err(|_| io::Error::new(io::ErrorKind::NotFound, format!("no interface `{scope}`")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_is_the_number_of_an_interface_of_this_network_namespace() {
        // The loopback interface is the first one of each.
        for (scope, index) in [("lo", Some(1)), ("1", Some(1)), ("no-such-name", None)] {
            assert_eq!(interface_index(scope).ok(), index, "{scope}");
        }
    }
}
