//! Socket options that several services need.

use std::os::fd::AsFd;

use rustix::fs::OFlags;
use rustix::net::sockopt;
use socket2::SockRef;

/// The kernel's overhead for a message in the send buffer: `unix_dgram_sendmsg` of Linux.
const OVERHEAD: usize = 32;

/// Makes the send buffer large enough for a unix message of `len` bytes after `EMSGSIZE`: the
/// sender may have raised its own buffer (unix(7), `SO_SNDBUF`). Returns whether it grew enough.
pub(super) fn make_room(fd: impl AsFd, len: usize) -> bool {
    // socket(7): the kernel doubles the requested size, up to `wmem_max`.
    let has_room =
        || sockopt::socket_send_buffer_size(&fd).is_ok_and(|size| size >= len + OVERHEAD);
    if has_room() {
        // The size of the send buffer was not the cause.
        return false;
    }
    let _ = sockopt::set_socket_send_buffer_size(&fd, len);
    // Only a privileged process can get more, as the sender must have been.
    has_room() || sockopt::set_socket_send_buffer_size_force(&fd, len).is_ok_and(|()| has_room())
}

/// Whether calls on it wait: `O_NONBLOCK` is not set.
pub(super) fn is_blocking(fd: impl AsFd) -> bool {
    rustix::fs::fcntl_getfl(fd).map_or(true, |flags| !flags.contains(OFlags::NONBLOCK))
}

/// Whether `SO_LINGER` is set. With it a close(2) waits for the peer, also on a socket that is
/// non-blocking, or resets the connection (socket(7)). An accepted socket inherits it.
pub(super) fn lingers_in_close(fd: impl AsFd) -> bool {
    SockRef::from(&fd).linger().is_ok_and(|time| time.is_some())
}

/// Unsets `SO_LINGER`.
pub(super) fn do_not_linger_in_close(fd: impl AsFd) {
    if lingers_in_close(&fd) {
        // It was set before, so unsetting it cannot fail.
        let _ = SockRef::from(&fd).set_linger(None);
    }
}
