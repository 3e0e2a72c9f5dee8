//! The options of a socket that explain how it behaves. Reading one changes nothing.

use std::os::fd::BorrowedFd;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::net::sockopt;
use socket2::{Protocol, Type};

use super::report::Options;
use crate::activation::{Family, Role, SocketKind};
use crate::address::{Address, UnixName};
use crate::sys::option;
use crate::sys::query::{self, AcceptQueue};

pub(super) fn read(fd: BorrowedFd<'_>, kind: &SocketKind) -> Options {
    let ip = matches!(kind.family, Family::Inet | Family::Inet6);
    let mut options = Options {
        v6only: kind.v6only,
        reuseaddr: ip.then(|| sockopt::socket_reuseaddr(fd).ok()).flatten(),
        reuseport: ip.then(|| sockopt::socket_reuseport(fd).ok()).flatten(),
        nonblock: rustix::fs::fcntl_getfl(fd)
            .ok()
            .map(|flags| flags.contains(rustix::fs::OFlags::NONBLOCK)),
        readable: readable(fd),
        rcvbuf: sockopt::socket_recv_buffer_size(fd).ok(),
        sndbuf: sockopt::socket_send_buffer_size(fd).ok(),
        cookie: sockopt::socket_cookie(fd).ok(),
        ..Options::default()
    };
    if kind.family == Family::Unix {
        options.passcred = sockopt::socket_passcred(fd).ok();
        file(kind, &mut options);
    }
    if ip && kind.r#type == Type::DGRAM {
        options.pktinfo = pktinfo(fd, kind.family);
    }
    if matches!(kind.protocol, Some(Protocol::TCP | Protocol::MPTCP)) {
        options.congestion = sockopt::tcp_congestion(fd).ok();
    }
    if let Some(queue) = accept_queue(fd, kind) {
        options.waiting = Some(queue.waiting);
        options.backlog = Some(queue.backlog);
    }
    options
}

fn accept_queue(fd: BorrowedFd<'_>, kind: &SocketKind) -> Option<AcceptQueue> {
    match (kind.role, kind.family, kind.protocol) {
        (Role::Listening, Family::Unix, _) => crate::proc::accept_queue(fd),
        (Role::Listening, _, Some(Protocol::TCP | Protocol::MPTCP)) => query::accept_queue(fd).ok(),
        _ => None,
    }
}

/// Whether a connection or a message waits at this moment.
fn readable(fd: BorrowedFd<'_>) -> Option<bool> {
    let now = Timespec::try_from(Duration::ZERO).ok()?;
    let mut fds = [PollFd::from_borrowed_fd(fd, PollFlags::IN)];
    rustix::event::poll(&mut fds, Some(&now)).ok()?;
    Some(fds[0].revents().contains(PollFlags::IN))
}

fn pktinfo(fd: BorrowedFd<'_>, family: Family) -> Option<bool> {
    let (level, name) = match family {
        Family::Inet6 => (libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO),
        _ => (libc::IPPROTO_IP, libc::IP_PKTINFO),
    };
    option::get(fd, level, name).ok().map(|value| value != 0)
}

/// The mode and owner of the file that clients connect to: they need the right to write to it.
fn file(kind: &SocketKind, options: &mut Options) {
    let Some(Address::Unix(_, UnixName::Path(path))) = &kind.local else { return };
    if let Ok(stat) = rustix::fs::stat(path.as_path()) {
        options.mode = Some(format!("{:04o}", stat.st_mode & 0o7777));
        options.uid = Some(stat.st_uid);
        options.gid = Some(stat.st_gid);
    }
}
