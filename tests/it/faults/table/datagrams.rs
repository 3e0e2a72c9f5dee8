//! Calls that receive datagrams and send them back.

use super::words::*;
use super::{Call, Fault, Lasts, PLAIN};

pub(super) const CALLS: &[Call] = &[
    Call {
        name: "recvmmsg",
        variants: &["recvmmsg", "recvmmsg_time64"],
        purpose: "receives datagrams",
        for_nobody: "tries again: the datagram waits in the socket",
        for_one_peer: "receives the next datagram, because the error concerns one that was \
            sent before; pauses if this goes on",
        lasts: Lasts::Each,
        faults: &[
            nobody("EINTR", SIGNAL),
            nobody("EAGAIN", "a datagram with a wrong checksum arrived"),
            nobody("ENOMEM", NO_MEMORY),
            nobody("ENOBUFS", NO_BUFFERS),
            one_peer("ECONNREFUSED", PORT_REFUSED),
            one_peer("ECONNRESET", "the peer of a connected socket is gone"),
            one_peer("EHOSTUNREACH", NO_ROUTE),
            one_peer("ENETUNREACH", NO_NETWORK),
            one_peer("ENETDOWN", NETWORK_DOWN),
            one_peer("ENOPROTOOPT", NO_PROTOCOL),
            one_peer("EMSGSIZE", "an earlier reply was too long for a packet on its way"),
            one_peer("EPROTO", BAD_PROTOCOL),
            one_peer("EPERM", FILTER),
            one_peer("EACCES", POLICY),
            one_peer("EINVAL", INVALID),
            one_peer("EIO", INPUT_OUTPUT),
        ],
        ..PLAIN
    },
    Call {
        name: "sendmmsg",
        purpose: "sends datagrams back: a batch, one of a batch that failed, or one that was kept",
        for_nobody: "sends the batch again, or one by one, or keeps it for a while",
        for_one_peer: "sends the datagrams one by one; drops the reply that fails, and counts it",
        faults: DATAGRAM_SENDS,
        ..PLAIN
    },
    Call {
        name: "openat2",
        purpose: "opens the path of a unix datagram's sender, without following a link, to \
            check it before answering",
        for_nobody: "keeps the reply for a while and tries again",
        for_one_peer: "does not answer that datagram, and counts it",
        faults: &[
            nobody("EINTR", SIGNAL).answered("calls again"),
            nobody(
                "EAGAIN",
                "a directory of the path is being renamed, or has to be read from a disk",
            )
            .answered("tries again"),
            nobody("EMFILE", OUR_DESCRIPTORS),
            nobody("ENFILE", ALL_DESCRIPTORS),
            nobody("ENOMEM", NO_MEMORY),
            one_peer("ENOENT", "the sender has removed its path"),
            one_peer("ENOTDIR", "a part of the path is no longer a directory"),
            one_peer("ELOOP", "the path leads over a symbolic link"),
            one_peer("EACCES", "the server may not search a directory of the path"),
            one_peer("EPERM", FILTER),
        ],
        ..PLAIN
    },
    Call {
        name: "fstat",
        variants: &["fstat", "fstat64", "newfstatat", "fstatat64", "statx"],
        purpose: "checks the type and the owner of the file at the path of a unix datagram's \
            sender",
        for_nobody: "keeps the reply for a while and tries again",
        for_one_peer: "does not answer that datagram, and counts it",
        faults: &[
            nobody("EINTR", SIGNAL).answered("calls again"),
            nobody("ENOMEM", NO_MEMORY),
            one_peer("EACCES", POLICY),
            one_peer("EIO", "the file system has failed"),
        ],
        ..PLAIN
    },
];

const DATAGRAM_SENDS: &[Fault] = &[
    nobody("EINTR", SIGNAL).answered("calls again"),
    nobody("EAGAIN", "the receiver's queue, or the socket's own buffer, is full"),
    nobody("ENOMEM", NO_MEMORY),
    nobody("ENOBUFS", NO_BUFFERS),
    one_peer("ECONNREFUSED", "the receiver has gone, or an earlier reply was refused"),
    one_peer("ECONNRESET", "the receiver has gone"),
    one_peer("EPIPE", BROKEN_PIPE),
    one_peer("ENOTCONN", NOT_CONNECTED),
    one_peer("ENOENT", "the receiver has removed its path"),
    one_peer("ENOTDIR", "a part of the receiver's path is no longer a directory"),
    one_peer("ELOOP", "the receiver's path leads over too many symbolic links"),
    one_peer("EPROTOTYPE", "the file at the receiver's path is not a datagram socket"),
    one_peer("EHOSTUNREACH", NO_ROUTE),
    one_peer("ENETUNREACH", NO_NETWORK),
    one_peer("ENETDOWN", NETWORK_DOWN),
    one_peer("EADDRNOTAVAIL", "the machine no longer has the address that the datagram came to"),
    one_peer("EMSGSIZE", TOO_LONG),
    one_peer("EPERM", FILTER),
    one_peer("EACCES", POLICY),
    one_peer("EINVAL", INVALID),
    one_peer("EIO", INPUT_OUTPUT),
];
