//! The sockets of the server, and how peers connect to them.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

use socket_activate_echo::activation::{InheritedSocket, SocketKind};
use socket2::{Domain, SockAddr, Socket, Type};

use crate::books::Books;
use crate::peer::Peer;
use crate::schedule::{Kind, Settings};

/// All of them. They are duplicates, as a service manager's are: so whoever waits in a backlog when
/// the server ends goes on waiting.
pub(crate) struct Doors {
    list: Vec<(Kind, Socket, SockAddr)>,
    buffer_bytes: usize,
    directory: tempfile::TempDir,
    /// How many peers there were.
    count: usize,
    /// The ports of UDP peers that are gone, and whose replies may still come.
    left: Vec<u16>,
}

/// The connections that a server is started with.
pub(crate) const INHERITED: [(Kind, u8); 4] = [
    (Kind::InheritedUnix, 0),
    (Kind::InheritedUnix, 1),
    (Kind::InheritedTcp, 0),
    (Kind::InheritedSeqpacket, 0),
];

impl Doors {
    pub(crate) fn open(settings: &Settings) -> Self {
        let directory = tempfile::Builder::new().prefix("sae").tempdir_in("/tmp");
        let directory = directory.expect("a directory");
        let mut doors = Self {
            list: Vec::new(),
            buffer_bytes: settings.kernel_buffer_bytes,
            directory,
            count: 0,
            left: Vec::new(),
        };
        for kind in [
            Kind::Unix,
            Kind::Tcp4,
            Kind::Tcp6,
            Kind::Seqpacket,
            Kind::Datagram,
            Kind::Udp4,
            Kind::Udp6,
        ] {
            doors.add(kind);
        }
        doors
    }

    fn add(&mut self, kind: Kind) {
        // Ports of clients that have ended are not in the way: they are on another address, or may
        // be used again.
        let address = match kind {
            Kind::Tcp4 | Kind::Udp4 => SocketAddr::from((Ipv4Addr::new(127, 0, 0, 2), 0)).into(),
            Kind::Tcp6 | Kind::Udp6 => SocketAddr::from((Ipv6Addr::LOCALHOST, 0)).into(),
            _ => SockAddr::unix(self.path(&format!("{kind:?}"))).expect("a short path"),
        };
        let socket = self.socket(kind, &address);
        if kind.is_tcp() {
            socket.set_reuse_address(true).expect("SO_REUSEADDR");
        }
        socket.bind(&address).expect("bind");
        if !kind.is_datagram() {
            socket.listen(4096).expect("listen");
        }
        let address = socket.local_addr().expect("an address");
        self.list.push((kind, socket, address));
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn socket(&self, kind: Kind, address: &SockAddr) -> Socket {
        let r#type = match kind {
            _ if kind.is_datagram() => Type::DGRAM,
            _ if kind.is_seqpacket() => Type::SEQPACKET,
            _ => Type::STREAM,
        };
        let socket = Socket::new(address.domain(), r#type, None).expect("a socket");
        self.limit_buffers(kind, &socket);
        socket
    }

    fn limit_buffers(&self, kind: Kind, socket: &Socket) {
        socket.set_send_buffer_size(self.buffer_bytes).expect("SO_SNDBUF");
        // What does not fit into a receive buffer of UDP is lost.
        if !kind.is_udp() {
            socket.set_recv_buffer_size(self.buffer_bytes).expect("SO_RCVBUF");
        }
    }

    /// A new peer; `None` if there is no room for one now.
    pub(crate) fn connect(&mut self, kind: Kind, slot: Option<u8>) -> Option<Peer> {
        let door = if kind == Kind::ConnectedDatagram { Kind::Datagram } else { kind };
        let address = &self.list.iter().find(|(kind, ..)| *kind == door)?.2;
        let socket = self.socket(kind, address);
        let mut path = None;
        if kind.is_tcp() {
            socket.set_reuse_address(true).expect("SO_REUSEADDR");
        } else {
            socket.set_nonblocking(true).expect("O_NONBLOCK");
        }
        if kind.is_datagram() && !kind.is_udp() {
            let own = self.path(&self.count.to_string());
            socket.bind(&SockAddr::unix(&own).expect("a short path")).expect("bind");
            path = Some(own);
        }
        let to = (kind == Kind::Datagram).then(|| address.clone());
        if to.is_none() {
            socket.connect(address).ok()?;
        }
        if kind.is_udp() && self.left.contains(&port(&socket)) {
            return self.connect(kind, slot);
        }
        socket.set_nonblocking(true).expect("O_NONBLOCK");
        let mut peer = self.peer(kind, slot, socket);
        (peer.to, peer.path) = (to, path);
        Some(peer)
    }

    /// A peer goes. Who had its port next would get what is owed to it.
    pub(crate) fn leave(&mut self, peer: &Peer) {
        if peer.kind.is_udp() && !peer.books.is_owed_nothing() {
            self.left.push(port(&peer.socket));
        }
    }

    fn peer(&mut self, kind: Kind, slot: Option<u8>, socket: Socket) -> Peer {
        self.count += 1;
        let number = self.count;
        let books = if kind.is_stream() {
            Books::of_stream(number)
        } else {
            // UDP promises no order.
            Books::of_messages(number, kind.is_udp())
        };
        let name = match slot {
            Some(slot) => format!("{kind:?} {slot}"),
            None => format!("{kind:?}, peer {number}"),
        };
        let (to, path, is_half_closed, end) = (None, None, false, None);
        let peer = Peer { kind, slot, name, socket, books, to, path, is_half_closed, end };
        if peer.asks_for_credentials() {
            rustix::net::sockopt::set_socket_passcred(&peer.socket, true).expect("SO_PASSCRED");
        }
        peer
    }

    /// Both ends of a connection that the server is started with: ours, and the server's.
    pub(crate) fn inherited(&mut self, kind: Kind, slot: u8) -> (Peer, OwnedFd) {
        let (ours, theirs) = match kind {
            Kind::InheritedTcp => {
                let (_, listener, address) =
                    self.list.iter().find(|(kind, ..)| *kind == Kind::Tcp4).expect("it is open");
                let ours = self.socket(kind, address);
                ours.connect(address).expect("connect");
                (ours, listener.accept().expect("accept").0)
            }
            _ => {
                let r#type = if kind.is_seqpacket() { Type::SEQPACKET } else { Type::STREAM };
                Socket::pair(Domain::UNIX, r#type, None).expect("socketpair(2)")
            }
        };
        for socket in [&ours, &theirs] {
            self.limit_buffers(kind, socket);
        }
        ours.set_nonblocking(true).expect("O_NONBLOCK");
        // Some managers hand over sockets that wait, and some that do not.
        theirs.set_nonblocking(slot == 0).expect("O_NONBLOCK");
        (self.peer(kind, Some(slot), ours), theirs.into())
    }

    /// What the server is handed.
    pub(crate) fn duplicates(&self) -> Vec<InheritedSocket> {
        let sockets = self.list.iter().map(|(_, socket, _)| socket.try_clone().expect("dup"));
        sockets.map(|socket| inherited(socket.into())).collect()
    }
}

fn port(socket: &Socket) -> u16 {
    let address = socket.local_addr().expect("an address");
    address.as_socket().map_or(0, |address| address.port())
}

/// A socket as `activation` would have taken it.
pub(crate) fn inherited(fd: OwnedFd) -> InheritedSocket {
    let kind = SocketKind::of(fd.as_fd()).expect("a socket");
    let service = kind.service().expect("it can be served");
    InheritedSocket { fd, name: "test".to_owned(), kind, service }
}
