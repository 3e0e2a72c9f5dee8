//! Servers that are each wrong in one way, on threads that end with the test process.

use std::io::{Read, Write};
use std::net::{TcpListener, UdpSocket};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use socket2::SockRef;

/// What `probe` sends by default.
pub(super) const SIZE: usize = 64;

/// Serves each connection to a unix stream socket at `path`.
pub(super) fn stream(path: &Path, serve: impl Fn(&mut UnixStream) + Send + 'static) -> String {
    let listener = UnixListener::bind(path).expect("bind");
    std::thread::spawn(move || {
        for connection in listener.incoming() {
            serve(&mut connection.expect("accept"));
        }
    });
    format!("unix:{}", path.display())
}

/// Answers each datagram with what `answer` makes of it.
pub(super) fn datagram(answer: impl Fn(&[u8]) -> Vec<Vec<u8>> + Send + 'static) -> String {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("bind");
    let address = format!("udp:{}", socket.local_addr().expect("address"));
    std::thread::spawn(move || {
        let mut buffer = vec![0; 70_000];
        while let Ok((length, sender)) = socket.recv_from(&mut buffer) {
            for reply in answer(&buffer[..length]) {
                socket.send_to(&reply, sender).expect("send");
            }
        }
    });
    address
}

/// Resets each TCP connection once a message is there.
pub(super) fn resets() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    let address = format!("tcp:{}", listener.local_addr().expect("address"));
    std::thread::spawn(move || {
        for connection in listener.incoming() {
            let mut connection = connection.expect("accept");
            connection.read_exact(&mut [0; SIZE]).expect("a message");
            let no_time = Some(std::time::Duration::ZERO);
            SockRef::from(&connection).set_linger(no_time).expect("SO_LINGER");
        }
    });
    address
}

/// Everything comes back, until the client has nothing more to send.
pub(super) fn echo(connection: &mut UnixStream) {
    let mut reader = connection.try_clone().expect("dup");
    // A client that goes away ends its own connection only.
    let _ = std::io::copy(&mut reader, connection);
}

/// One message.
pub(super) fn message(connection: &mut UnixStream) -> Vec<u8> {
    let mut bytes = vec![0; SIZE];
    connection.read_exact(&mut bytes).expect("a message");
    bytes
}

/// Sends `parts`, then waits until the client has closed.
pub(super) fn reply_and_wait(connection: &mut UnixStream, parts: &[&[u8]]) {
    for part in parts {
        let _ = connection.write_all(part);
    }
    wait_for_end(connection);
}

/// Receives nothing more than the end.
pub(super) fn wait_for_end(connection: &mut UnixStream) {
    let _ = connection.read_to_end(&mut Vec::new());
}

/// The first line, as a vsock multiplexer reads it.
pub(super) fn line(connection: &mut UnixStream) -> String {
    let mut line = Vec::new();
    let mut byte = [0];
    while line.last() != Some(&b'\n') && connection.read_exact(&mut byte).is_ok() {
        line.push(byte[0]);
    }
    String::from_utf8(line).expect("text")
}
