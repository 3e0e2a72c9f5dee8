//! The words of the table for errors that mean the same at several calls.

use super::{Fault, Kind};

pub(super) const fn nobody(errno: &'static str, meaning: &'static str) -> Fault {
    Fault { errno, kind: Kind::Nobody, meaning, answer: "" }
}

pub(super) const fn one_peer(errno: &'static str, meaning: &'static str) -> Fault {
    Fault { errno, kind: Kind::OnePeer, meaning, answer: "" }
}

pub(super) const fn by_itself(meaning: &'static str, answer: &'static str) -> Fault {
    Fault { errno: "EAGAIN", kind: Kind::ComesByItself, meaning, answer }
}

impl Fault {
    pub(super) const fn answered(self, answer: &'static str) -> Self {
        Self { answer, ..self }
    }
}

pub(super) const SIGNAL: &str = "a signal, or a debugger that stops and continues the process";
pub(super) const NO_MEMORY: &str = "the kernel has no memory for it now";
pub(super) const NO_BUFFERS: &str = "the kernel has no buffers for it now";
pub(super) const OUR_DESCRIPTORS: &str =
    "the process has reached its limit of descriptors (RLIMIT_NOFILE)";
pub(super) const ALL_DESCRIPTORS: &str =
    "the machine has reached its limit of open files (fs.file-max)";
pub(super) const RESET: &str = "the peer has reset the connection";
pub(super) const ABORTED: &str = "the administrator has ended the connection (ss -K)";
pub(super) const TIMED_OUT: &str = "the peer no longer acknowledges data";
pub(super) const NO_ROUTE: &str = "the network reports that the host is unreachable";
pub(super) const NO_NETWORK: &str = "there is no route to the network any more";
pub(super) const NETWORK_DOWN: &str = "the interface is down";
pub(super) const PORT_REFUSED: &str = "the network reports that no socket has the port";
pub(super) const NO_PROTOCOL: &str = "the network reports that the host does not support the \
    protocol";
pub(super) const BAD_PROTOCOL: &str = "the received data violates the protocol";
pub(super) const NOT_CONNECTED: &str = "the connection is gone already";
pub(super) const BROKEN_PIPE: &str = "the peer no longer accepts data";
pub(super) const POLICY: &str = "a security module forbids it";
pub(super) const FILTER: &str = "a packet filter or a seccomp filter forbids it";
pub(super) const TOO_LONG: &str = "it is too long for a packet or the send buffer";
pub(super) const INVALID: &str = "the kernel cannot do this in the present state of the socket";
pub(super) const INPUT_OUTPUT: &str = "a device or a lower layer has failed";

pub(super) const EDGE: &str = "waits for the event";
