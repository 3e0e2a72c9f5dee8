//! The options of a socket that explain its behaviour. Reading them changes nothing.

use std::io;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use rustix::event::PollFlags;
use rustix::fs::{OFlags, Stat, fcntl_getfl};
use rustix::net::sockopt;
use socket2::{Protocol, Type};

use super::report::Options;
use crate::activation::{Family, Role, SocketKind};
use crate::address::{Address, UnixName};
use crate::deadline::Deadline;
use crate::sys::option::{self, AcceptQueue};

pub(super) fn read(fd: BorrowedFd<'_>, kind: &SocketKind) -> Options {
    let is_ip = matches!(kind.family, Family::Inet | Family::Inet6);
    let is_tcp = matches!(kind.protocol, Some(Protocol::TCP | Protocol::MPTCP));
    let has_pktinfo = is_ip && kind.r#type == Type::DGRAM;
    let (queue, file) = (accept_queue(fd, kind), file(kind));
    Options {
        v6only: kind.v6only,
        reuseaddr: only(is_ip, || sockopt::socket_reuseaddr(fd)),
        reuseport: only(is_ip, || sockopt::socket_reuseport(fd)),
        passcred: only(kind.family == Family::Unix, || sockopt::socket_passcred(fd)),
        pktinfo: only(has_pktinfo, || pktinfo(fd, kind.family)),
        nonblock: fcntl_getfl(fd).ok().map(|flags| flags.contains(OFlags::NONBLOCK)),
        readable: readable(fd),
        waiting: queue.map(|queue| queue.waiting),
        backlog: queue.map(|queue| queue.backlog),
        rcvbuf: sockopt::socket_recv_buffer_size(fd).ok(),
        sndbuf: sockopt::socket_send_buffer_size(fd).ok(),
        congestion: only(is_tcp, || sockopt::tcp_congestion(fd)),
        cookie: sockopt::socket_cookie(fd).ok(),
        mode: file.map(|file| format!("{:04o}", file.st_mode & 0o7777)),
        uid: file.map(|file| file.st_uid),
        gid: file.map(|file| file.st_gid),
    }
}

/// Reads an option that only some sockets have.
fn only<T, E>(has_it: bool, read: impl FnOnce() -> Result<T, E>) -> Option<T> {
    has_it.then(read)?.ok()
}

fn accept_queue(fd: BorrowedFd<'_>, kind: &SocketKind) -> Option<AcceptQueue> {
    match (kind.role, kind.family, kind.protocol) {
        (Role::Listening, Family::Unix, _) => crate::proc::accept_queue(fd),
        (Role::Listening, _, Some(Protocol::TCP | Protocol::MPTCP)) => {
            option::accept_queue(fd).ok()
        }
        _ => None,
    }
}

/// Whether a connection or a message waits now.
fn readable(fd: BorrowedFd<'_>) -> Option<bool> {
    match Deadline::after(Duration::ZERO).wait(fd, PollFlags::IN) {
        Ok(ready) => Some(ready.contains(PollFlags::IN)),
        Err(error) => (error.kind() == io::ErrorKind::TimedOut).then_some(false),
    }
}

fn pktinfo(fd: BorrowedFd<'_>, family: Family) -> io::Result<bool> {
    let (level, name) = match family {
        Family::Inet6 => (libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO),
        _ => (libc::IPPROTO_IP, libc::IP_PKTINFO),
    };
    option::get(fd, level, name).map(|value| value != 0)
}

/// The file that clients connect to. They need permission to write to it.
fn file(kind: &SocketKind) -> Option<Stat> {
    let Some(Address::Unix(_, UnixName::Path(path))) = &kind.local else { return None };
    rustix::fs::stat(path.as_path()).ok()
}
