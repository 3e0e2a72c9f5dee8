//! Socket options that no library has, and the lengths of queues.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use super::checked;

/// setsockopt(2) with an `int`.
pub(crate) fn set(fd: BorrowedFd<'_>, level: i32, name: i32, value: i32) -> io::Result<()> {
    let len = size_of_val(&value) as libc::socklen_t;
    // SAFETY: the value is an int that lives through the call, and its size is given.
    let result =
        unsafe { libc::setsockopt(fd.as_raw_fd(), level, name, (&raw const value).cast(), len) };
    checked(result).map(drop)
}

/// getsockopt(2) of an option that is an `int`.
pub(crate) fn get(fd: BorrowedFd<'_>, level: i32, name: i32) -> io::Result<i32> {
    get_words(fd, level, name).map(|[value]| value)
}

/// getsockopt(2) of an option that is a structure: its first `N` 32-bit words, zero where the
/// kernel's structure has fewer.
fn get_words<const N: usize>(fd: BorrowedFd<'_>, level: i32, name: i32) -> io::Result<[i32; N]> {
    let mut words = [0; N];
    let mut len = size_of_val(&words) as libc::socklen_t;
    // SAFETY: the array lives through the call, and its size is given.
    let result = unsafe {
        libc::getsockopt(fd.as_raw_fd(), level, name, words.as_mut_ptr().cast(), &raw mut len)
    };
    checked(result).map(|_| words)
}

/// The user of a connected unix socket's peer: `SO_PEERCRED` of unix(7). rustix has the option too,
/// but requires that the process id is not 0, as it is for a peer outside of our PID namespace.
pub(crate) fn peer_user(fd: BorrowedFd<'_>) -> io::Result<u32> {
    // `struct ucred`: the process, the user and the group.
    get_words::<3>(fd, libc::SOL_SOCKET, libc::SO_PEERCRED).map(|[_, user, _]| user as u32)
}

/// The process, the user and the group of a connected unix socket's peer: `SO_PEERCRED`.
#[cfg(feature = "cli")]
pub(crate) fn peer_credentials(fd: BorrowedFd<'_>) -> io::Result<[u32; 3]> {
    get_words::<3>(fd, libc::SOL_SOCKET, libc::SO_PEERCRED).map(|ids| ids.map(|id| id as u32))
}

/// The security label of a connected unix socket's peer: `SO_PEERSEC` of unix(7).
///
/// # Errors
///
/// Those of getsockopt(2): `ENOPROTOOPT` without a security module that labels sockets, `ERANGE`
/// for a longer label than any module has.
#[cfg(feature = "cli")]
pub(crate) fn peer_security(fd: BorrowedFd<'_>) -> io::Result<Vec<u8>> {
    const LABEL_MAX: usize = 4096;
    let mut label = vec![0; LABEL_MAX];
    let mut len = LABEL_MAX as libc::socklen_t;
    // SAFETY: the buffer lives through the call, and its size is given.
    let result = unsafe {
        libc::getsockopt(
            fd.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERSEC,
            label.as_mut_ptr().cast(),
            &raw mut len,
        )
    };
    checked(result)?;
    label.truncate(len as usize);
    Ok(label)
}

/// The path to the peer of a TCP connection.
#[cfg(feature = "cli")]
#[derive(Debug, Clone, Copy)]
pub(crate) struct TcpPath {
    /// The smoothed round-trip time in microseconds, `tcpi_rtt`.
    pub(crate) rtt_us: u32,
    /// The longest segment that is sent, `tcpi_snd_mss`.
    pub(crate) mss: u32,
}

/// `TCP_INFO` of tcp(7).
#[cfg(feature = "cli")]
pub(crate) fn tcp_path(fd: BorrowedFd<'_>) -> io::Result<TcpPath> {
    // The words of `struct tcp_info`, after two with eight bytes: the fifth and the eighteenth.
    let words = get_words::<18>(fd, libc::IPPROTO_TCP, libc::TCP_INFO)?;
    Ok(TcpPath { rtt_us: words[17] as u32, mss: words[4] as u32 })
}

/// The accept queue of a listening TCP socket.
#[cfg(feature = "cli")]
#[derive(Debug, Clone, Copy)]
pub(crate) struct AcceptQueue {
    /// Connections that wait to be accepted.
    pub(crate) waiting: u32,
    /// How many may wait: the backlog of listen(2), at most `net.core.somaxconn`.
    pub(crate) backlog: u32,
}

/// `TCP_INFO` of a listening socket has the accept queue in the fields that otherwise count
/// segments (Linux's `tcp_get_info`).
#[cfg(feature = "cli")]
pub(crate) fn accept_queue(fd: BorrowedFd<'_>) -> io::Result<AcceptQueue> {
    // The first eight words of `struct tcp_info`, up to `tcpi_unacked` and `tcpi_sacked`.
    let [.., waiting, backlog] = get_words::<8>(fd, libc::IPPROTO_TCP, libc::TCP_INFO)?;
    Ok(AcceptQueue { waiting: waiting as u32, backlog: backlog as u32 })
}

/// `SIOCOUTQ` of tcp(7) and unix(7): bytes that a TCP peer has not acknowledged; for a unix socket
/// the memory of what its peers have not read, which counts against the send buffer.
///
/// # Errors
///
/// Those of ioctl(2): `EINVAL` or `ENOTTY` where the family does not count that.
pub(crate) fn unsent(fd: BorrowedFd<'_>) -> io::Result<usize> {
    let mut bytes: libc::c_int = 0;
    // SAFETY: the number is an int that lives through the call, which writes it.
    checked(unsafe { libc::ioctl(fd.as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes) })?;
    Ok(bytes.max(0) as usize)
}
