//! The size of a socket's send buffer, where a message that its peer could send does not fit.

use std::os::fd::AsFd;

use rustix::net::sockopt;

/// What the kernel needs beside the message: `unix_dgram_sendmsg` of Linux.
const OVERHEAD: usize = 32;

/// Makes the send buffer large enough for a unix message of `len` bytes, after `EMSGSIZE` said that
/// it is not: a sender may have raised its own (unix(7), `SO_SNDBUF`). Returns whether it is now.
pub(super) fn make_room(fd: impl AsFd, len: usize) -> bool {
    // socket(7): the kernel doubles what is asked for, and gives what `wmem_max` allows.
    let has_room =
        || sockopt::socket_send_buffer_size(&fd).is_ok_and(|size| size >= len + OVERHEAD);
    if has_room() {
        // Then it is not room that is missing.
        return false;
    }
    let _ = sockopt::set_socket_send_buffer_size(&fd, len);
    // More than that is for the privileged, as the sender must have been.
    has_room() || sockopt::set_socket_send_buffer_size_force(&fd, len).is_ok_and(|()| has_room())
}
