//! A blocking connection or connected datagram socket, of the standard library alone.

use std::io::{self, Read, Write};
use std::net::{TcpStream, UdpSocket};
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// What a client talks through.
pub enum Connection {
    Tcp(TcpStream),
    Unix(UnixStream),
    Udp(UdpSocket),
}

impl Connection {
    /// Connects to `tcp:IP:PORT`, `unix:PATH` or `udp:IP:PORT`. No call takes longer than
    /// `timeout`; `Duration::MAX` is no limit.
    pub fn open(address: &str, timeout: Duration) -> io::Result<Self> {
        let (scheme, rest) = address.split_once(':').expect("SCHEME:REST");
        let connection = match scheme {
            "tcp" => Self::Tcp(TcpStream::connect(rest)?),
            "unix" => Self::Unix(UnixStream::connect(rest)?),
            "udp" => {
                let socket = UdpSocket::bind("0.0.0.0:0")?;
                socket.connect(rest)?;
                Self::Udp(socket)
            }
            other => panic!("no scheme {other}"),
        };
        if timeout < Duration::MAX {
            connection.set_timeout(timeout)?;
        }
        Ok(connection)
    }

    pub fn is_datagram(&self) -> bool {
        matches!(self, Self::Udp(_))
    }

    /// Sends a message and waits until all of it is back.
    pub fn exchange(&mut self, message: &[u8], reply: &mut [u8]) -> io::Result<()> {
        self.write_all(message)?;
        self.read_exact(reply)
    }

    /// How long a read or a write may take.
    pub fn set_timeout(&self, timeout: Duration) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.set_write_timeout(Some(timeout))?,
            Self::Unix(stream) => stream.set_write_timeout(Some(timeout))?,
            Self::Udp(socket) => socket.set_write_timeout(Some(timeout))?,
        }
        self.set_read_timeout(timeout)
    }

    /// How long a read may take.
    pub fn set_read_timeout(&self, timeout: Duration) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.set_read_timeout(Some(timeout)),
            Self::Unix(stream) => stream.set_read_timeout(Some(timeout)),
            Self::Udp(socket) => socket.set_read_timeout(Some(timeout)),
        }
    }

    /// A second handle to the same connection.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(match self {
            Self::Tcp(stream) => Self::Tcp(stream.try_clone()?),
            Self::Unix(stream) => Self::Unix(stream.try_clone()?),
            Self::Udp(socket) => Self::Udp(socket.try_clone()?),
        })
    }
}

impl Read for Connection {
    #[inline]
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.read(buffer),
            Self::Unix(stream) => stream.read(buffer),
            Self::Udp(socket) => socket.recv(buffer),
        }
    }
}

impl Write for Connection {
    #[inline]
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.write(bytes),
            Self::Unix(stream) => stream.write(bytes),
            Self::Udp(socket) => socket.send(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
