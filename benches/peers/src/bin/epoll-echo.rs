//! The minimal edge-triggered epoll loop: one thread, one buffer, and a queue for what a peer does
//! not take.

use echo_peers::{BUFFER, Served, check, echo_datagram, raise_descriptor_limit, served, set};

const EVENTS: usize = 256;
/// A peer that does not read is not read from beyond this.
const PENDING_MAX: usize = 1 << 20;

/// What a connection has received and not sent.
#[derive(Default)]
struct Pending {
    bytes: Vec<u8>,
    ended: bool,
}

fn main() {
    let served = served();
    // SAFETY: no pointers.
    let epoll = check(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) });
    let (Served::Listener(socket) | Served::Datagrams(socket)) = served;
    // SAFETY: no pointers.
    check(unsafe { libc::fcntl(socket, libc::F_SETFL, libc::O_RDWR | libc::O_NONBLOCK) });
    add(epoll, socket, libc::EPOLLIN);
    let mut connections: Vec<Pending> = Vec::new();
    let mut buffer = vec![0; BUFFER];
    let mut events = [libc::epoll_event { events: 0, u64: 0 }; EVENTS];
    if matches!(served, Served::Listener(_)) {
        raise_descriptor_limit();
    }
    loop {
        // SAFETY: the pointer is to as many events as are announced.
        let count =
            unsafe { libc::epoll_wait(epoll, events.as_mut_ptr(), EVENTS as libc::c_int, -1) };
        for event in &events[..usize::try_from(count).unwrap_or(0)] {
            let fd = event.u64 as i32;
            match served {
                Served::Datagrams(_) => while echo_datagram(fd, &mut buffer) {},
                Served::Listener(_) if fd == socket => accept(epoll, socket, &mut connections),
                Served::Listener(_) => {
                    let ends = event.events & libc::EPOLLRDHUP as u32 != 0;
                    if !echo(fd, &mut connections[fd as usize], &mut buffer, ends) {
                        connections[fd as usize] = Pending::default();
                        // SAFETY: the descriptor is in use here only.
                        unsafe { libc::close(fd) };
                    }
                }
            }
        }
    }
}

fn add(epoll: i32, fd: i32, flags: i32) {
    let mut event = libc::epoll_event { events: flags as u32, u64: fd as u64 };
    // SAFETY: the event outlives the call.
    check(unsafe { libc::epoll_ctl(epoll, libc::EPOLL_CTL_ADD, fd, &raw mut event) });
}

fn accept(epoll: i32, listener: i32, connections: &mut Vec<Pending>) {
    let flags = libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    loop {
        // SAFETY: null pointers are allowed where the peer's address is not wanted.
        let fd =
            unsafe { libc::accept4(listener, std::ptr::null_mut(), std::ptr::null_mut(), flags) };
        if fd < 0 {
            return;
        }
        set(fd, libc::IPPROTO_TCP, libc::TCP_NODELAY, 1);
        if connections.len() <= fd as usize {
            connections.resize_with(fd as usize + 1, Pending::default);
        }
        add(epoll, fd, libc::EPOLLIN | libc::EPOLLOUT | libc::EPOLLRDHUP | libc::EPOLLET);
    }
}

/// Echoes until nothing is left or the peer takes no more; whether the connection goes on.
/// With `ends`, the peer sends no more, and the end is read too.
fn echo(fd: i32, pending: &mut Pending, buffer: &mut [u8], ends: bool) -> bool {
    if !pending.bytes.is_empty() {
        let Some(sent) = send(fd, &pending.bytes) else { return false };
        pending.bytes.drain(..sent);
    }
    while pending.bytes.len() < PENDING_MAX && !pending.ended {
        // SAFETY: the buffer is writable for its length.
        let count = unsafe { libc::recv(fd, buffer.as_mut_ptr().cast(), buffer.len(), 0) };
        let Ok(count) = usize::try_from(count) else {
            if would_block() {
                break;
            }
            return false;
        };
        let sent = if pending.bytes.is_empty() {
            let Some(sent) = send(fd, &buffer[..count]) else { return false };
            sent
        } else {
            0
        };
        pending.bytes.extend_from_slice(&buffer[sent..count]);
        pending.ended = count == 0;
        // A short read has emptied the socket, and what comes later is another edge; but an end that
        // came with the data is behind it already, and has no edge of its own.
        if count < buffer.len() && !ends {
            break;
        }
    }
    !(pending.ended && pending.bytes.is_empty())
}

/// Sends what the peer takes; nothing if it is gone.
fn send(fd: i32, bytes: &[u8]) -> Option<usize> {
    let mut sent = 0;
    while sent < bytes.len() {
        let rest = &bytes[sent..];
        // SAFETY: `rest` is readable for its length.
        let more = unsafe { libc::send(fd, rest.as_ptr().cast(), rest.len(), libc::MSG_NOSIGNAL) };
        match usize::try_from(more) {
            Ok(more) => sent += more,
            Err(_) if would_block() => break,
            Err(_) => return None,
        }
    }
    Some(sent)
}

fn would_block() -> bool {
    std::io::Error::last_os_error().kind() == std::io::ErrorKind::WouldBlock
}
