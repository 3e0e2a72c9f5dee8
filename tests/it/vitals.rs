//! What the service manager learns of a server that runs: its status line, and whether all of its
//! workers go on.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::clients::word;
use crate::faults;
use crate::handover::{Notified, hand_over};
use crate::kit::{DEADLINE, Process, clean};

/// A server with a manager.
struct Bed {
    manager: Notified,
    process: Process,
    address: SocketAddr,
}

impl Bed {
    /// A server that is ready.
    fn start(flags: &[&str], watchdog_usec: u32) -> Self {
        let manager = Notified::new();
        let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
        let address = listener.local_addr().expect("an address");
        let mut command = hand_over(listener, &[&["serve", "--sdnotify"], flags].concat());
        manager.of(&mut command);
        if watchdog_usec > 0 {
            command.env("WATCHDOG_USEC", watchdog_usec.to_string());
        }
        let process = Process::start(&mut command);
        assert_eq!(manager.message(), "READY=1");
        Self { manager, process, address }
    }

    /// Waits for a message that ends like this. Returns how many came.
    fn expect(&self, end: &str) -> usize {
        let deadline = Instant::now() + DEADLINE;
        for count in 1.. {
            let message = self.manager.message();
            if message.ends_with(end) {
                return count;
            }
            assert!(Instant::now() < deadline, "no {end:?}, but {message:?}");
        }
        0
    }

    fn client(&self) -> TcpStream {
        let client = TcpStream::connect(self.address).expect("connect");
        client.set_read_timeout(Some(DEADLINE)).expect("a timeout");
        client
    }
}

/// Any worker may serve these clients; the first one tells the manager.
#[test]
fn the_status_line_says_what_happened_and_an_idle_server_sleeps() {
    for workers in ["1", "4"] {
        let bed = Bed::start(&["--workers", workers], 0);
        assert_eq!(bed.manager.message(), format!("STATUS=serving 1 socket: tcp:{}", bed.address));
        let clients = [0; 3].map(|_| bed.client());
        clients.iter().for_each(word);
        bed.expect("; 3 connections now, 3 in all; 18 bytes");
        bed.process.expect_rest(Duration::from_millis(1500), 0);
        for (number, client) in (1..).zip(clients) {
            word(&client);
            drop(client);
            let bytes = 18 + number * 6;
            let plural = if 3 - number == 1 { "" } else { "s" };
            let now = 3 - number;
            bed.expect(&format!("; {now} connection{plural} now, 3 in all; {bytes} bytes"));
        }
        bed.process.signal(Signal::TERM);
        assert_eq!(bed.manager.message(), "STOPPING=1");
        let finished = bed.process.finish().expect_code(0);
        finished.expect_stderr(&["served 3 connections and 0 datagrams, 36 bytes"]);
        bed.manager.expect_no_message();
    }
}

#[test]
fn under_load_there_is_one_status_line_a_second_and_every_keep_alive() {
    for workers in ["1", "4"] {
        let start = Instant::now();
        let bed = Bed::start(&["--workers", workers], 500_000);
        let is_over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for _ in 0..6 {
                scope.spawn(|| {
                    let client = bed.client();
                    while !is_over.load(Ordering::Relaxed) {
                        word(&client);
                    }
                });
            }
            let (mut keep_alives, mut lines) = (0, 0);
            while keep_alives < 12 {
                let is_status = bed.manager.message().starts_with("STATUS=");
                lines += u64::from(is_status);
                keep_alives += u64::from(!is_status);
            }
            is_over.store(true, Ordering::Relaxed);
            let seconds = start.elapsed().as_secs();
            assert!(lines <= seconds + 2, "{lines} status lines in {seconds} s");
            assert!(lines > 1, "none but the first");
        });
        bed.process.terminate().expect_code(0);
    }
}

/// strace holds one worker in a system call, as a disk or a reader of the log could. The others go
/// on, and the manager learns that not all is well.
#[test]
fn a_worker_that_hangs_stops_the_keep_alive() {
    if !faults::can_trace("a worker that hangs") {
        return;
    }
    let bed = Bed::start(&["--workers", "2"], 400_000);
    bed.expect("WATCHDOG=1");
    let pid = bed.process.pid().as_raw_nonzero().to_string();
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).expect("it runs").flatten();
    let names = threads.map(|thread| thread.file_name().into_string().expect("a number"));
    let second = names.into_iter().find(|name| *name != pid).expect("a second worker");
    let delay = "inject=accept4:delay_enter=1000000000";
    let tracer =
        Process::start(clean("strace").args(["-e", "trace=accept4", "-e", delay, "-p", &second]));
    assert!(tracer.stderr_line("attached").is_some(), "{}", tracer.describe());
    let deadline = Instant::now() + DEADLINE;
    let mut clients = Vec::new();
    while !bed.process.stderr().contains("worker 2 hangs") {
        assert!(Instant::now() < deadline, "it does not hang");
        // Most of them wake the first worker. Each stays, so that none can take the place of one
        // that waits.
        if clients.len() < 500 {
            clients.extend([0; 20].map(|_| bed.client()));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    bed.manager.socket.set_nonblocking(true).expect("O_NONBLOCK");
    while bed.manager.socket.recv(&mut [0]).is_ok() {}
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(1) {
        word(&bed.client());
        let mut buffer = [0; 100];
        if let Ok(len) = bed.manager.socket.recv(&mut buffer) {
            assert!(buffer[..len].starts_with(b"STATUS="), "{}", bed.process.describe());
        }
    }
    bed.manager.socket.set_nonblocking(false).expect("O_NONBLOCK");
    tracer.signal(Signal::TERM);
    tracer.finish();
    bed.expect("WATCHDOG=1");
    clients.iter().for_each(word);
    bed.process.terminate().expect_code(0).expect_stderr(&["all workers go on"]);
}
