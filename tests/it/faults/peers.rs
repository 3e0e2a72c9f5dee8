//! The peers of the server while its calls fail: every family, under every load, in one thread.
//! Each peer verifies every byte of the echo.

use std::io::{self, ErrorKind, Read};
use std::net::Shutdown;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::event::PollFlags;
use rustix::net::sockopt::set_socket_send_buffer_size_force;
use socket_activate_echo::address::{Address, Inet, Style, domain_of};
use socket2::{SockAddr, Socket};

use super::talk::{MESSAGE_MAX, Messages, Stream};

/// How a peer uses its socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Load {
    /// One message or chunk at a time.
    PingPong,
    /// A socket for each chunk or message. A peer of a stream ends first, and has to see the
    /// server's end; one that sends datagrams has every name twice.
    Churn,
    /// Much at once, and it reads only when nobody takes any more: the buffers are full, sends are
    /// partial, and the server comes to splice.
    Bulk,
    /// Many datagrams, and it reads only when all of them are sent: the queue of a unix socket is
    /// full.
    Burst,
    /// The same as `Bulk` at first; then it reads no more, and resets the connection once nobody
    /// takes any more.
    Quit,
}

impl Load {
    fn for_address(address: &Address) -> &'static [Self] {
        match (address.style(), address) {
            (Style::Datagram, Address::Unix(..)) => &[Self::PingPong, Self::Churn, Self::Burst],
            (Style::Datagram, _) => &[Self::PingPong, Self::Burst],
            (Style::Stream, Address::Inet(Inet::Tcp, ..) | Address::Unix(..)) => {
                &[Self::PingPong, Self::Churn, Self::Bulk, Self::Quit]
            }
            _ => &[Self::PingPong, Self::Churn],
        }
    }

    /// How many rounds are enough to see that a peer is still served.
    pub(super) fn rounds(self) -> u64 {
        match self {
            Self::PingPong => 8,
            Self::Churn | Self::Burst => 3,
            // The one that had begun before, and a whole one.
            Self::Bulk | Self::Quit => 2,
        }
    }

    pub(super) fn is_bulk(self) -> bool {
        matches!(self, Self::Bulk | Self::Quit)
    }

    /// Bytes of a round of a stream. For `Bulk` this is more than it takes to be spliced, and for
    /// `Quit` more than all buffers on the way hold besides.
    fn bytes(self) -> usize {
        match self {
            Self::Bulk => 3 << 20,
            Self::Quit => 64 << 20,
            _ => 64,
        }
    }

    /// Messages of a round. The queue of a unix datagram socket has room for ten by default.
    fn messages(self) -> usize {
        if self == Self::Burst { 24 } else { 1 }
    }
}

/// So many turns in which nobody takes any more bytes, and the buffers are full.
const TURNS_STUCK: u32 = 4;
/// What one that quits reads before it does: it is spliced by then.
const QUITS_AFTER: usize = 5 << 19;
/// A datagram peer that hears nothing for so long sends another datagram, whose reply tells that
/// the one before is lost. This decides nothing but when that is found out.
const SILENCE: Duration = Duration::from_millis(300);
const OUTSTANDING_MAX: usize = 64;

pub(super) struct Peer<'a> {
    id: u32,
    pub(super) address: &'a Address,
    pub(super) load: Load,
    dir: &'a Path,
    socket: Socket,
    /// Where to send to, if the socket is not connected.
    receiver: Option<SockAddr>,
    talk: Talk,
    /// How many sockets it has had before.
    sockets: usize,
    pub(super) rounds: u64,
    /// What went wrong, one line for each connection or message that it cost.
    pub(super) losses: Vec<String>,
    last_progress: Instant,
}

enum Talk {
    Stream(Stream),
    Messages(Messages),
}

/// One of each load for each address.
pub(super) fn all<'a>(
    addresses: &'a [Address],
    dir: &'a Path,
    first: u32,
    chosen: impl Fn(Load) -> bool,
) -> Vec<Peer<'a>> {
    let loads = addresses
        .iter()
        .flat_map(|address| Load::for_address(address).iter().map(move |load| (address, *load)));
    let loads = loads.filter(|(_, load)| chosen(*load));
    (first..).zip(loads).map(|(id, (address, load))| Peer::new(id, address, load, dir)).collect()
}

impl<'a> Peer<'a> {
    fn new(id: u32, address: &'a Address, load: Load, dir: &'a Path) -> Self {
        let path = dir.join(format!("c{id}-0"));
        let socket = connect(address, load, &path).expect("the server listens");
        let receiver = (!is_connected(address, load)).then(|| sockaddr(address));
        let talk = Talk::new(id, address, load, 0);
        let (losses, last_progress) = (Vec::new(), Instant::now());
        Self {
            id,
            address,
            load,
            dir,
            socket,
            receiver,
            talk,
            sockets: 0,
            rounds: 0,
            losses,
            last_progress,
        }
    }

    pub(super) fn name(&self) -> String {
        let scheme = self.address.to_string();
        format!("{:?} over {}", self.load, scheme.split(':').next().unwrap_or_default())
    }

    pub(super) fn socket(&self) -> &Socket {
        &self.socket
    }

    /// Whether its queue is full at times, so that the server keeps what it sends.
    pub(super) fn lets_replies_wait(&self) -> bool {
        self.receiver.is_some()
    }

    /// Whether nothing is on its way.
    pub(super) fn is_quiet(&self) -> bool {
        match &self.talk {
            // One that quits has always more to do, and only once it has begun.
            Talk::Stream(_) if self.load == Load::Quit => true,
            Talk::Stream(stream) => stream.received == stream.goal && !stream.is_closing,
            Talk::Messages(messages) => messages.to_send + messages.outstanding.len() == 0,
        }
    }

    pub(super) fn interest(&self) -> PollFlags {
        let sends = match &self.talk {
            Talk::Stream(stream) => stream.sent < stream.goal,
            Talk::Messages(messages) => messages.to_send > 0,
        };
        // A socket that is not connected is always writable, whatever the receiver's queue holds.
        let waits_to_send = sends && self.receiver.is_none();
        if waits_to_send { PollFlags::IN | PollFlags::OUT } else { PollFlags::IN }
    }

    /// Whether a turn may do something although no event tells of it.
    pub(super) fn is_due(&self) -> bool {
        let stuck = match &self.talk {
            Talk::Stream(stream) => stream.turns_stuck,
            Talk::Messages(messages) => messages.turns_stuck,
        };
        self.is_quiet() || stuck > 0 || self.last_progress.elapsed() > SILENCE
    }

    /// Sends and receives what it can without waiting; begins another round if it may.
    ///
    /// # Errors
    ///
    /// If a byte is wrong. What else fails is among `losses`, and it goes on with a new socket.
    pub(super) fn turn(&mut self, may_begin: bool) -> Result<(), String> {
        let result = match self.talk {
            Talk::Stream(_) => self.stream_turn(may_begin),
            Talk::Messages(_) => self.message_turn(may_begin),
        };
        match result {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == ErrorKind::InvalidData => {
                Err(format!("{}: {error}", self.name()))
            }
            Err(error) => {
                self.losses.push(format!("{}: {error}", self.name()));
                self.reconnect().map_err(|error| format!("{}: connect: {error}", self.name()))
            }
        }
    }

    fn path(&self) -> PathBuf {
        self.dir.join(format!("c{}-{}", self.id, self.sockets / 2))
    }

    fn reconnect(&mut self) -> io::Result<()> {
        let before = self.path();
        self.sockets += 1;
        if self.path() != before {
            let _ = std::fs::remove_file(before);
        }
        self.socket = connect(self.address, self.load, &self.path())?;
        self.talk = Talk::new(self.id, self.address, self.load, self.sockets);
        self.last_progress = Instant::now();
        Ok(())
    }

    fn stream_turn(&mut self, may_begin: bool) -> io::Result<()> {
        let Talk::Stream(stream) = &mut self.talk else { unreachable!("it is a stream") };
        if stream.received == stream.goal && !stream.is_closing {
            if !may_begin {
                return Ok(());
            }
            stream.goal += self.load.bytes();
            self.last_progress = Instant::now();
        }
        stream.send(&self.socket)?;
        let holds_back = self.load.is_bulk() && stream.sent < stream.goal;
        if holds_back && stream.turns_stuck < TURNS_STUCK {
            return Ok(());
        }
        if self.load == Load::Quit && stream.received > QUITS_AFTER {
            // It has not read all, so this is a reset.
            self.rounds += 1;
            return self.reconnect();
        }
        let before = stream.received;
        let ended = stream.receive(&self.socket)?;
        if stream.received > before || ended {
            self.last_progress = Instant::now();
        }
        if ended && stream.is_closing {
            self.rounds += 1;
            return self.reconnect();
        }
        if ended {
            let (received, goal) = (stream.received, stream.goal);
            let what = format!("the end after {received} of {goal} bytes");
            return Err(io::Error::new(ErrorKind::UnexpectedEof, what));
        }
        if stream.received == stream.goal && !stream.is_closing {
            if self.load == Load::Churn {
                self.socket.shutdown(Shutdown::Write)?;
                stream.is_closing = true;
            } else {
                self.rounds += 1;
            }
        }
        Ok(())
    }

    fn message_turn(&mut self, may_begin: bool) -> io::Result<()> {
        let Talk::Messages(messages) = &mut self.talk else { unreachable!("it has messages") };
        if messages.to_send + messages.outstanding.len() == 0 {
            if !may_begin {
                return Ok(());
            }
            messages.to_send = self.load.messages();
            self.last_progress = Instant::now();
        }
        let is_datagram = self.address.style() == Style::Datagram;
        let is_silent = self.last_progress.elapsed() > SILENCE;
        if is_silent && is_datagram && messages.outstanding.len() < OUTSTANDING_MAX {
            messages.to_send = messages.to_send.max(1);
            self.last_progress = Instant::now();
        }
        messages.send(&self.socket, self.receiver.as_ref())?;
        if messages.to_send > 0 {
            return Ok(());
        }
        let mut buffer = [0; MESSAGE_MAX + 1];
        while !messages.outstanding.is_empty() {
            let count = match (&self.socket).read(&mut buffer) {
                Ok(0) if !is_datagram => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            };
            self.last_progress = Instant::now();
            for lost in messages.answered(&buffer[..count])? {
                let name = format!("{:?} over {}", self.load, self.address);
                self.losses.push(format!("{name}: no reply to datagram {lost}"));
            }
        }
        if messages.to_send > 0 {
            return Ok(());
        }
        self.rounds += 1;
        if self.load == Load::Churn { self.reconnect() } else { Ok(()) }
    }
}

impl Talk {
    fn new(id: u32, address: &Address, load: Load, sockets: usize) -> Self {
        if address.style() == Style::Stream {
            let start = id as usize * 977 + sockets * 4099;
            return Self::Stream(Stream { start, ..Stream::default() });
        }
        let largest = if load == Load::Burst { 1200 } else { MESSAGE_MAX };
        Self::Messages(Messages { id, largest, ..Messages::default() })
    }
}

/// A new socket; `path` is the name of one for unix datagrams, so that it can be answered.
fn connect(address: &Address, load: Load, path: &Path) -> io::Result<Socket> {
    let sockaddr = sockaddr(address);
    let r#type = address.style().socket_type();
    let socket = Socket::new(domain_of(&sockaddr), r#type, address.protocol())?;
    if let Address::Unix(Style::Datagram, _) = address {
        let _ = std::fs::remove_file(path);
        socket.bind(&SockAddr::unix(path)?)?;
    }
    if load.is_bulk() {
        const BYTES: usize = 1 << 20;
        // And what is sent back has to fill a buffer, which TCP enlarges otherwise.
        socket.set_recv_buffer_size(BYTES / 16)?;
        let forced = set_socket_send_buffer_size_force(&socket, BYTES);
        if forced.is_err() && matches!(address, Address::Unix(..)) {
            socket.set_send_buffer_size(BYTES)?;
        }
    }
    if is_connected(address, load) {
        socket.connect(&sockaddr)?;
    }
    socket.set_nonblocking(true)?;
    Ok(socket)
}

fn sockaddr(address: &Address) -> SockAddr {
    address.to_client().resolve().expect("an address").remove(0)
}

/// A unix datagram socket that is connected to the server has room for whatever the server sends:
/// only the queue of others has a limit.
fn is_connected(address: &Address, load: Load) -> bool {
    load != Load::Burst || !matches!(address, Address::Unix(..))
}
