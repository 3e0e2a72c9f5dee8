//! Who talks to the server: sockets of this process, our own probe, socat and ncat.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::process::Stdio;

use socket_activate_echo::address::{Address, Host, Inet, Style, UnixName, domain_of};
use socket2::{SockAddr, Socket};

use crate::activators::Active;
use crate::kit::{DEADLINE, Dir, Process, clean, program, run};

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
    let count = socket.read(&mut buffer).unwrap_or_else(|error| panic!("receive: {error}"));
    buffer.truncate(count);
    buffer
}

/// A client of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Client {
    InProcess,
    Probe,
    Socat,
    Ncat,
}

impl Client {
    /// Checks that the server gives back what this client sends; `false` where the client has no
    /// such socket.
    pub(crate) fn check(self, active: &Active) -> bool {
        match self {
            Self::InProcess => in_process(active),
            Self::Probe => {
                let address = active.address.to_client().to_string();
                run(program().args(["probe", "--count", "3", &address])).expect_code(0);
            }
            Self::Socat | Self::Ncat => {
                let arguments = match self {
                    Self::Socat => socat(active),
                    _ => ncat(active),
                };
                let Some((tool, arguments)) = arguments else { return false };
                hello(clean(tool).args(arguments).stdin(Stdio::piped()));
            }
        }
        true
    }
}

/// What people type: a line goes in, and the same line has to come out.
fn hello(command: &mut std::process::Command) {
    let mut client = Process::start(command);
    client.write(b"hello\n");
    client.expect_stdout("hello\n");
}

fn in_process(active: &Active) {
    let socket = connect(&active.address, &active.dir);
    match active.address.style() {
        Style::Stream => stream(&socket),
        Style::Seqpacket => messages(&socket, &[1, 1000, 65_536]),
        Style::Datagram => messages(&socket, &[1, 0, 1025, 9000]),
    }
}

/// Sends more than fits into the buffers on the way, half-closes, and expects all of it back and
/// then the end.
fn stream(socket: &Socket) {
    let sent = pattern(1 << 20);
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

fn socat(active: &Active) -> Option<(&'static str, Vec<String>)> {
    let target = match active.address.to_client() {
        Address::Inet(inet, host, port) => {
            let protocol = match inet {
                Inet::Tcp | Inet::Mptcp => "tcp",
                Inet::Udp => "udp",
                _ => return None,
            };
            format!("{protocol}{}:{host}:{port}", if is_v6(&host) { 6 } else { 4 })
        }
        Address::Unix(style, name) => match (style, name) {
            (Style::Stream, UnixName::Path(path)) => format!("unix-connect:{}", path.display()),
            (Style::Seqpacket, UnixName::Path(path)) => {
                format!("unix-connect:{},type=5", path.display())
            }
            (Style::Stream, UnixName::Abstract(name)) => {
                format!("abstract-connect:{}", String::from_utf8_lossy(&name))
            }
            (Style::Datagram, UnixName::Path(path)) => {
                format!("unix-sendto:{0},bind={0}.socat", path.display())
            }
            _ => return None,
        },
        _ => return None,
    };
    Some(("socat", vec!["-".to_owned(), target]))
}

fn ncat(active: &Active) -> Option<(&'static str, Vec<String>)> {
    let arguments = match active.address.to_client() {
        Address::Inet(inet, host, port) => {
            let host = host.to_string();
            let host = host.trim_matches(['[', ']']).to_owned();
            let mut arguments = if inet == Inet::Udp { vec!["--udp".to_owned()] } else { vec![] };
            arguments.extend([host, port.to_string()]);
            arguments
        }
        Address::Unix(style, UnixName::Path(path)) => {
            let flag = match style {
                Style::Stream => "--unixsock",
                Style::Datagram => "-uU",
                Style::Seqpacket => return None,
            };
            vec![flag.to_owned(), path.display().to_string()]
        }
        _ => return None,
    };
    Some(("ncat", arguments))
}

fn is_v6(host: &Host) -> bool {
    matches!(host, Host::V6(..))
}
