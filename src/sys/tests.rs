//! Runs each unsafe block once, on real descriptors. `tests/it/memory.rs` runs them under valgrind,
//! together with the code between fork(2) and execve(2), which only that test reaches.

use std::fs::File;
use std::io::{ErrorKind, Write};
use std::net::UdpSocket;
use std::os::fd::{AsFd, AsRawFd, IntoRawFd, OwnedFd};
use std::os::unix::net::{UnixDatagram, UnixStream};

use socket2::{Domain, SockAddr, Socket, Type};

use super::control::{self, CONTROL_MAX, CREDENTIALS_SPACE, PacketInfo};
use super::message::{self, Batch, ReplyTo};
use super::{descriptor, option, signal, sockaddr, usage};

fn null() -> OwnedFd {
    File::open("/dev/null").expect("open").into()
}

#[test]
fn a_number_becomes_an_owner_only_if_it_is_open() {
    let number = null().into_raw_fd();
    let owner = descriptor::adopt(number).expect("fcntl(2)").expect("it is open");
    assert_eq!(owner.as_raw_fd(), number);
    assert!(std::fs::metadata(descriptor::path_in_proc(&owner)).is_ok());
    for number in [-1, i32::MAX] {
        assert!(descriptor::adopt(number).expect("EBADF is an answer").is_none());
    }
}

#[cfg(feature = "cli")]
#[test]
fn what_an_activator_does_before_exec() {
    use super::handover;
    let (read, mut write) = UnixStream::pair().expect("a pair");
    let target = null();
    handover::duplicate_to(read.as_fd(), target.as_raw_fd()).expect("dup2(2)");
    let duplicate =
        descriptor::duplicate(target.as_raw_fd()).expect("fcntl(2)").expect("it is open");
    write.write_all(b"x").expect("send");
    let mut byte = [0];
    rustix::io::read(&duplicate, &mut byte).expect("receive");
    assert_eq!(byte, *b"x");
    assert!(descriptor::duplicate(i32::MAX).expect("EBADF is an answer").is_none());
    assert!(handover::duplicate_to(read.as_fd(), -1).is_err());
    handover::default_action(libc::SIGUSR2).expect("signal(2)");
    assert!(handover::default_action(0).is_err(), "0 is not a signal");
}

#[cfg(feature = "cli")]
#[test]
fn a_listener_tells_its_accept_queue() {
    use std::net::{TcpListener, TcpStream};
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    let _client = TcpStream::connect(listener.local_addr().expect("an address")).expect("connect");
    let queue = option::accept_queue(listener.as_fd()).expect("TCP_INFO");
    assert!(queue.waiting == 1 && queue.backlog >= 1, "{queue:?}");
    assert!(option::accept_queue(null().as_fd()).is_err());
}

#[test]
fn options_and_counts() {
    let (one, mut other) = UnixStream::pair().expect("a pair");
    let (level, name) = (libc::SOL_SOCKET, libc::SO_PASSCRED);
    for value in [1, 0] {
        option::set(one.as_fd(), level, name, value).expect("setsockopt(2)");
        assert_eq!(option::get(one.as_fd(), level, name).expect("getsockopt(2)"), value);
    }
    assert_eq!(option::unsent(other.as_fd()).expect("ioctl(2)"), 0);
    other.write_all(&[0; 100]).expect("send");
    assert!(option::unsent(other.as_fd()).expect("ioctl(2)") >= 100);
    let file = null();
    assert!(option::set(file.as_fd(), level, name, 1).is_err());
    assert!(option::get(file.as_fd(), level, name).is_err());
    assert!(option::unsent(file.as_fd()).is_err());
}

#[test]
fn a_signal_of_a_signalfd_is_blocked() {
    let fd = signal::signalfd(&[libc::SIGUSR1, libc::SIGUSR2]).expect("signalfd(2)");
    let status = std::fs::read_to_string("/proc/thread-self/status").expect("proc(5)");
    let blocked = status.lines().find_map(|line| line.strip_prefix("SigBlk:")).expect("a line");
    let blocked = u64::from_str_radix(blocked.trim(), 16).expect("a mask");
    let mask = (1 << (libc::SIGUSR1 - 1)) | (1 << (libc::SIGUSR2 - 1));
    assert_eq!(blocked & mask, mask);
    assert!(rustix::io::fcntl_getfd(&fd).is_ok_and(|it| it.contains(rustix::io::FdFlags::CLOEXEC)));
}

#[cfg(feature = "cli")]
#[test]
fn a_blocked_signal_is_waited_for() {
    let signals = [libc::SIGUSR1, libc::SIGUSR2];
    signal::block(&signals).expect("pthread_sigmask(3)");
    // SAFETY: raise(3) has no preconditions; in this thread, the signal is blocked.
    assert_eq!(unsafe { libc::raise(libc::SIGUSR2) }, 0);
    assert_eq!(signal::wait_for(&signals).expect("sigwait(3)"), libc::SIGUSR2);
}

#[test]
fn datagrams_are_answered_from_where_they_lie() {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("bind");
    option::set(socket.as_fd(), libc::IPPROTO_IP, libc::IP_PKTINFO, 1).expect("IP_PKTINFO");
    let client = UdpSocket::bind("127.0.0.1:0").expect("bind");
    client.connect(socket.local_addr().expect("an address")).expect("connect");
    let mut batch = Batch::new(4, 8, CONTROL_MAX);
    let none = batch.receive(socket.as_fd(), 4).expect_err("nothing is there");
    assert_eq!(none.kind(), ErrorKind::WouldBlock);
    for datagram in [&b"a"[..], b"", b"12345678", b"123456789"] {
        client.send(datagram).expect("send");
    }
    assert_eq!((batch.slots(), batch.receive(socket.as_fd(), 9).expect("recvmmsg(2)")), (4, 4));
    assert_eq!([0, 1, 2, 3].map(|slot| batch.is_truncated(slot)), [false, false, false, true]);
    let mut batch = std::iter::once(batch).collect::<Vec<_>>().remove(0);
    let name = batch.name(0).to_vec();
    for (slot, to) in [(0, ReplyTo::Sender), (2, ReplyTo::Name(&name))] {
        let received = control::parse(batch.control(slot));
        assert!(matches!(received.packet_info, Some(PacketInfo::V4(_))), "{received:?}");
        batch.push_reply(slot, 1, to, |control| control::write(control, &received));
    }
    batch.push_reply(1, 2, ReplyTo::Sender, |_| 0);
    assert_eq!(batch.send(socket.as_fd(), 0, 3).expect("sendmmsg(2)"), 3);
    message::send(socket.as_fd(), &name, &[], b"last").expect("sendmsg(2)");
    let mut buffer = [0; 32];
    for expected in [&b"a"[..], b"12345678", b"12345678", b"last"] {
        let count = client.recv(&mut buffer).expect("receive");
        assert_eq!(&buffer[..count], expected);
    }
    batch.clear_replies();
    batch.push_reply(0, 1, ReplyTo::Peer, |_| 0);
    assert!(batch.send(socket.as_fd(), 0, 1).is_err(), "it has no peer");
}

#[test]
fn a_packet_tells_its_length_and_what_came_along() {
    let (one, other) = Socket::pair(Domain::UNIX, Type::SEQPACKET, None).expect("a pair");
    let mut buffer = [0; 4];
    let mut receive = || message::receive_packet(other.as_fd(), &mut buffer, libc::MSG_DONTWAIT);
    assert_eq!(receive().err().map(|error| error.kind()), Some(ErrorKind::WouldBlock));
    one.send(b"12345678").expect("send");
    assert!(receive().is_ok_and(|packet| packet.len == 8 && !packet.has_control));
    option::set(other.as_fd(), libc::SOL_SOCKET, libc::SO_PASSCRED, 1).expect("SO_PASSCRED");
    one.send(b"123").expect("send");
    assert!(receive().is_ok_and(|packet| packet.len == 3 && packet.has_control));
}

#[test]
fn credentials_come_with_a_unix_datagram() {
    let (one, other) = UnixDatagram::pair().expect("a pair");
    option::set(other.as_fd(), libc::SOL_SOCKET, libc::SO_PASSCRED, 1).expect("SO_PASSCRED");
    message::send(one.as_fd(), &[], &[], b"hello").expect("sendmsg(2)");
    let mut batch = Batch::new(1, 16, CREDENTIALS_SPACE);
    assert_eq!(batch.receive(other.as_fd(), 1).expect("recvmmsg(2)"), 1);
    assert_eq!((batch.data(0), batch.name(0)), (&b"hello"[..], &b""[..]));
    let uid = rustix::process::getuid().as_raw();
    assert_eq!(control::parse(batch.control(0)).uid, Some(uid));
}

#[test]
fn an_address_survives_its_bytes() {
    let path = "/".to_owned() + &"x".repeat(106);
    for addr in [SockAddr::vsock(2, 3000), SockAddr::unix(path).expect("108 bytes with the NUL")] {
        let bytes = sockaddr::to_bytes(&addr);
        assert_eq!(sockaddr::from_bytes(&bytes), addr);
        let cut = sockaddr::from_bytes(&bytes[..1]);
        assert_eq!((cut.len(), i32::from(cut.family())), (0, libc::AF_UNSPEC));
        sockaddr::from_bytes(&[bytes, vec![0xff; 200]].concat());
    }
}

#[test]
fn switches_are_counted() {
    let before = usage::involuntary_switches().expect("getrusage(2)");
    rustix::thread::sched_yield();
    assert!(usage::involuntary_switches().expect("getrusage(2)") >= before);
}

/// Makes a system call by its number, for the tests of what may make which one.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "riscv64"))]
pub(crate) fn call(number: libc::c_long, arguments: [usize; 6]) -> std::io::Result<i64> {
    let [one, two, three, four, five, six] = arguments;
    // SAFETY: the callers pass numbers, and pointers to what lives through the call.
    super::checked(unsafe { libc::syscall(number, one, two, three, four, five, six) })
}

#[test]
fn what_a_sandbox_asks_the_kernel() {
    use super::trap;
    let status = std::fs::read_to_string("/proc/self/status").expect("a status");
    let is_set = status.contains("NoNewPrivs:\t1");
    assert_eq!(trap::no_new_privileges().ok(), Some(is_set));
    // Either answer is right: it depends on the kernel, and on what confines the tests.
    let _ = (trap::landlock_abi(), trap::can_trap());
}
