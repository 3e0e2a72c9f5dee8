//! What the reference servers share: taking or binding their one socket. The plain client has its
//! [`Connection`].
//!
//! They are the limits that the measured server is compared with, so each is as short as its kind
//! of loop can be and still echo correctly: no shutdown, no limits, no messages, and a panic where
//! a server would explain. `unsafe` is used freely, for the system calls themselves.

mod connection;

use std::ffi::CString;
use std::io;
use std::mem;
use std::net::SocketAddr;
use std::os::fd::RawFd;

pub use connection::Connection;

/// The largest datagram, and what a stream is read with.
pub const BUFFER: usize = 64 * 1024;

/// The socket to serve.
#[derive(Debug, Clone, Copy)]
pub enum Served {
    /// Accepts connections.
    Listener(RawFd),
    /// Receives datagrams.
    Datagrams(RawFd),
}

/// The socket that activation handed over as descriptor 3 or, without one, a new socket at the
/// address of the first argument: `tcp:IP:PORT`, `udp:IP:PORT`, `unix:PATH`, `unix-dgram:PATH`.
pub fn served() -> Served {
    if std::env::var_os("LISTEN_FDS").is_some() {
        return classify(3);
    }
    let address = std::env::args().nth(1).expect("an address, or LISTEN_FDS");
    let (scheme, rest) = address.split_once(':').expect("SCHEME:REST");
    classify(match scheme {
        "tcp" => bind_ip(rest.parse().expect("IP:PORT"), libc::SOCK_STREAM),
        "udp" => bind_ip(rest.parse().expect("IP:PORT"), libc::SOCK_DGRAM),
        "unix" => bind_unix(rest, libc::SOCK_STREAM),
        "unix-dgram" => bind_unix(rest, libc::SOCK_DGRAM),
        other => panic!("no scheme {other}"),
    })
}

fn classify(fd: RawFd) -> Served {
    let mut kind: libc::c_int = 0;
    let mut length = mem::size_of_val(&kind) as libc::socklen_t;
    // SAFETY: both pointers are to values of this function, of the sizes that the call expects.
    check(unsafe {
        libc::getsockopt(
            fd,
            libc::SOL_SOCKET,
            libc::SO_TYPE,
            (&raw mut kind).cast(),
            &raw mut length,
        )
    });
    if kind == libc::SOCK_DGRAM { Served::Datagrams(fd) } else { Served::Listener(fd) }
}

/// The result of a system call that has to work.
pub fn check(result: libc::c_int) -> libc::c_int {
    assert!(result >= 0, "{}", io::Error::last_os_error());
    result
}

/// Sets an option that is an `int`.
pub fn set(fd: RawFd, level: libc::c_int, name: libc::c_int, value: libc::c_int) {
    let size = mem::size_of_val(&value) as libc::socklen_t;
    // SAFETY: the pointer is to an int that outlives the call. TCP_NODELAY fails on unix sockets,
    // which have no need of it.
    unsafe { libc::setsockopt(fd, level, name, (&raw const value).cast(), size) };
}

fn bind_ip(address: SocketAddr, kind: libc::c_int) -> RawFd {
    let SocketAddr::V4(v4) = address else { panic!("an IPv4 address") };
    // SAFETY: no pointers.
    let fd = check(unsafe { libc::socket(libc::AF_INET, kind | libc::SOCK_CLOEXEC, 0) });
    set(fd, libc::SOL_SOCKET, libc::SO_REUSEADDR, 1);
    let name = libc::sockaddr_in {
        sin_family: libc::AF_INET as libc::sa_family_t,
        sin_port: v4.port().to_be(),
        sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(v4.ip().octets()) },
        sin_zero: [0; 8],
    };
    let size = mem::size_of_val(&name) as libc::socklen_t;
    // SAFETY: the name outlives the call and has the given size.
    check(unsafe { libc::bind(fd, (&raw const name).cast(), size) });
    listen(fd, kind)
}

fn bind_unix(path: &str, kind: libc::c_int) -> RawFd {
    let path = CString::new(path).expect("a path");
    // SAFETY: no pointers.
    let fd = check(unsafe { libc::socket(libc::AF_UNIX, kind | libc::SOCK_CLOEXEC, 0) });
    // SAFETY: all zeroes is a sockaddr_un.
    let mut name: libc::sockaddr_un = unsafe { mem::zeroed() };
    name.sun_family = libc::AF_UNIX as libc::sa_family_t;
    for (to, from) in name.sun_path.iter_mut().zip(path.as_bytes()) {
        *to = *from as libc::c_char;
    }
    let size = mem::size_of_val(&name) as libc::socklen_t;
    // SAFETY: the name outlives the call and has the given size.
    check(unsafe { libc::bind(fd, (&raw const name).cast(), size) });
    listen(fd, kind)
}

fn listen(fd: RawFd, kind: libc::c_int) -> RawFd {
    if kind == libc::SOCK_STREAM {
        // SAFETY: no pointers.
        check(unsafe { libc::listen(fd, 4096) });
    }
    fd
}

/// Room for the address of any sender.
#[derive(Clone, Copy)]
pub struct Name {
    pub storage: libc::sockaddr_storage,
    pub length: libc::socklen_t,
}

impl Name {
    /// Ready for a receive call.
    pub fn empty() -> Self {
        // SAFETY: all zeroes is a sockaddr_storage.
        let storage: libc::sockaddr_storage = unsafe { mem::zeroed() };
        Self { storage, length: mem::size_of::<libc::sockaddr_storage>() as libc::socklen_t }
    }
}

/// Receives one datagram and sends it back; whether there was one.
pub fn echo_datagram(fd: RawFd, buffer: &mut [u8]) -> bool {
    let mut name = Name::empty();
    // SAFETY: the buffer and the name are writable for the sizes given.
    let count = unsafe {
        libc::recvfrom(
            fd,
            buffer.as_mut_ptr().cast(),
            buffer.len(),
            0,
            (&raw mut name.storage).cast(),
            &raw mut name.length,
        )
    };
    let Ok(count) = usize::try_from(count) else { return false };
    // SAFETY: the call before filled that much of the buffer and of the name.
    unsafe {
        libc::sendto(
            fd,
            buffer.as_ptr().cast(),
            count,
            0,
            (&raw const name.storage).cast(),
            name.length,
        )
    };
    true
}

/// Allows as many connections as the hard limit does.
pub fn raise_descriptor_limit() {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the pointer is to a value of this function.
    check(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) });
    limit.rlim_cur = limit.rlim_max;
    // SAFETY: likewise.
    check(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) });
}
