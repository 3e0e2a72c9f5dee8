//! Calls that prepare and end a connection, and those that write the log.

use super::words::*;
use super::{Call, PLAIN};

pub(super) const CALLS: &[Call] = &[
    Call {
        name: "setsockopt",
        purpose: "prepares an accepted connection (TCP_NODELAY, SO_OOBINLINE, SO_PASSCRED), \
                  and enlarges a send buffer",
        for_nobody: "keeps the connection and tries again a little later, or goes on without",
        for_one_peer: "goes on without the option if it can, or ends that connection",
        faults: &[
            nobody("ENOMEM", NO_MEMORY),
            nobody("ENOBUFS", NO_BUFFERS),
            one_peer("EINVAL", INVALID),
            one_peer("ENOPROTOOPT", "this kernel has no such option"),
            one_peer("EPERM", FILTER),
            one_peer("EACCES", POLICY),
        ],
        ..PLAIN
    },
    Call {
        name: "ioctl",
        purpose: "asks how much sent data a peer has not taken yet (SIOCOUTQ)",
        for_nobody: "treats the amount as unknown",
        for_one_peer: "treats the amount as unknown",
        faults: &[
            nobody("EINVAL", INVALID),
            nobody("ENOTTY", "this protocol does not count it"),
            nobody("EPERM", FILTER),
            nobody("EACCES", POLICY),
        ],
        ..PLAIN
    },
    Call {
        name: "shutdown",
        purpose: "tells a peer that everything was sent",
        for_nobody: "closes the connection, which tells the peer the same",
        faults: &[nobody("ENOTCONN", NOT_CONNECTED), nobody("EACCES", POLICY)],
        ..PLAIN
    },
    Call {
        name: "close",
        purpose: "ends a connection or closes a pipe",
        for_nobody: "does not call again: Linux has freed the descriptor (close(2))",
        faults: &[nobody("EINTR", SIGNAL), nobody("EIO", INPUT_OUTPUT)],
        ..PLAIN
    },
    Call {
        name: "write",
        purpose: "writes a log line; with `--debug` one for each receive and send",
        for_nobody: "goes on without that line",
        needs_debug: true,
        faults: &[
            nobody("EINTR", SIGNAL).answered("calls again"),
            nobody("EAGAIN", "the log is a pipe that nobody reads, and non-blocking"),
            nobody("EPIPE", "the reader of the log has gone"),
            nobody("EIO", "the terminal has gone"),
            nobody("ENOSPC", "the disk is full"),
            nobody("ENOMEM", NO_MEMORY),
        ],
        ..PLAIN
    },
    Call {
        name: "getpeername",
        purpose: "names the peer in a log line of `--debug`",
        for_nobody: "writes the line without the name",
        needs_debug: true,
        faults: &[
            nobody("ENOTCONN", NOT_CONNECTED),
            nobody("ENOBUFS", NO_BUFFERS),
            nobody("EINVAL", INVALID),
        ],
        ..PLAIN
    },
];
