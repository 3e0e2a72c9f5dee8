//! Arguments that no load accepts, and servers that do not echo.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex};
use std::thread;

use socket2::{Domain, SockAddr, Socket, Type};

use super::{bench, document, measured};
use crate::kit::{Dir, HOSTILE_NUMBERS, program, run};

fn ends_well(arguments: &[&str]) {
    run(program().arg("bench").args(arguments)).expect_code_in(0..9);
}

#[test]
fn no_number_panics_aborts_or_runs_away() {
    let closing = format!("tcp:{}", super::serve_tcp(drop));
    // Nobody listens on port 1: a count of connections or rounds ends with the first.
    let nobody = "tcp:127.0.0.1:1";
    for value in HOSTILE_NUMBERS {
        for flag in ["-c", "-r", "--window", "--cpu", "--server-pid"] {
            ends_well(&[&format!("{flag}={value}"), "-d", "0", "-w", "0", nobody]);
            ends_well(&[&format!("{flag}={value}"), "-m", "idle", "-d", "0", "-w", "0", nobody]);
        }
        for mode in ["pingpong", "bulk"] {
            for flag in ["-t", "-d", "-w", "-s"] {
                ends_well(&["-m", mode, &format!("{flag}={value}"), &closing]);
            }
        }
        for flags in [["-d=0.05", "-w=0"], ["-d=0", "-w=0.05"]] {
            let rate = format!("--rate={value}");
            ends_well(&[&rate, "-c", "3", flags[0], flags[1], &closing]);
        }
        ends_well(&["-m", "idle", &format!("-s={value}"), "-d=0", "-w=0", &closing]);
        let size = format!("-s={value}");
        ends_well(&["-m", "cold", &size, "-r", "1", "-t", "0.2", "--run", "/bin/true"]);
        let window = format!("--window={value}");
        ends_well(&["-m", "flood", &window, "-d=0.05", "-w=0", "udp:127.0.0.1:1"]);
    }
    for time in ["1e19", "1e308", "18446744073709551615"] {
        ends_well(&["-d", time, "-w", time, "-t", time, &closing]);
        ends_well(&["-m", "cold", "-t", time, "-r", "1", "--run", "/bin/true", "tcp:127.0.0.1:0"]);
    }
}

/// Everything comes back with a byte more each time.
fn append(mut stream: impl Read + Write) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(count @ 1..) = stream.read(&mut buffer) {
        if stream.write_all(&[&buffer[..count], b"!"].concat()).is_err() {
            return;
        }
    }
}

fn appending_seqpacket_server(dir: &Dir) -> String {
    let path = dir.path("q");
    let listener = Socket::new(Domain::UNIX, Type::SEQPACKET, None).unwrap();
    listener.bind(&SockAddr::unix(&path).unwrap()).unwrap();
    listener.listen(64).unwrap();
    thread::spawn(move || {
        while let Ok((connection, _)) = listener.accept() {
            thread::spawn(move || append(connection));
        }
    });
    format!("unix-seqpacket:{}", path.display())
}

#[test]
fn bytes_that_were_not_sent_are_wrong_in_every_mode() {
    let dir = Dir::new();
    let tcp = format!("tcp:{}", super::serve_tcp(append));
    let spoilt = format!("tcp:{}", super::tcp_server(1));
    let seqpacket = appending_seqpacket_server(&dir);
    for (mode, address) in [
        ("pingpong", &spoilt),
        ("bulk --verify", &spoilt),
        ("pingpong", &tcp),
        ("pingpong -c 3 --rate 500", &tcp),
        ("bulk --verify", &tcp),
        ("idle -c 3", &tcp),
        ("pingpong", &seqpacket),
        ("pingpong -c 3 --rate 500", &seqpacket),
        ("idle -c 3", &seqpacket),
    ] {
        let (code, server) = measured(&format!("-m {mode} {address}"));
        assert!(server["wrong"].as_u64() > Some(0), "{mode} {address}: {server:#}");
        assert_eq!(code, Some(8), "{mode} {address}: {server:#}");
    }
}

#[test]
fn what_fails_is_said_in_the_document_too() {
    let missing = Dir::new().path("none");
    let missing = format!("unix:{}", missing.display());
    for (arguments, status, word) in [
        ("tcp:127.0.0.1:1", 6, "Connection refused"),
        (missing.as_str(), 6, "No such file"),
        ("-m idle tcp:127.0.0.1:1", 6, "Connection refused"),
        ("-m flood tcp:127.0.0.1:1", 2, "datagrams"),
        ("-m cold -r 1 --run /no/such/program", 127, "/no/such/program"),
        ("-m cold -r 1 -t 0.2 --run /bin/true", 7, "/bin/true"),
    ] {
        let document = document(arguments, status);
        assert_eq!(document["exit_status"], status, "{arguments}: {document:#}");
        let error = document["error"].as_str().unwrap_or_default();
        assert!(error.contains(word), "{arguments}: {document:#}");
    }
    // People are told as before.
    bench("--json tcp:127.0.0.1:1").expect_stderr(&["Connection refused"]);
}

/// What a server of datagrams has seen.
#[derive(Default)]
struct Seen {
    last: HashMap<SocketAddr, Vec<u8>>,
    received: u64,
    /// Those that are equal to the one before of the same sender.
    repeated: u64,
}

/// An echo of datagrams; `spoil` changes the first byte of what comes back.
fn seeing_server(spoil: u8) -> (SocketAddr, Arc<Mutex<Seen>>) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let shared = Arc::new(Mutex::new(Seen::default()));
    let seen = Arc::clone(&shared);
    thread::spawn(move || {
        let mut buffer = vec![0; 1 << 16];
        loop {
            let (count, sender) = socket.recv_from(&mut buffer).unwrap();
            let mut seen = seen.lock().unwrap();
            seen.received += 1;
            let last = seen.last.insert(sender, buffer[..count].to_vec());
            seen.repeated += u64::from(last.is_some_and(|last| last == buffer[..count]));
            buffer[0] ^= spoil;
            let _ = socket.send_to(&buffer[..count], sender);
        }
    });
    (address, shared)
}

#[test]
fn no_datagram_is_equal_to_the_one_before_it() {
    let (address, seen) = seeing_server(0);
    for flags in [
        "-m flood -s 4",
        "-m flood -c 2",
        "-m flood -s 1400 -c 2",
        "-m flood -s 40000",
        "-m flood --gso",
        "-m flood --gso -s 1400",
        "-s 4",
        "-c 3",
        "--rate 500",
    ] {
        let (_, server) = measured(&format!("{flags} udp:{address}"));
        assert_eq!(server["wrong"], 0, "{flags}: {server:#}");
        let seen = std::mem::take(&mut *seen.lock().unwrap());
        // What is lost in between can make equals neighbours.
        let most = if flags.contains("flood") { seen.received / 4 } else { 0 };
        let Seen { received, repeated, .. } = seen;
        assert!(repeated <= most, "{flags}: {repeated} of {received} datagrams");
    }
}

#[test]
fn the_bytes_that_tell_datagrams_apart_are_verified_too() {
    let (address, _) = seeing_server(1);
    for flags in ["-m flood -s 1", "-m flood -s 4", "-m flood", "-m flood --gso -s 1400", "-s 4"] {
        let (code, server) = measured(&format!("{flags} udp:{address}"));
        assert!(server["wrong"].as_u64() > Some(0), "{flags}: {server:#}");
        assert_eq!(code, Some(8), "{flags}: {server:#}");
    }
}

#[test]
fn messages_larger_than_a_receive_buffer_are_whole() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("datagram");
    super::unix_datagram_server(&path);
    for flags in ["-s 300000", "-m flood -s 100000 --window 1"] {
        let (code, server) = measured(&format!("{flags} unix-dgram:{}", path.display()));
        assert_eq!((code, &server["wrong"]), (Some(0), &0.into()), "{flags}: {server:#}");
    }
}
