//! `serve --info`: what the sockets answer that do not echo, to whom, and for how long.

mod datagrams;
mod facts;
mod http;
mod library;
mod probe;

use std::io::Read;
use std::net::Shutdown;

use serde_json::Value;
use socket_activate_echo::address::Style;
use socket_activate_echo::sandbox::Available;
use socket2::Socket;

use crate::activators::{Active, Kind};
use crate::clients::{connect, receive};
use crate::kit::{Dir, program, program_path};

/// As long as a datagram must be at most for a whole answer.
const QUESTION: [u8; 1200] = [b'?'; 1200];

/// A server whose only socket answers. Its sandbox is required, where there is one.
fn server(kind: Kind, flags: &[&str]) -> Active {
    let dir = Dir::new();
    let mut command = program();
    command.args(["activate", "--fdname", "info", "-l", &kind.address(&dir), "--"]);
    command.args([program_path(), "serve", "--info", "info", "--debug"]).args(flags);
    let available = Available::here();
    if available.seccomp && available.landlock_abi.is_some() {
        command.args(["--sandbox", "require"]);
    }
    Active::ours(dir, &mut command)
}

/// The answer to a question. A connection then ends.
fn ask(socket: &Socket, style: Style, question: &[u8]) -> Value {
    assert_eq!(socket.send(question).expect("send"), question.len());
    let answer = match style {
        Style::Datagram => receive(socket, 4096),
        Style::Stream | Style::Seqpacket => to_end(socket),
    };
    document(&answer)
}

/// What comes before the end: of messages, there is at most one.
fn to_end(mut socket: &Socket) -> Vec<u8> {
    let (mut answer, mut len) = (vec![0; 8192], 0);
    loop {
        match socket.read(&mut answer[len..]).expect("an answer, and its end") {
            0 => break,
            count => len += count,
        }
    }
    answer.truncate(len);
    answer
}

#[track_caller]
fn document(answer: &[u8]) -> Value {
    let text = std::str::from_utf8(answer).expect("text");
    let line = text.strip_suffix('\n').expect("a newline at the end");
    assert!(!line.contains(char::is_control), "{line:?}");
    let document: Value = serde_json::from_str(line).unwrap_or_else(|e| panic!("{line}: {e}"));
    assert_eq!(document["schema"], 1, "{line}");
    document
}

/// The JSON type of a fact that a kind of socket has.
fn has(part: &Value, fields: &[&str]) -> bool {
    fields.iter().all(|field| !part[field].is_null())
}

#[test]
fn every_kind_of_socket_answers() {
    for kind in Kind::ALL {
        let active = server(kind, &[]);
        let style = active.address.style();
        let client = connect(&active.address, &active.dir);
        let own = client.local_addr().expect("an address");
        let answer = ask(&client, style, &QUESTION);
        let (socket, peer) = (&answer["socket"], &answer["peer"]);
        assert_eq!((&socket["fd"], &socket["name"]), (&3.into(), &"info".into()), "{answer}");
        assert_eq!(socket["address"], active.address.to_string(), "{answer}");
        if let Some(ip) = own.as_socket() {
            assert_eq!(peer["address"], ip.ip().to_string(), "{answer}");
            assert_eq!(peer["port"], ip.port(), "{answer}");
        } else {
            assert_eq!(peer["pid"], std::process::id(), "{answer}");
            assert_eq!(peer["uid"], rustix::process::geteuid().as_raw(), "{answer}");
            assert_eq!(peer["gid"], rustix::process::getegid().as_raw(), "{answer}");
        }
        let is_tcp = matches!(kind, Kind::Tcp4 | Kind::Tcp6 | Kind::TcpDual);
        if kind != Kind::Mptcp {
            assert_eq!(has(peer, &["rtt_us", "mss", "congestion_control"]), is_tcp, "{answer}");
        }
        let activation = &answer["activation"];
        let time = |field: &str| activation[field].as_u64().expect("a time");
        assert!(time("started_us") <= time("first_byte_us"), "{answer}");
        assert!(time("first_byte_us") <= time("asked_us"), "{answer}");
        // The first byte is that of the first client.
        let again = ask(&connect(&active.address, &active.dir), style, &QUESTION);
        assert_eq!(again["activation"]["first_byte_us"], activation["first_byte_us"], "{again}");
        let counts = match style {
            Style::Datagram => "served 0 connections and 2 datagrams, 2400 bytes",
            _ => "served 2 connections and 0 datagrams, 2400 bytes",
        };
        let log = active.process.terminate().expect_code(0).expect_stderr(&[counts]);
        let _ = log.expect_stderr(&["recv 1200 bytes on info", "bytes on info to "]);
    }
}

/// The first bytes of a stream, whatever they are; even none, if the stream has ended.
#[test]
fn a_stream_answers_whatever_comes() {
    for kind in [Kind::Tcp4, Kind::UnixStream, Kind::UnixSeqpacket, Kind::Mptcp] {
        let active = server(kind, &[]);
        for (question, is_ended) in [
            (&b"x"[..], false),
            (b"\n", false),
            (b"\0\xff", false),
            (&[b'x'; 100_000], false),
            (b"GET / HTTP/2\r\n", false),
            (b"", true),
            (b"GET /", true),
            (b"G", true),
        ] {
            let client = connect(&active.address, &active.dir);
            if !question.is_empty() {
                client.send(question).expect("send");
            }
            if is_ended {
                client.shutdown(Shutdown::Write).expect("shutdown");
            }
            document(&to_end(&client));
        }
        active.process.terminate().expect_code(0);
    }
}

/// A client that is gone, or that goes on sending after its answer, is nobody's matter.
#[test]
fn clients_that_reset_or_never_stop_end_only_their_own_connection() {
    for kind in [Kind::Tcp4, Kind::UnixStream] {
        let active = server(kind, &[]);
        for _ in 0..20 {
            let client = connect(&active.address, &active.dir);
            client.send(b"x").expect("send");
            if kind == Kind::Tcp4 {
                client.set_linger(Some(std::time::Duration::ZERO)).expect("SO_LINGER");
            }
        }
        let silent = connect(&active.address, &active.dir);
        let chatty = connect(&active.address, &active.dir);
        document(&{
            chatty.send(b"x").expect("send");
            to_end(&chatty)
        });
        // It is ended before long; a send fails then.
        while chatty.send(&QUESTION).is_ok() {}
        ask(&connect(&active.address, &active.dir), Style::Stream, b"x");
        // One that has not asked gets only the end.
        let finished = active.process.terminate().expect_code(0);
        assert_eq!(to_end(&silent), b"", "{}", finished.describe());
    }
}

#[test]
fn connections_that_are_passed_answer_too() {
    for (flags, name, is_one) in [
        (&["--accept"][..], "connection", true),
        (&["--accept", "--inetd"], "stdin", true),
        (&["--inetd"], "stdin", false),
    ] {
        for kind in [Kind::Tcp4, Kind::UnixStream, Kind::UnixSeqpacket] {
            let dir = Dir::new();
            let mut command = program();
            command.arg("activate").args(flags).args(["-l", &kind.address(&dir), "--"]);
            command.args([program_path(), "serve", "--info", name]);
            let active = Active::ours(dir, &mut command);
            for _ in 0..2 {
                let client = connect(&active.address, &active.dir);
                let answer = ask(&client, active.address.style(), b"x");
                assert_eq!(answer["socket"]["name"], name, "{answer}");
                let is_listening = !answer["socket"]["address"].is_null();
                assert!(is_listening || is_one, "{answer}");
            }
            active.process.terminate().expect_code(0);
        }
    }
}

#[test]
fn several_workers_and_limits_hold() {
    let active = server(Kind::Tcp4, &["--workers", "4", "--connections-max-per-source", "100"]);
    for _ in 0..20 {
        ask(&connect(&active.address, &active.dir), Style::Stream, b"x");
    }
    active.process.terminate().expect_code(0);
    for kind in [Kind::Tcp4, Kind::Udp4, Kind::UnixDatagram] {
        let active = server(kind, &["--exit-idle-time", "0.1", "--workers", "2"]);
        let style = active.address.style();
        ask(&connect(&active.address, &active.dir), style, &QUESTION);
        active.process.finish().expect_code(0).expect_stderr(&["; idle for"]);
    }
}
