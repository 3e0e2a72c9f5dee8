//! sd_notify with sockets that receive the messages in place of a service manager.

use std::ffi::OsStr;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::fd::AsFd;
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use socket_activate_echo::error::ErrorKind;
use socket_activate_echo::notify::{FdName, Message, Notifier, NotifySocket, State};

use crate::fd_store::{Answer, Manager, receive};
use crate::handover::{hand_over, listener};
use crate::kit::{Dir, Process};

/// Longer than anything here takes; it ends a test that would hang.
const LIMIT: Duration = Duration::from_secs(10);

fn notifier(value: impl AsRef<OsStr>) -> Notifier {
    let target = NotifySocket::parse(value.as_ref()).unwrap_or_else(|error| panic!("{error}"));
    Notifier::new(target).unwrap_or_else(|error| panic!("{error}"))
}

/// A manager that listens on a path, and a notifier for it.
fn pair() -> (tempfile::TempDir, UnixDatagram, Notifier) {
    let dir = tempfile::tempdir().expect("temporary directory");
    let path = dir.path().join("notify");
    let manager = UnixDatagram::bind(&path).expect("bind");
    manager.set_read_timeout(Some(LIMIT)).expect("timeout");
    let notifier = notifier(&path);
    (dir, manager, notifier)
}

#[test]
fn each_call_is_one_message_over_a_path() {
    let (_dir, manager, notifier) = pair();
    notifier.send(&[State::Ready]).expect("ready");
    notifier.send(&[State::Status("a\nREADY=1"), State::Errno(5)]).expect("status");
    assert!(notifier.try_send(&mut Message::new(&[State::Watchdog])).expect("watchdog"));
    assert_eq!(receive(&manager).0, "READY=1");
    assert_eq!(receive(&manager).0, "STATUS=a READY=1\nERRNO=5");
    assert_eq!(receive(&manager).0, "WATCHDOG=1");
}

#[test]
fn a_manager_that_was_started_anew_is_reached() {
    let (dir, manager, notifier) = pair();
    notifier.send(&[State::Ready]).expect("ready");
    drop(manager);
    std::fs::remove_file(dir.path().join("notify")).expect("remove");
    let manager = UnixDatagram::bind(dir.path().join("notify")).expect("bind again");
    notifier.send(&[State::Watchdog]).expect("watchdog");
    assert_eq!(receive(&manager).0, "WATCHDOG=1");
}

#[test]
fn descriptors_go_to_the_store_and_are_the_same_files() {
    let (_dir, manager, notifier) = pair();
    let name = FdName::new("state").expect("name");
    let files = [tempfile::tempfile().expect("file"), tempfile::tempfile().expect("file")];
    notifier.store_fds(&name, &[files[0].as_fd(), files[1].as_fd()], true).expect("store");
    notifier.store_fds(&name, &[files[0].as_fd()], false).expect("store without poll");
    notifier.remove_fds(&name).expect("remove");

    let (text, fds) = receive(&manager);
    assert_eq!(text, "FDSTORE=1\nFDNAME=state");
    assert_eq!(fds.len(), files.len());
    for (sent, stored) in files.iter().zip(&fds) {
        let inode = |fd| rustix::fs::fstat(fd).expect("fstat").st_ino;
        assert_eq!(inode(sent.as_fd()), inode(stored.as_fd()));
    }
    let (text, fds) = receive(&manager);
    assert_eq!((text.as_str(), fds.len()), ("FDSTORE=1\nFDNAME=state\nFDPOLL=0", 1));
    assert_eq!(receive(&manager).0, "FDSTOREREMOVE=1\nFDNAME=state");
}

#[test]
fn more_descriptors_than_a_message_carries_are_refused() {
    let (_dir, _manager, notifier) = pair();
    let file = tempfile::tempfile().expect("file");
    let error =
        notifier.send_with_fds(&[State::FdStore], &[file.as_fd(); 254]).expect_err("too many");
    assert!(error.to_string().contains("at most 253 file descriptors"), "{error}");
}

#[test]
fn a_barrier_ends_when_the_manager_closes_its_descriptor() {
    let (_dir, manager, notifier) = pair();
    let manager = std::thread::spawn(move || {
        let (text, fds) = receive(&manager);
        assert_eq!((text.as_str(), fds.len()), ("BARRIER=1", 1));
    });
    notifier.barrier(LIMIT).expect("released");
    manager.join().expect("the manager's thread");
}

#[test]
fn a_barrier_that_nobody_releases_times_out() {
    let (_dir, manager, notifier) = pair();
    let error = notifier.barrier(Duration::from_millis(20)).expect_err("times out");
    let text = error.to_string();
    assert!(text.starts_with("wait for a barrier on NOTIFY_SOCKET=/"), "{text}");
    assert!(text.contains("timed out") && text.contains("NotifyAccess="), "{text}");
    // The descriptor was on its way all the time.
    assert_eq!(receive(&manager).1.len(), 1);
}

/// A store has everything, or says nothing: a barrier passes in each case but the last.
#[test]
fn a_store_is_checked_with_descriptors_of_its_own() {
    let name = FdName::new("check").expect("a name");
    for (rule, fds_max, answer) in [
        (Answer::Process, 3, ""),
        (Answer::Process, 1, "it closed them"),
        (Answer::Process, 0, "it closed them"),
        (Answer::Relay, 3, "it closed them"),
        (Answer::Hold, 3, "timed out"),
    ] {
        let manager = Manager::new(fds_max, Vec::new());
        manager.put("other", tempfile::tempfile().expect("file"));
        manager.rule(move |_| rule);
        let notifier = notifier(manager.path());
        let limit = if rule == Answer::Hold { Duration::from_millis(20) } else { LIMIT };
        match notifier.check_fd_store(&name, limit) {
            Ok(()) => assert_eq!(answer, ""),
            Err(error) => {
                let text = error.to_string();
                assert!(!answer.is_empty() && text.contains(answer), "{rule:?} {fds_max}: {text}");
            }
        }
        manager.wait_for_stored(&["other"]);
    }
}

#[test]
fn a_full_queue_does_not_hold_an_event_loop() {
    let (dir, manager, notifier) = pair();
    fill(&dir.path().join("notify"));
    let mut message = Message::new(&[State::Watchdog]);
    assert!(!notifier.try_send(&mut message).expect("no room"));
    let error = notifier.finish(&mut message, Duration::from_millis(1)).expect_err("no room");
    assert!(error.to_string().contains("its queue is full"), "{error}");
    drain(&manager);
    assert!(notifier.try_send(&mut message).expect("room"));
    assert_eq!(receive(&manager).0, "WATCHDOG=1");
}

#[test]
fn a_send_that_waits_ends_when_there_is_room() {
    let (dir, manager, notifier) = pair();
    fill(&dir.path().join("notify"));
    let sender = std::thread::spawn(move || {
        notifier.finish(&mut Message::new(&[State::Ready]), LIMIT).expect("room in time");
    });
    assert_eq!(next_said(&manager), "READY=1");
    sender.join().expect("the sender's thread");
}

/// Fills the queue of the manager at `path`: not even a socket that never sent has room there.
fn fill(path: &Path) {
    loop {
        let sender = UnixDatagram::unbound().expect("socket");
        sender.set_nonblocking(true).expect("non-blocking");
        let sent = (0..).take_while(|_| sender.send_to(b"junk", path).is_ok()).count();
        if sent == 0 {
            return;
        }
    }
}

/// The next message after what [`fill`] put into the queue. Who waits for room sends meanwhile.
fn next_said(manager: &UnixDatagram) -> String {
    let mut received = std::iter::from_fn(|| Some(receive(manager).0));
    received.find(|message| message != "junk").expect("it never ends")
}

/// The messages in the manager's queue that are not what [`fill`] put there.
fn drain(manager: &UnixDatagram) -> Vec<String> {
    manager.set_nonblocking(true).expect("non-blocking");
    let mut buffer = [0; 4096];
    let received = std::iter::from_fn(|| {
        Some(manager.recv(&mut buffer).ok().map(|len| buffer[..len].to_vec()))
    });
    let texts: Vec<_> = received
        .map_while(|message| message)
        .filter(|message| message != b"junk")
        .map(|message| String::from_utf8_lossy(&message).into_owned())
        .collect();
    manager.set_nonblocking(false).expect("blocking");
    texts
}

#[test]
fn a_barrier_waits_no_longer_than_it_may_for_room_either() {
    let (dir, _manager, notifier) = pair();
    fill(&dir.path().join("notify"));
    let start = Instant::now();
    notifier.barrier(Duration::from_millis(300)).expect_err("nobody reads");
    // A send of its own waits for five seconds.
    assert!(start.elapsed() < Duration::from_secs(4), "it took {:?}", start.elapsed());
}

/// The program with a listening socket and a manager whose queue is full, and a client.
fn serve_with_a_full_queue(dir: &Dir) -> (UnixDatagram, Process, TcpStream) {
    let manager = UnixDatagram::bind(dir.path("notify")).expect("bind");
    manager.set_read_timeout(Some(LIMIT)).expect("timeout");
    fill(&dir.path("notify"));
    let (listener, client) = listener();
    let mut command = hand_over(listener, &["serve", "--sdnotify"]);
    let process = Process::start(command.env("NOTIFY_SOCKET", dir.path("notify")));
    (manager, process, client)
}

#[test]
fn a_manager_without_room_is_told_as_soon_as_it_has_some() {
    let dir = Dir::new();
    let (manager, process, mut client) = serve_with_a_full_queue(&dir);
    client.write_all(b"x").expect("send");
    client.read_exact(&mut [0]).expect("an echo, though nobody was told");
    assert_eq!(next_said(&manager), "READY=1");
    assert!(receive(&manager).0.starts_with("STATUS=serving 1 socket: tcp:"));
    process.signal(Signal::TERM);
    assert_eq!(receive(&manager).0, "STOPPING=1");
    process.finish().expect_code(0);
    assert_eq!(drain(&manager), [""; 0], "each is said once");
}

#[test]
fn a_manager_without_room_delays_no_shutdown() {
    let dir = Dir::new();
    let (manager, process, mut client) = serve_with_a_full_queue(&dir);
    client.write_all(b"x").expect("send");
    client.read_exact(&mut [0]).expect("an echo");
    process.signal(Signal::TERM);
    process.finish().expect_code(0);
    assert_eq!(drain(&manager), [""; 0], "it was never ready for the manager");
}

#[test]
fn errors_name_the_message_the_socket_the_answer_and_the_remedy() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let nobody = dir.path().join("nobody");
    drop(UnixDatagram::bind(&nobody).expect("bind"));
    let stream = dir.path().join("stream");
    let _listener = UnixListener::bind(&stream).expect("bind");
    for (path, answer, remedy) in [
        (dir.path().join("none"), "No such file or directory", "or unset NOTIFY_SOCKET"),
        (nobody, "Connection refused", "unset NOTIFY_SOCKET, which a parent"),
        (stream, "Protocol wrong type for socket", "the socket there must be a datagram socket"),
    ] {
        let error = notifier(&path).send(&[State::Ready]).expect_err("fails");
        let text = error.to_string();
        let start = format!("send READY=1 to NOTIFY_SOCKET={}: {answer}; ", path.display());
        assert!(text.starts_with(&start), "{text}");
        assert!(text.contains(remedy), "{text}");
        assert_eq!(error.kind(), ErrorKind::Other);
    }
}

#[test]
fn vsock_that_leads_nowhere_says_what_to_change() {
    for value in ["vsock:local:1", "vsock-seqpacket:local:1", "vsock-dgram:local:1"] {
        let error = notifier(value).send(&[State::Ready]).expect_err(value);
        let text = error.to_string();
        assert!(text.starts_with("send READY=1 to NOTIFY_SOCKET=vsock"), "{text}");
        assert!(text.contains("vsock ") || text.contains("listens on this port"), "{text}");
    }
}

#[test]
fn a_vsock_connection_waits_no_longer_than_it_may() {
    for value in ["vsock:local:1", "vsock-seqpacket:local:1", "vsock-stream:local:1"] {
        let (notifier, mut message) = (notifier(value), Message::new(&[State::Ready]));
        let start = Instant::now();
        assert!(!notifier.try_send(&mut message).unwrap_or(false), "{value}");
        notifier.finish(&mut message, Duration::from_millis(20)).expect_err(value);
        // A transport that does not answer is waited for two seconds, see vsock(7).
        assert!(start.elapsed() < Duration::from_secs(1), "{value}: {:?}", start.elapsed());
    }
}

#[test]
fn descriptors_cannot_go_over_vsock() {
    let error = notifier("vsock:host:1").barrier(LIMIT).expect_err("no descriptors over vsock");
    assert!(error.to_string().contains("file descriptors cannot be sent over vsock"), "{error}");
}
