//! Calls that wait for events, accept connections and echo over them.

use super::words::*;
use super::{Call, Fault, Kind, Lasts, PLAIN};

pub(super) const CALLS: &[Call] = &[
    Call {
        name: "epoll_wait",
        variants: &["epoll_wait", "epoll_pwait", "epoll_pwait2"],
        purpose: "waits until a socket has something to do",
        for_nobody: "waits again",
        faults: &[nobody("EINTR", SIGNAL)],
        ..PLAIN
    },
    Call {
        name: "epoll_ctl",
        purpose: "adds an accepted connection, and removes a socket that has to pause",
        for_nobody: "keeps the connection and adds it a little later",
        lasts: Lasts::Shortages,
        faults: &[
            nobody("ENOMEM", NO_MEMORY),
            nobody(
                "ENOSPC",
                "the user has reached the limit of watched descriptors \
                    (fs.epoll.max_user_watches)",
            ),
        ],
        ..PLAIN
    },
    Call {
        name: "accept4",
        purpose: "takes a connection from a listening socket",
        for_nobody: "leaves the connection in the queue and looks again later",
        for_one_peer: "takes the next connection; the kernel decides whether the failed one \
            stays in the queue. Waits longer each time if this goes on",
        lasts: Lasts::Each,
        faults: &[
            nobody("EINTR", SIGNAL).answered("calls again"),
            nobody("EAGAIN", "another worker, or another holder of the socket, was faster")
                .answered("waits for the next"),
            nobody("EMFILE", OUR_DESCRIPTORS),
            nobody("ENFILE", ALL_DESCRIPTORS),
            nobody("ENOBUFS", NO_BUFFERS),
            nobody("ENOMEM", NO_MEMORY),
            one_peer("ECONNABORTED", "the peer has gone again"),
            one_peer("ECONNRESET", RESET),
            one_peer("EPERM", FILTER),
            one_peer("EACCES", POLICY),
            one_peer("EPROTO", BAD_PROTOCOL),
            one_peer("ENOPROTOOPT", NO_PROTOCOL),
            one_peer("ETIMEDOUT", TIMED_OUT),
            one_peer("ENETDOWN", NETWORK_DOWN),
            one_peer("ENETUNREACH", NO_NETWORK),
            one_peer("EHOSTUNREACH", NO_ROUTE),
            one_peer("EHOSTDOWN", "the network reports that the host is down"),
            one_peer("ENONET", "the machine has no network"),
            one_peer(
                "EOPNOTSUPP",
                "a pending network error of the new connection (accept(2) lists it)",
            ),
            Fault {
                errno: "EINVAL",
                kind: Kind::OneSocket,
                meaning: "the socket no longer listens: another process has shut it down",
                answer: "logs this and stops using that socket; all others are served. A \
                    socket that does not listen can accept nobody",
            },
        ],
        ..PLAIN
    },
    Call {
        name: "recvfrom",
        purpose: "receives from connections over IP and vsock",
        for_nobody: "tries again a little later",
        for_one_peer: "ends that connection",
        lasts: Lasts::Shortages,
        faults: &[
            nobody("EINTR", SIGNAL).answered("calls again"),
            by_itself("there is nothing to receive", EDGE),
            nobody("ENOMEM", NO_MEMORY),
            nobody("ENOBUFS", NO_BUFFERS),
            one_peer("ECONNRESET", RESET),
            one_peer("ECONNABORTED", ABORTED),
            one_peer("ETIMEDOUT", TIMED_OUT),
            one_peer("EPIPE", BROKEN_PIPE),
            one_peer("ENOTCONN", NOT_CONNECTED),
            one_peer("ECONNREFUSED", PORT_REFUSED),
            one_peer("EHOSTUNREACH", NO_ROUTE),
            one_peer("ENETUNREACH", NO_NETWORK),
            one_peer("ENETDOWN", NETWORK_DOWN),
            one_peer("ENOPROTOOPT", NO_PROTOCOL),
            one_peer("EPROTO", BAD_PROTOCOL),
            one_peer("EACCES", POLICY),
            one_peer("EINVAL", INVALID),
            one_peer("EIO", INPUT_OUTPUT),
        ],
        ..PLAIN
    },
    Call {
        name: "recvmsg",
        purpose: "receives from unix stream connections and from seqpacket connections",
        for_nobody: "tries again a little later",
        for_one_peer: "ends that connection",
        lasts: Lasts::Shortages,
        faults: &[
            nobody("EINTR", SIGNAL).answered("calls again"),
            by_itself("there is nothing to receive", EDGE),
            nobody("ENOMEM", NO_MEMORY),
            nobody("ENOBUFS", NO_BUFFERS),
            one_peer("ECONNRESET", RESET),
            one_peer("ETIMEDOUT", TIMED_OUT),
            one_peer("ENOTCONN", NOT_CONNECTED),
            one_peer("EACCES", POLICY),
            one_peer("EINVAL", INVALID),
            one_peer("EIO", INPUT_OUTPUT),
        ],
        ..PLAIN
    },
    Call {
        name: "sendto",
        purpose: "sends back over connections",
        for_nobody: "keeps what was received and tries again a little later",
        for_one_peer: "ends that connection",
        lasts: Lasts::Shortages,
        faults: &[
            nobody("EINTR", SIGNAL).answered("calls again"),
            by_itself("the peer does not read", "keeps what was received and waits for the event"),
            nobody("ENOMEM", NO_MEMORY),
            nobody("ENOBUFS", NO_BUFFERS),
            one_peer("EPIPE", BROKEN_PIPE),
            one_peer("ECONNRESET", RESET),
            one_peer("ECONNABORTED", ABORTED),
            one_peer("ETIMEDOUT", TIMED_OUT),
            one_peer("ENOTCONN", NOT_CONNECTED),
            one_peer("ECONNREFUSED", PORT_REFUSED),
            one_peer("EHOSTUNREACH", NO_ROUTE),
            one_peer("ENETUNREACH", NO_NETWORK),
            one_peer("ENETDOWN", NETWORK_DOWN),
            one_peer("EMSGSIZE", TOO_LONG).answered(
                "enlarges the send buffer for a seqpacket message, or ends that \
                           connection",
            ),
            one_peer("EPERM", FILTER),
            one_peer("EACCES", POLICY),
            one_peer("EINVAL", INVALID),
            one_peer("EIO", INPUT_OUTPUT),
        ],
        ..PLAIN
    },
    Call {
        name: "splice",
        purpose: "moves bulk data through a pipe without copying it",
        for_nobody: "tries again a little later",
        for_one_peer: "ends that connection",
        lasts: Lasts::Shortages,
        faults: &[
            nobody("EINTR", SIGNAL).answered("calls again"),
            by_itself("there is nothing to receive, or the peer does not read", EDGE),
            nobody("ENOMEM", NO_MEMORY),
            nobody("ENOBUFS", NO_BUFFERS),
            one_peer("EINVAL", "this socket cannot be spliced").answered(
                "copies from then on, or ends that connection if a pipe already holds \
                           its bytes",
            ),
            one_peer("EPIPE", BROKEN_PIPE),
            one_peer("ECONNRESET", RESET),
            one_peer("ETIMEDOUT", TIMED_OUT),
            one_peer("ENOTCONN", NOT_CONNECTED),
            one_peer("EHOSTUNREACH", NO_ROUTE),
            one_peer("ENETUNREACH", NO_NETWORK),
            one_peer("EACCES", POLICY),
            one_peer("EIO", INPUT_OUTPUT),
        ],
        ..PLAIN
    },
    Call {
        name: "pipe2",
        purpose: "makes a pipe to splice through",
        for_nobody: "copies instead",
        lasts: Lasts::Shortages,
        faults: &[
            nobody("EMFILE", OUR_DESCRIPTORS),
            nobody(
                "ENFILE",
                "the machine has reached its limit of open files, or the user the limit of \
                    pages in pipes",
            ),
            nobody("ENOMEM", NO_MEMORY),
        ],
        ..PLAIN
    },
    Call {
        name: "fcntl",
        variants: &["fcntl", "fcntl64"],
        purpose: "enlarges a pipe",
        for_nobody: "uses the pipe as it is",
        lasts: Lasts::Each,
        faults: &[
            nobody(
                "EPERM",
                "the user has reached the limit of pages in pipes (fs.pipe-user-pages-soft)",
            ),
            nobody("EBUSY", "the pipe holds more than its new size"),
            nobody("ENOMEM", NO_MEMORY),
        ],
        ..PLAIN
    },
];
