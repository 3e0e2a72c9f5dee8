//! What strangers write into the kernel's tables: the name of a process and of a unix socket. The
//! name of this process is set and read back, and so is a socket that is bound to the other name.
//! The input is both, divided by its first byte.
#![no_main]

use std::ffi::CString;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};

use libfuzzer_sys::fuzz_target;
use socket_activate_echo::address::{Address, Style, UnixName};
use socket_activate_echo::proc::{Process, Socket, ancestry, holders, sockets_at};
use socket_activate_echo::text::Escaped;

/// The longest names: `TASK_COMM_LEN` of proc_pid_comm(5), and `sun_path` of unix(7), less one byte.
const COMM_MAX: usize = 15;
const NAME_MAX: usize = 107;

fuzz_target!(|input: &[u8]| {
    let Some((&len, rest)) = input.split_first() else { return };
    let (comm, name) = rest.split_at(rest.len().min(usize::from(len) % (COMM_MAX + 1)));
    let pid = std::process::id();

    let comm = CString::new(comm.split(|&byte| byte == 0).next().unwrap_or_default());
    let comm = comm.expect("it has no NUL");
    rustix::thread::set_name(&comm).expect("prctl(2)");
    let name_shown = Escaped::of_bytes(comm.as_bytes()).to_string();
    let parent = std::os::unix::process::parent_id();
    assert_eq!(Process::of(pid), Some(Process { pid, parent, name: name_shown }));
    assert!(ancestry(pid).iter().skip(1).all(|process| process.pid != pid));

    // A name of our own, so that it is free: the process id, then the bytes.
    let name = [format!("{pid}-").as_bytes(), name].concat();
    let name = &name[..name.len().min(NAME_MAX)];
    let listener = UnixListener::bind_addr(&SocketAddr::from_abstract_name(name).expect("a name"));
    let listener = listener.expect("bind");
    let inode = rustix::fs::fstat(&listener).expect("fstat(2)").st_ino;
    let found = sockets_at(&Address::Unix(Style::Stream, UnixName::Abstract(name.to_vec())));
    assert_eq!(found, [Socket { serves: true, inode }]);
    // Who holds it is found by looking at every process, so only now and then.
    if len == 0 {
        assert_eq!(holders(&found), [pid]);
    }
});
