//! How clients on this machine reach a socket, as far as can be known in advance.

use std::net::{Ipv4Addr, Ipv6Addr};

use socket2::SockRef;

use crate::activator::Bound;
use crate::address::{Address, Host, Inet, Style};
use crate::client::has_vsock_loopback;

/// How a client reaches a socket.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Reach {
    /// At this address.
    At(Address),
    /// Over vsock, but the kernel lacks the loopback transport.
    NeedsVsockLoopback,
    /// It already has a peer, or has no address that a client can send to.
    Nobody,
}

impl Reach {
    pub(super) fn of(socket: &Bound) -> Self {
        let Some(address) = socket.address() else { return Self::Nobody };
        let serves = match address.style() {
            Style::Datagram => SockRef::from(socket).peer_addr().is_err(),
            Style::Stream | Style::Seqpacket => socket.is_listener(),
        };
        let client = address.to_client();
        match &client {
            _ if !serves => Self::Nobody,
            Address::Inet(_, _, 0) => Self::Nobody,
            Address::Inet(_, Host::V4(ip), _) if ip.is_multicast() || ip.is_broadcast() => {
                Self::Nobody
            }
            Address::Inet(_, Host::V6(ip, _), _) if ip.is_multicast() => Self::Nobody,
            // A socket of [::] accepts IPv4 too.
            Address::Inet(inet, Host::V6(..), port)
                if client != *address && !has_ipv6_loopback() =>
            {
                Self::At(Address::Inet(*inet, Host::V4(Ipv4Addr::LOCALHOST), *port))
            }
            // The loopback transport also carries connections to this machine's own CID.
            Address::Vsock(..) if !has_vsock_loopback() => Self::NeedsVsockLoopback,
            _ => Self::At(client),
        }
    }
}

/// Whether the machine has ::1: only then can a socket be bound to it.
fn has_ipv6_loopback() -> bool {
    let loopback = Address::Inet(Inet::Udp, Host::V6(Ipv6Addr::LOCALHOST, None), 0);
    let Err(error) = Bound::new(&loopback, 0, "") else { return true };
    error.io().and_then(std::io::Error::raw_os_error) != Some(libc::EADDRNOTAVAIL)
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream, UdpSocket};
    use std::os::unix::net::{UnixDatagram, UnixStream};

    use super::*;

    #[test]
    fn what_no_client_can_reach_is_not_suggested() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
        let connection = TcpStream::connect(listener.local_addr().expect("an address"));
        let udp = || UdpSocket::bind("127.0.0.1:0").expect("bind");
        let connected = udp();
        connected.connect(udp().local_addr().expect("an address")).expect("connect");
        let unbound = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::DGRAM, None);
        let multicast = UdpSocket::bind("224.0.0.1:0").expect("bind");
        for (what, socket) in [
            ("a connection", Bound::from_fd(connection.expect("connect"), "s")),
            ("a connected datagram socket", Bound::from_fd(connected, "s")),
            ("an unbound socket", Bound::from_fd(unbound.expect("a socket"), "s")),
            ("a group", Bound::from_fd(multicast, "s")),
            ("an unnamed socket", Bound::from_fd(UnixDatagram::unbound().expect("one"), "s")),
            ("a pair", Bound::from_fd(UnixStream::pair().expect("a pair").0, "s")),
        ] {
            assert_eq!(Reach::of(&socket), Reach::Nobody, "{what}");
        }
        for socket in [Bound::from_fd(listener, "s"), Bound::from_fd(udp(), "s")] {
            let address = socket.address().expect("an address").clone();
            assert_eq!(Reach::of(&socket), Reach::At(address));
        }
    }
}
