//! The clients of the server: sockets of this process, `probe`, and programs of other projects.

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Command, Stdio};

use socket_activate_echo::address::{Address, Host, Inet, Style, UnixName, domain_of};
use socket2::{SockAddr, Socket};

use crate::activators::{Active, Kind};
use crate::kit::{DEADLINE, Dir, Process, clean, has_tool, program, run};
use crate::programs::{PROGRAMS, Program};

/// Bytes that are the same nowhere near: the position in the stream, mixed.
pub(crate) fn pattern(len: usize) -> Vec<u8> {
    (0..len as u64).map(|index| (index.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as u8).collect()
}

/// A socket that is connected to the address; a unix datagram socket has a name, so that it can be
/// answered.
pub(crate) fn connect(address: &Address, dir: &Dir) -> Socket {
    let sockaddr = address.to_client().resolve().expect("an address").remove(0);
    let r#type = address.style().socket_type();
    let socket = Socket::new(domain_of(&sockaddr), r#type, address.protocol()).expect("a socket");
    if let Address::Unix(Style::Datagram, _) = address {
        let path = dir.path(&format!("client{:?}", std::thread::current().id()));
        let _ = std::fs::remove_file(&path);
        socket.bind(&SockAddr::unix(path).expect("an address")).expect("bind");
    }
    socket.connect(&sockaddr).unwrap_or_else(|error| panic!("connect to {address}: {error}"));
    socket.set_read_timeout(Some(DEADLINE)).expect("a timeout");
    socket.set_write_timeout(Some(DEADLINE)).expect("a timeout");
    socket
}

/// Receives one message, or what there is of a stream, of at most `len` bytes. One byte more than
/// asked for would show.
pub(crate) fn receive(mut socket: &Socket, len: usize) -> Vec<u8> {
    let mut buffer = vec![0; len + 1];
    let count = loop {
        match socket.read(&mut buffer) {
            // A receive with a timeout is not restarted after a stop: signal(7).
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            received => break received.unwrap_or_else(|error| panic!("receive: {error}")),
        }
    };
    buffer.truncate(count);
    buffer
}

/// A client of the table.
#[derive(Clone, Copy)]
pub(crate) enum Client {
    /// Sockets of this process: each reply before the next request, and both at the same time.
    InProcess,
    /// Our own.
    Probe,
    /// Another program.
    Program(&'static Program),
}

impl Client {
    /// Every client.
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        let programs = PROGRAMS.iter().map(Self::Program);
        [Self::InProcess, Self::Probe].into_iter().chain(programs)
    }

    /// Checks that the server gives back what this client sends; `false` where the client has no
    /// such socket, or is not installed.
    pub(crate) fn check(self, active: &Active) -> bool {
        match self {
            Self::InProcess => in_process(active),
            Self::Probe => {
                let address = active.address.to_client().to_string();
                run(program().args(["probe", "--count", "3", &address])).expect_code(0);
            }
            Self::Program(program) => {
                let Some(command) = command(program, &active.address) else { return false };
                let has_it = has_tool(program.tool, &format!("{} with its sockets", program.tool));
                if has_it && active.address.style() == Style::Datagram {
                    lines(command);
                } else if has_it {
                    file(command, program, active);
                }
                return has_it;
            }
        }
        true
    }
}

/// The command of a program that talks to the address; `None` if it has no such socket.
fn command(program: &Program, address: &Address) -> Option<Command> {
    let (kind, places) = match address.to_client() {
        Address::Inet(inet, host, port) => {
            let (is_v6, ip) = match &host {
                Host::V4(ip) => (false, ip.to_string()),
                Host::V6(ip, _) => (true, ip.to_string()),
                Host::Name(_) => return None,
            };
            let kind = match (inet, is_v6) {
                (Inet::Tcp | Inet::Mptcp, false) => Kind::Tcp4,
                (Inet::Tcp | Inet::Mptcp, true) => Kind::Tcp6,
                (Inet::Udp, false) => Kind::Udp4,
                (Inet::Udp, true) => Kind::Udp6,
                _ => return None,
            };
            (kind, vec![("IP", ip), ("PORT", port.to_string())])
        }
        Address::Unix(style, UnixName::Path(path)) => {
            let kind = match style {
                Style::Stream => Kind::UnixStream,
                Style::Datagram => Kind::UnixDatagram,
                Style::Seqpacket => Kind::UnixSeqpacket,
            };
            (kind, vec![("PATH", path.display().to_string())])
        }
        Address::Unix(Style::Stream, UnixName::Abstract(name)) => {
            let name = String::from_utf8(name).expect("the tests' own name");
            (Kind::UnixAbstract, vec![("NAME", name)])
        }
        _ => return None,
    };
    let (_, call) = program.calls.iter().find(|(has, _)| *has == kind)?;
    let fill = |word| places.iter().fold(word, |word: String, (at, value)| word.replace(at, value));
    let mut command = clean(program.tool);
    command.args(call.split(' ').skip(1).map(str::to_owned).map(fill).map(Program::expand));
    Some(command)
}

/// What people type: a line goes in, and the same line has to come out. Each is a datagram.
fn lines(mut command: Command) {
    let mut client = Process::start(command.stdin(Stdio::piped()));
    let mut expected = String::new();
    for line in ["hello\n".to_owned(), format!("{}\n", "x".repeat(1200))] {
        client.write(line.as_bytes());
        expected += &line;
        client.expect_stdout(&expected);
    }
}

/// A file goes in, larger than what the client or the kernel takes at once, and comes out.
fn file(mut command: Command, program: &Program, active: &Active) {
    let printable = |byte: u8| if byte >= 250 { '\n' } else { (b'!' + byte % 94).into() };
    let sent: String = pattern(Program::FILE_LEN).into_iter().map(printable).collect();
    let path = active.dir.path("sent");
    std::fs::write(&path, &sent).expect("write");
    let client = Process::start(command.stdin(File::open(&path).expect("open")));
    client.expect_stdout(&sent);
    if program.ends {
        let finished = client.finish().expect_code(0);
        assert!(finished.stdout == sent, "more came back: {}", finished.describe());
    }
}

fn in_process(active: &Active) {
    let another = || connect(&active.address, &active.dir);
    match active.address.style() {
        Style::Stream => {
            in_turns(&another());
            // Nothing, and more than fits into the buffers on the way.
            [0, 1 << 20].into_iter().for_each(|len| whole_stream(&another(), len));
        }
        Style::Seqpacket => messages(&another(), &[1, 1000, 65_536]),
        Style::Datagram => messages(&another(), &[1, 0, 1025, 9000]),
    }
}

/// Waits for each reply before the next request, then for the server's end after its own.
fn in_turns(mut stream: &Socket) {
    let mut reply = Vec::new();
    for size in [1, 100, 4096, 65_536] {
        let request = pattern(size);
        stream.write_all(&request).expect("send");
        reply.resize(size, 0);
        stream.read_exact(&mut reply).expect("receive");
        assert!(reply == request, "{size} bytes: others came back");
    }
    stream.shutdown(Shutdown::Write).expect("shutdown");
    assert_eq!(stream.read(&mut reply).expect("the end"), 0);
}

/// Half-closes after so many bytes, and expects all of them back and then the end.
pub(crate) fn whole_stream(socket: &Socket, len: usize) {
    let sent = pattern(len);
    let mut received = Vec::new();
    let (mut writer, mut reader) = (socket, socket);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            writer.write_all(&sent).expect("send");
            writer.shutdown(Shutdown::Write).expect("shutdown");
        });
        reader.read_to_end(&mut received).expect("receive until the end");
    });
    assert!(received == sent, "{} of {} bytes, or others", received.len(), sent.len());
}

/// Sends a word and reads it back.
#[track_caller]
pub(crate) fn word(mut client: &TcpStream) {
    client.write_all(b"hello\n").expect("send");
    let mut reply = [0; 6];
    client.read_exact(&mut reply).expect("an echo");
    assert_eq!(&reply, b"hello\n");
}

/// A prime length, so that no buffer's size repeats it.
pub(crate) const FILL_CHUNK: usize = 1_048_573;

/// Sends the pattern of that length again and again until nobody takes any more: then everything on
/// the way is full. Tells how much that was. While the server is busy with it, the round trip of
/// another connection is the event to wait for: it has nothing left to do then.
pub(crate) fn fill(peer: &mut TcpStream, round_trip: impl Fn()) -> usize {
    const ROUNDS_WITHOUT_PROGRESS: usize = 20;
    peer.set_nonblocking(true).expect("O_NONBLOCK");
    let chunk = pattern(FILL_CHUNK);
    let (mut sent, mut stuck) = (0, 0);
    while stuck < ROUNDS_WITHOUT_PROGRESS {
        match peer.write(&chunk[sent % chunk.len()..]) {
            Ok(count) => (sent, stuck) = (sent + count, 0),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                stuck += 1;
                round_trip();
            }
            Err(error) => panic!("after {sent} bytes: {error}"),
        }
    }
    peer.set_nonblocking(false).expect("O_NONBLOCK");
    sent
}

/// Sends messages one by one; each comes back as one, whole.
pub(crate) fn messages(socket: &Socket, sizes: &[usize]) {
    for &size in sizes {
        let sent = pattern(size);
        let count = socket.send(&sent).unwrap_or_else(|error| panic!("send {size}: {error}"));
        assert_eq!(count, size);
        let received = receive(socket, size);
        assert!(received == sent, "{} of {size} bytes, or others", received.len());
    }
}

/// Sends datagrams with the numbers up to `count`, and reads no reply.
pub(crate) fn send_numbers(client: &UnixDatagram, to: &Path, count: u32) {
    for number in 0..count {
        client.send_to(&number.to_be_bytes(), to).expect("it waits for room");
    }
}

/// Expects the replies in their order.
pub(crate) fn expect_numbers(client: &UnixDatagram, count: u32) {
    client.set_read_timeout(Some(DEADLINE)).expect("a timeout");
    for number in 0..count {
        let mut reply = [0; 5];
        assert_eq!(client.recv(&mut reply).expect("a reply"), 4);
        assert_eq!(reply[..4], number.to_be_bytes());
    }
}
