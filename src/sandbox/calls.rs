//! The only list of the system calls that a confined server may make. docs/security.md has the same
//! table.

use super::Needs;

/// A name of `libc`, and its value on this processor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Call {
    symbol: &'static str,
    pub(super) number: libc::c_long,
}

impl Call {
    fn name(self) -> &'static str {
        self.symbol.strip_prefix("SYS_").unwrap_or(self.symbol)
    }
}

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "riscv64"))]
macro_rules! call {
    ($symbol:ident) => {
        Call { symbol: stringify!($symbol), number: libc::$symbol }
    };
}

/// Without a filter, nobody asks for the number, and 32-bit processors lack some of the names.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "riscv64")))]
macro_rules! call {
    ($symbol:ident) => {
        Call { symbol: stringify!($symbol), number: -1 }
    };
}

/// A system call that is allowed.
#[derive(Debug, Clone, Copy)]
pub struct Allowed {
    pub(super) call: Call,
    pub(super) arguments: Arguments,
    /// Which server needs it.
    pub needed: Needed,
    /// What it is for.
    pub reason: &'static str,
}

impl Allowed {
    /// The name of the system call.
    pub fn name(&self) -> &'static str {
        self.call.name()
    }
}

impl Refused {
    /// The name of the system call.
    pub fn name(&self) -> &'static str {
        self.call.name()
    }
}

/// A system call that fails with an error instead of ending the process: a library tries it, and
/// goes on without.
#[derive(Debug, Clone, Copy)]
pub struct Refused {
    pub(super) call: Call,
    pub(super) errno: i32,
    /// Which server tries it; the process of any other one ends.
    pub needed: Needed,
    /// Who tries it.
    pub reason: &'static str,
}

/// Which arguments are allowed. A call that is made for each message has no condition: the kernel
/// then remembers that it is allowed, and does not run the filter.
#[derive(Debug, Clone, Copy)]
pub(super) enum Arguments {
    Any,
    /// The argument of this number has one of these values.
    OneOf(u8, &'static [i32]),
    /// The argument of this number, without the bits outside of the mask, has one of these values.
    Masked(u8, i32, &'static [i32]),
    /// The second and third argument are one of these pairs: a level and an option.
    Options(&'static [(i32, i32)]),
}

/// Which server needs a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Needed {
    /// Every server.
    Always,
    /// One with unix streams.
    UnixStreams,
    /// One with unix streams or seqpacket sockets.
    UnixOrSeqpackets,
    /// One with datagram sockets.
    Datagrams,
    /// One with unix datagram sockets.
    UnixDatagrams,
    /// One with unix datagram sockets, where openat2(2) works.
    NewOpen,
    /// One with unix datagram sockets, where it does not.
    OldOpen,
    /// One that polls before it sleeps.
    BusyPolling,
    /// One with several workers.
    Threads,
    /// One that asks who a peer is.
    Peers,
    /// One that does not.
    NoPeers,
    /// One that says what it sees.
    Answers,
    /// One whose service manager listens on a vsock address.
    VsockManager,
    /// One that hands connections to the service manager.
    KeptConnections,
}

impl Needed {
    /// Whether a server with these needs is one of them.
    pub fn by(self, needs: &Needs) -> bool {
        match self {
            Self::Always => true,
            Self::UnixStreams => needs.unix_streams,
            Self::UnixOrSeqpackets => needs.unix_streams || needs.seqpackets,
            Self::Datagrams => needs.datagrams || needs.unix_datagrams,
            Self::UnixDatagrams => needs.unix_datagrams,
            Self::NewOpen => needs.unix_datagrams && !needs.lacks_openat2,
            Self::OldOpen => needs.unix_datagrams && needs.lacks_openat2,
            Self::BusyPolling => needs.busy_polls,
            Self::Threads => needs.has_threads,
            Self::Peers => needs.names_peers || needs.answers,
            Self::NoPeers => !needs.names_peers && !needs.answers,
            Self::Answers => needs.answers,
            Self::VsockManager => needs.vsock_manager,
            Self::KeptConnections => needs.keeps_connections,
        }
    }

    /// In words, for a table.
    pub fn in_words(self) -> &'static str {
        match self {
            Self::Always => "always",
            Self::UnixStreams => "with unix streams",
            Self::UnixOrSeqpackets => "with unix streams or seqpacket sockets",
            Self::Datagrams => "with datagram sockets",
            Self::UnixDatagrams => "with unix datagram sockets",
            Self::NewOpen => "with unix datagram sockets",
            Self::OldOpen => "in its place, if the kernel or a container forbids that",
            Self::BusyPolling => "unless `--busy-poll off`",
            Self::Threads => "with several `--workers`",
            Self::Peers => "with `--debug`, `--connections-max-per-source` or `--info`",
            Self::NoPeers => "without these",
            Self::Answers => "with `--info`",
            Self::VsockManager => "if `NOTIFY_SOCKET` is a vsock address",
            Self::KeptConnections => "if connections are kept over a restart",
        }
    }
}

const fn any(call: Call, needed: Needed, reason: &'static str) -> Allowed {
    Allowed { call, arguments: Arguments::Any, needed, reason }
}

const fn only(call: Call, arguments: Arguments, needed: Needed, reason: &'static str) -> Allowed {
    Allowed { call, arguments, needed, reason }
}

const NOT_EXECUTABLE: Arguments = Arguments::Masked(2, libc::PROT_EXEC, &[0]);

/// musl's allocator protects pages of its own, the one of glibc only grows the heaps of threads.
const PROTECTS: Needed = if cfg!(target_env = "musl") { Needed::Always } else { Needed::Threads };

/// Everything that a confined server may do.
pub const ALLOWED: &[Allowed] = &[
    any(call!(SYS_epoll_pwait), Needed::Always, "waits for events"),
    any(
        call!(SYS_epoll_ctl),
        Needed::Always,
        "registers a connection, and a socket that has to wait",
    ),
    any(call!(SYS_accept4), Needed::Always, "accepts a connection"),
    any(call!(SYS_recvfrom), Needed::Always, "receives over TCP and other streams"),
    any(
        call!(SYS_sendto),
        Needed::Always,
        "sends back over connections, and messages to the manager",
    ),
    any(
        call!(SYS_recvmsg),
        Needed::UnixOrSeqpackets,
        "receives, and tells whether anything came along",
    ),
    any(call!(SYS_splice), Needed::UnixStreams, "moves bulk data without copying it"),
    any(call!(SYS_pipe2), Needed::UnixStreams, "creates the pipe that splice(2) needs"),
    any(call!(SYS_recvmmsg), Needed::Datagrams, "receives datagrams"),
    any(call!(SYS_sendmmsg), Needed::Datagrams, "answers datagrams"),
    any(
        call!(SYS_openat2),
        Needed::NewOpen,
        "finds the socket file of a sender; Landlock refuses all but O_PATH, \
         which neither reads nor writes",
    ),
    only(
        call!(SYS_openat),
        Arguments::Masked(2, libc::O_PATH, &[libc::O_PATH]),
        Needed::OldOpen,
        "the same",
    ),
    any(call!(SYS_fstat), Needed::UnixDatagrams, "checks whose socket file that is"),
    any(call!(SYS_shutdown), Needed::Always, "sends the end of a stream"),
    any(call!(SYS_close), Needed::Always, "ends a connection"),
    only(
        call!(SYS_setsockopt),
        Arguments::Options(&SET),
        Needed::Always,
        "prepares an accepted connection, enlarges a send buffer, restores the \
         options of an inherited socket",
    ),
    only(
        call!(SYS_getsockopt),
        Arguments::OneOf(1, &LEVELS),
        Needed::Always,
        "asks for the size of a send buffer, and for SO_LINGER",
    ),
    only(
        call!(SYS_getsockopt),
        Arguments::Options(&ASKED),
        Needed::Answers,
        "asks for a TCP peer's round-trip time, segment size and congestion control",
    ),
    only(
        call!(SYS_fcntl),
        Arguments::OneOf(1, &[libc::F_GETFL, libc::F_GETFD, libc::F_SETPIPE_SZ, libc::F_ADD_SEALS]),
        Needed::Always,
        "asks whether a listener is non-blocking, enlarges a pipe, and seals what is owed",
    ),
    only(
        call!(SYS_ioctl),
        Arguments::OneOf(1, &[FIONBIO, FIONREAD, TIOCOUTQ]),
        Needed::Always,
        "makes a listener non-blocking, and counts what is not received or not \
         acknowledged yet",
    ),
    any(
        call!(SYS_getpeername),
        Needed::Peers,
        "names the peer in the log or in an answer, or counts its connections",
    ),
    any(call!(SYS_write), Needed::Always, "writes the log, and wakes other workers at the end"),
    any(call!(SYS_sched_yield), Needed::BusyPolling, "lets another thread run between two polls"),
    any(call!(SYS_getrusage), Needed::BusyPolling, "tells whether another thread ran"),
    any(call!(SYS_clock_gettime), Needed::Always, "tells the time where the vDSO cannot"),
    only(
        call!(SYS_futex),
        Arguments::Masked(
            1,
            libc::FUTEX_CMD_MASK,
            &[libc::FUTEX_WAIT, libc::FUTEX_WAKE, libc::FUTEX_WAIT_BITSET, libc::FUTEX_WAKE_BITSET],
        ),
        Needed::Always,
        "locks the log and the allocator, and waits for the other workers",
    ),
    any(call!(SYS_brk), Needed::Always, "gets memory"),
    only(call!(SYS_mmap), NOT_EXECUTABLE, Needed::Always, "gets memory that is not executable"),
    any(call!(SYS_munmap), Needed::Always, "gives memory back"),
    only(
        call!(SYS_madvise),
        Arguments::OneOf(2, &[libc::MADV_DONTNEED, libc::MADV_FREE]),
        Needed::NoPeers,
        "gives memory back",
    ),
    only(
        call!(SYS_mprotect),
        NOT_EXECUTABLE,
        PROTECTS,
        "gets memory for a thread that is not executable",
    ),
    any(call!(SYS_exit), Needed::Threads, "ends a worker's thread"),
    any(call!(SYS_exit_group), Needed::Always, "ends the process"),
    only(
        call!(SYS_socket),
        Arguments::OneOf(0, &[libc::AF_VSOCK]),
        Needed::VsockManager,
        "each message to the manager has a connection",
    ),
    any(
        call!(SYS_bind),
        Needed::VsockManager,
        "chooses the privileged port by which the manager knows us; Landlock \
         refuses TCP",
    ),
    any(call!(SYS_connect), Needed::VsockManager, "connects to the manager; Landlock refuses TCP"),
    any(call!(SYS_ppoll), Needed::VsockManager, "waits for that connection at the end"),
    any(call!(SYS_sendmsg), Needed::KeptConnections, "hands connections to the manager"),
    any(call!(SYS_pipe2), Needed::KeptConnections, "checks whether the manager has a store"),
    any(call!(SYS_fstat), Needed::KeptConnections, "tells one connection from another"),
    any(call!(SYS_read), Needed::KeptConnections, "takes bulk data out of its pipe"),
    any(call!(SYS_ppoll), Needed::KeptConnections, "waits until the manager has them"),
    any(call!(SYS_getsockname), Needed::KeptConnections, "takes a connection back"),
    any(call!(SYS_getpeername), Needed::KeptConnections, "the same"),
    any(call!(SYS_epoll_create1), Needed::KeptConnections, "serves on if the manager refuses them"),
];

/// What fails quietly.
pub const REFUSED: &[Refused] = &[
    Refused {
        call: call!(SYS_mremap),
        errno: libc::ENOMEM,
        needed: Needed::Always,
        reason: "the allocator, which then copies",
    },
    Refused {
        call: call!(SYS_madvise),
        errno: libc::EPERM,
        needed: Needed::Peers,
        reason: "the allocator, where the call is not allowed; it then keeps the memory",
    },
    Refused {
        call: call!(SYS_sigaltstack),
        errno: libc::EPERM,
        needed: Needed::Always,
        reason: "Rust's runtime at the end of a thread, to give up a stack that goes with \
         it",
    },
    Refused {
        call: call!(SYS_rt_sigprocmask),
        errno: libc::EPERM,
        needed: Needed::Always,
        reason: "the C library at the end of a thread, to block signals meanwhile",
    },
];

/// As ioctl(2) takes them.
const FIONBIO: i32 = libc::FIONBIO as i32;
const FIONREAD: i32 = libc::FIONREAD as i32;
const TIOCOUTQ: i32 = libc::TIOCOUTQ as i32;

/// The levels of the socket options that are asked for.
const LEVELS: [i32; 4] =
    [libc::SOL_SOCKET, libc::IPPROTO_IP, libc::IPPROTO_IPV6, crate::sys::control::SOL_UDP];

/// The options of TCP that an answer has. Those of a unix socket's peer have a level of the list
/// above.
const ASKED: [(i32, i32); 2] =
    [(libc::IPPROTO_TCP, libc::TCP_INFO), (libc::IPPROTO_TCP, libc::TCP_CONGESTION)];

/// The socket options that are set while the server runs, and restored at its end.
const SET: [(i32, i32); 12] = [
    (libc::IPPROTO_TCP, libc::TCP_NODELAY),
    (libc::SOL_SOCKET, libc::SO_OOBINLINE),
    (libc::SOL_SOCKET, libc::SO_PASSCRED),
    (libc::SOL_SOCKET, libc::SO_LINGER),
    (libc::SOL_SOCKET, libc::SO_SNDBUF),
    (libc::SOL_SOCKET, libc::SO_SNDBUFFORCE),
    // How long a message to the manager may wait.
    (libc::SOL_SOCKET, libc::SO_SNDTIMEO),
    (libc::IPPROTO_IP, libc::IP_PKTINFO),
    (libc::IPPROTO_IP, libc::IP_RECVTTL),
    (libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO),
    (libc::IPPROTO_IPV6, libc::IPV6_RECVHOPLIMIT),
    (crate::sys::control::SOL_UDP, crate::sys::control::UDP_GRO),
];
