//! Limits how many connections one source has, as MaxConnectionsPerSource= of systemd.socket(5)
//! does where systemd itself accepts.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use socket2::SockRef;

use super::pace::Pace;
use crate::address::Cid;
use crate::sys::option;

/// Where connections come from: what one stranger can have many addresses of is one source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Source {
    /// An address; one that is mapped to IPv6 is the same.
    Ipv4([u8; 4]),
    /// A network of 64 bits: it is what one host has at least (RFC 4291, section 2.5.4).
    Ipv6([u8; 8]),
    /// A user of unix sockets, as our user namespace sees it.
    Unix(u32),
    Vsock(u32),
    /// A family of which the kernel reports no address.
    Other,
}

impl Source {
    /// The source of a connection.
    ///
    /// # Errors
    ///
    /// Those of getpeername(2): `ENOTCONN` if the peer has reset the connection.
    pub(super) fn of(connection: impl AsFd) -> io::Result<Self> {
        let peer = SockRef::from(&connection).peer_addr()?;
        if peer.is_unix() {
            return option::peer_user(connection.as_fd()).map(Self::Unix);
        }
        let vsock = || peer.as_vsock_address().map_or(Self::Other, |(cid, _)| Self::Vsock(cid));
        Ok(peer.as_socket().map_or_else(vsock, |peer| Self::of_ip(peer.ip())))
    }

    fn of_ip(ip: IpAddr) -> Self {
        match ip.to_canonical() {
            IpAddr::V4(ip) => Self::Ipv4(ip.octets()),
            IpAddr::V6(ip) => {
                let [network @ .., _, _, _, _, _, _, _, _] = ip.octets();
                Self::Ipv6(network)
            }
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Ipv4(octets) => Ipv4Addr::from(octets).fmt(f),
            Self::Ipv6(network) => {
                let network = u128::from(u64::from_be_bytes(network)) << 64;
                write!(f, "{}/64", Ipv6Addr::from_bits(network))
            }
            Self::Unix(user) => write!(f, "user {user}"),
            Self::Vsock(cid) => write!(f, "CID {}", Cid(cid)),
            Self::Other => f.write_str("an unknown source"),
        }
    }
}

/// The connections of each source, over all workers. It is used when a connection is accepted and
/// when it ends, and only if there is a limit.
#[derive(Debug)]
pub(super) struct PerSource {
    most: u32,
    /// A source is here only while it has connections, so strangers cannot make it grow beyond the
    /// limit of connections.
    sources: Mutex<BTreeMap<Source, Counted>>,
    lines: Pace,
}

#[derive(Debug)]
struct Counted {
    connections: u32,
    place: Arc<Place>,
}

/// What all connections of a source share, so that each needs no more than a pointer.
#[derive(Debug)]
struct Place {
    source: Source,
    all: Arc<PerSource>,
}

/// A connection of a source. Dropping it makes room for another one.
#[derive(Debug)]
pub(super) struct SourcePermit(Arc<Place>);

impl PerSource {
    /// A limit of `most` connections; `None` if that is no limit.
    pub(super) fn new(most: u32) -> Option<Arc<Self>> {
        let (sources, lines) = Default::default();
        (most < u32::MAX).then(|| Arc::new(Self { most, sources, lines }))
    }

    /// A permit for one more connection of the source; `None` if it has as many as it may.
    pub(super) fn take(self: &Arc<Self>, source: Source) -> Option<SourcePermit> {
        self.take_below(self.most, source)
    }

    /// A permit for a connection that already exists, even beyond the limit.
    pub(super) fn take_beyond(self: &Arc<Self>, source: Source) -> Option<SourcePermit> {
        self.take_below(u32::MAX, source)
    }

    fn take_below(self: &Arc<Self>, most: u32, source: Source) -> Option<SourcePermit> {
        let mut sources = self.lock();
        let counted = sources.entry(source).or_insert_with(|| Counted {
            connections: 0,
            place: Arc::new(Place { source, all: Arc::clone(self) }),
        });
        if counted.connections >= most {
            return None;
        }
        counted.connections += 1;
        Some(SourcePermit(Arc::clone(&counted.place)))
    }

    /// Logs that a connection was refused, at most once a second.
    pub(super) fn tell(&self, source: Source, name: &str) {
        let Some(count) = self.lines.line(Instant::now(), 1) else { return };
        let most = self.most;
        let others = match count {
            1 => String::new(),
            count => format!("; {} more were refused since the last such line", count - 1),
        };
        log::warn!(
            "refused a connection on {name} from {source}, which has {most} already{others}"
        );
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Source, Counted>> {
        self.sources.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for SourcePermit {
    fn drop(&mut self) {
        let mut sources = self.0.all.lock();
        let Some(counted) = sources.get_mut(&self.0.source) else { return };
        counted.connections -= 1;
        if counted.connections == 0 {
            sources.remove(&self.0.source);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_host_can_have_many_of_is_one_source() {
        let (unix, _peer) = std::os::unix::net::UnixStream::pair().expect("socketpair(2)");
        let user = rustix::process::getuid().as_raw();
        assert_eq!(Source::of(&unix).expect("it is connected"), Source::Unix(user));
        for (address, is) in [
            ("127.0.0.1", "127.0.0.1"),
            ("::ffff:192.0.2.7", "192.0.2.7"),
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
            ("::1", "::/64"),
        ] {
            let ip = address.parse().expect("an address");
            assert_eq!(Source::of_ip(ip).to_string(), is);
        }
        assert_eq!(Source::Unix(7).to_string(), "user 7");
        assert_eq!(Source::Vsock(7).to_string(), "CID 7");
    }

    #[test]
    fn a_source_is_known_only_while_it_has_connections() {
        assert!(PerSource::new(u32::MAX).is_none(), "no limit costs nothing");
        let all = PerSource::new(2).expect("a limit");
        let (one, other) = (Source::Unix(1), Source::Unix(2));
        let first = all.take(one).expect("the first of two");
        let beyond = all.take_beyond(one).expect("it exists already");
        assert!(all.take(one).is_none() && all.take(other).is_some(), "each has its own");
        let more = all.take_beyond(one);
        drop(beyond);
        assert!(all.take(one).is_none(), "there are still two");
        drop(first);
        drop((all.take(one).expect("there is room"), more));
        assert!(all.lock().is_empty());
        assert_eq!(Arc::strong_count(&all), 1, "nobody holds it");
    }

    #[test]
    fn threads_count_together() {
        let (all, one) = (PerSource::new(3).expect("a limit"), Source::Unix(1));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..1000 {
                        let permits = [0; 3].map(|_| all.take(one));
                        // If this thread got none, the others may have given theirs back by now.
                        let counted = all.lock().get(&one).map_or(0, |one| one.connections);
                        assert!(permits.iter().flatten().count() <= counted as usize);
                        assert!(counted <= 3);
                    }
                });
            }
        });
        assert!(all.lock().is_empty());
    }
}
