//! The table of what is tried inside a sandbox.

use std::ffi::CStr;
use std::fs::File;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::fd::{AsFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr as UnixAddr, UnixDatagram};
use std::path::PathBuf;

use rustix::fs::{CWD, Mode as FileMode, OFlags, ResolveFlags};
use rustix::process::{Pid, Signal, getppid, kill_process};
use socket2::{Domain, SockAddr, Socket, Type};

use crate::sys::descriptor::path_in_proc;
use crate::sys::option;
use crate::sys::tests::call;

/// What is there before the process enters.
pub(super) struct Stage {
    folder: PathBuf,
    parent: Pid,
    /// A TCP socket that is neither bound nor connected.
    stream: Socket,
    /// Where somebody listens.
    listening: SocketAddr,
    datagram: UnixDatagram,
    /// A name of the parent's socket.
    abstract_name: UnixAddr,
}

impl Stage {
    pub(super) fn new(folder: PathBuf) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("bind");
        let name = folder.to_str().expect("text").to_owned();
        Self {
            parent: getppid().expect("it has a parent"),
            stream: Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket"),
            listening: listener.local_addr().expect("an address"),
            datagram: UnixDatagram::unbound().expect("a socket"),
            abstract_name: UnixAddr::from_abstract_name(name).expect("a name"),
            folder,
        }
    }
}

/// Something to try, and what comes of it: `done`, `SIGSYS`, the name of an error, or `-` if it is
/// not tried.
pub(super) struct Case {
    pub(super) name: &'static str,
    pub(super) attempt: fn(&Stage) -> io::Result<()>,
    /// With Landlock of this ABI or a later one.
    pub(super) landlock: (u32, &'static str),
    pub(super) seccomp: &'static str,
    pub(super) both: &'static str,
}

const fn case(
    name: &'static str,
    attempt: fn(&Stage) -> io::Result<()>,
    landlock: (u32, &'static str),
    seccomp: &'static str,
    both: &'static str,
) -> Case {
    Case { name, attempt, landlock, seccomp, both }
}

/// Not tried with Landlock alone, to which it is no matter.
const NO_MATTER: (u32, &str) = (1, "-");

pub(super) const CASES: &[Case] = &[
    case(
        "open a file",
        |stage| File::open(stage.folder.join("file")).map(drop),
        (1, "EACCES"),
        "SIGSYS",
        "SIGSYS",
    ),
    case(
        "open a file with the call that finds the sockets of senders",
        |stage| open_with(stage, OFlags::RDONLY),
        (1, "EACCES"),
        "done",
        "EACCES",
    ),
    case(
        "write a file with that call",
        |stage| open_with(stage, OFlags::WRONLY),
        (1, "EACCES"),
        "done",
        "EACCES",
    ),
    case(
        "find a file with that call",
        |stage| open_with(stage, OFlags::PATH),
        (1, "done"),
        "done",
        "done",
    ),
    case(
        "create a file",
        |stage| File::create(stage.folder.join("new")).map(drop),
        (1, "EACCES"),
        "SIGSYS",
        "SIGSYS",
    ),
    case(
        "remove a file",
        |stage| std::fs::remove_file(stage.folder.join("file")),
        (1, "EACCES"),
        "SIGSYS",
        "SIGSYS",
    ),
    case(
        "list a folder",
        |stage| std::fs::read_dir(&stage.folder).map(drop),
        (1, "EACCES"),
        "SIGSYS",
        "SIGSYS",
    ),
    case(
        "connect out",
        |stage| stage.stream.connect(&stage.listening.into()),
        (4, "EACCES"),
        "SIGSYS",
        "SIGSYS",
    ),
    case(
        "bind",
        |stage| stage.stream.bind(&SockAddr::from(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))),
        (4, "EACCES"),
        "SIGSYS",
        "SIGSYS",
    ),
    case(
        "socket(2), AF_INET",
        |_| Socket::new(Domain::IPV4, Type::STREAM, None).map(drop),
        NO_MATTER,
        "SIGSYS",
        "SIGSYS",
    ),
    case(
        "socket(2), AF_UNIX",
        |_| UnixDatagram::unbound().map(drop),
        NO_MATTER,
        "SIGSYS",
        "SIGSYS",
    ),
    case(
        "socket(2), AF_VSOCK",
        |_| Socket::new(Domain::VSOCK, Type::STREAM, None).map(drop),
        NO_MATTER,
        "SIGSYS",
        "SIGSYS",
    ),
    case(
        "fork",
        |_| call(libc::SYS_clone, [libc::SIGCHLD as usize, 0, 0, 0, 0, 0]).map(drop),
        NO_MATTER,
        "SIGSYS",
        "SIGSYS",
    ),
    case("exec", |_| exec(c"/proc/self/exe"), (1, "EACCES"), "SIGSYS", "SIGSYS"),
    case(
        "ptrace",
        |stage| {
            let attach = libc::PTRACE_SEIZE as usize;
            call(
                libc::SYS_ptrace,
                [attach, stage.parent.as_raw_nonzero().get() as usize, 0, 0, 0, 0],
            )
            .map(drop)
        },
        (1, "EPERM"),
        "SIGSYS",
        "SIGSYS",
    ),
    case(
        "io_uring_setup",
        |_| call(libc::SYS_io_uring_setup, [1, 0, 0, 0, 0, 0]).map(drop),
        NO_MATTER,
        "SIGSYS",
        "SIGSYS",
    ),
    case(
        "signal another process",
        |stage| Ok(kill_process(stage.parent, Signal::WINCH)?),
        (6, "EPERM"),
        "SIGSYS",
        "SIGSYS",
    ),
    case(
        "send to an abstract socket of another process",
        |stage| stage.datagram.send_to_addr(b"x", &stage.abstract_name).map(drop),
        (6, "EPERM"),
        "done",
        "EPERM",
    ),
    case(
        "send to a socket with a path",
        |stage| stage.datagram.send_to(b"x", stage.folder.join("socket")).map(drop),
        (1, "done"),
        "done",
        "done",
    ),
    case(
        "answer a sender whose path was checked",
        |stage| {
            let file = open_path(stage, "socket", OFlags::PATH)?;
            stage.datagram.send_to(b"x", path_in_proc(&file)).map(drop)
        },
        (1, "done"),
        "done",
        "done",
    ),
    case(
        "make memory executable",
        |_| {
            let page = call(libc::SYS_mmap, anonymous(libc::PROT_READ))? as usize;
            let (read, exec) = (libc::PROT_READ as usize, libc::PROT_EXEC as usize);
            call(libc::SYS_mprotect, [page, 1, read | exec, 0, 0, 0]).map(drop)
        },
        NO_MATTER,
        "SIGSYS",
        "SIGSYS",
    ),
    case(
        "get executable memory",
        |_| call(libc::SYS_mmap, anonymous(libc::PROT_EXEC)).map(drop),
        NO_MATTER,
        "SIGSYS",
        "SIGSYS",
    ),
    case(
        "put a program into memory",
        |_| {
            rustix::fs::memfd_create("x", rustix::fs::MemfdFlags::CLOEXEC)?;
            Ok(())
        },
        NO_MATTER,
        "SIGSYS",
        "SIGSYS",
    ),
    case(
        "set an option that is not needed",
        |stage| option::set(stage.stream.as_fd(), libc::SOL_SOCKET, libc::SO_REUSEADDR, 1),
        NO_MATTER,
        "SIGSYS",
        "SIGSYS",
    ),
    case(
        "set an option that is needed",
        |stage| option::set(stage.stream.as_fd(), libc::IPPROTO_TCP, libc::TCP_NODELAY, 1),
        NO_MATTER,
        "done",
        "done",
    ),
    case(
        "type into the terminal",
        |_| {
            call(libc::SYS_ioctl, [0, libc::TIOCSTI as usize, c"x".as_ptr() as usize, 0, 0, 0])
                .map(drop)
        },
        NO_MATTER,
        "SIGSYS",
        "SIGSYS",
    ),
    case(
        "give up the sandbox",
        |_| call(libc::SYS_prctl, [libc::PR_SET_SECCOMP as usize, 0, 0, 0, 0, 0]).map(drop),
        NO_MATTER,
        "SIGSYS",
        "SIGSYS",
    ),
    case(
        "grow memory in place",
        |_| call(libc::SYS_mremap, [0, 1, 2, 0, 0, 0]).map(drop),
        NO_MATTER,
        "ENOMEM",
        "ENOMEM",
    ),
];

fn open_path(stage: &Stage, name: &str, flags: OFlags) -> io::Result<OwnedFd> {
    let (path, flags) = (stage.folder.join(name), flags | OFlags::CLOEXEC);
    let resolve = ResolveFlags::NO_MAGICLINKS;
    Ok(rustix::fs::openat2(CWD, path, flags, FileMode::empty(), resolve)?)
}

fn open_with(stage: &Stage, flags: OFlags) -> io::Result<()> {
    open_path(stage, "file", flags).map(drop)
}

fn exec(program: &CStr) -> io::Result<()> {
    let end: [usize; 1] = [0];
    let nothing = end.as_ptr() as usize;
    call(libc::SYS_execve, [program.as_ptr() as usize, nothing, nothing, 0, 0, 0]).map(drop)
}

/// The arguments of mmap(2) for a page without a file.
fn anonymous(protection: i32) -> [usize; 6] {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    [0, 1, protection as usize, flags as usize, usize::MAX, 0]
}
