//! Datagrams: no answer is longer than three times its question, and no two sockets talk for ever.

use std::net::UdpSocket;
use std::os::fd::OwnedFd;

use socket_activate_echo::address::Style;
use socket2::Socket;

use super::{QUESTION, document, server};
use crate::activate::listening;
use crate::activators::{Active, Kind};
use crate::clients::{connect, messages, receive};
use crate::handover::Notified;
use crate::kit::{Dir, Finished, program, program_path};
use crate::strangers::expect_rest;
use crate::strangers::loops::of_server;

#[test]
fn an_answer_is_at_most_three_times_as_long() {
    for kind in [Kind::Udp4, Kind::Udp6, Kind::UdpDual, Kind::UnixDatagram] {
        let active = server(kind, &[]);
        let client = connect(&active.address, &active.dir);
        let (mut unanswered, mut lines, mut documents) = (0, 0, 0);
        for len in [0, 1, 2, 9, 10, 11, 60, 100, 190, 250, 400, 1199, 65_507] {
            let question = vec![b'?'; len];
            client.send(&question).expect("send");
            // What follows is answered after it.
            client.send(&QUESTION).expect("send");
            let first = receive(&client, 4096);
            if len < 10 {
                unanswered += 1;
                document(&first);
                continue;
            }
            assert!(first.len() <= 3 * len, "{kind:?} {len}: {}", first.len());
            if first.starts_with(b"info: send at least ") {
                lines += 1;
                let text = String::from_utf8(first).expect("text");
                let least: usize = text.split(' ').nth(4).expect("it").parse().expect("a number");
                client.send(&vec![b'?'; least]).expect("send");
                document(&receive(&client, 4096));
                documents += 1;
            } else {
                document(&first);
            }
            document(&receive(&client, 4096));
            documents += 1;
        }
        assert!(unanswered == 4 && lines >= 4 && documents >= 10, "{kind:?}: {lines}");
        let words = format!("{unanswered} datagrams were not answered");
        active.process.terminate().expect_code(0).expect_stderr(&[&words]);
    }
}

/// What begins as an answer is not answered, whoever sends it.
#[test]
fn an_answer_is_not_answered() {
    for kind in [Kind::Udp4, Kind::UnixDatagram] {
        let active = server(kind, &[]);
        let client = connect(&active.address, &active.dir);
        client.send(&QUESTION).expect("send");
        let answer = receive(&client, 4096);
        let line = b"info: send at least 100 bytes\n".repeat(20);
        for echo in [&answer[..], &answer[..answer.len() / 2], &line] {
            client.send(echo).expect("send");
        }
        client.send(&QUESTION[1..]).expect("send");
        document(&receive(&client, 4096));
        let words = "4 datagrams".replace('4', "3") + " were not answered";
        active.process.terminate().expect_code(0).expect_stderr(&[&words]);
    }
}

/// A server of this kind that echoes or answers.
fn other(kind: Kind, info: bool) -> Active {
    if info { server(kind, &[]) } else { Active::serve(kind, &["--debug"]) }
}

/// Starts it, so that it has its socket as fd 3, and its log is that of `serve`.
fn started(kind: Kind, info: bool) -> (Active, OwnedFd) {
    let active = other(kind, info);
    let client = connect(&active.address, &active.dir);
    client.send(&QUESTION).expect("send");
    receive(&client, 4096);
    let socket = of_server(&active.process, 3);
    (active, socket)
}

/// The hop limit that a datagram has in the beginning (ip(7), `IP_TTL`).
const HOPS: usize = 64;

/// Datagrams whose sender is forged to be the other server: they come to an end.
#[test]
fn two_servers_do_not_talk_for_ever() {
    let with_info = [(true, true), (true, false), (false, true)];
    for kind in [Kind::Udp4, Kind::Udp6, Kind::UnixDatagram] {
        // Two that echo, over UDP: nobody can forge the sender of a unix datagram.
        let echoes = (kind != Kind::UnixDatagram).then_some((false, false));
        for (one_informs, other_informs) in with_info.into_iter().chain(echoes) {
            let (one, forged) = started(kind, one_informs);
            let (other, _) = started(kind, other_informs);
            let to = other.sockaddr();
            let forged = Socket::from(forged);
            let questions = [&QUESTION[..], &QUESTION[..20], &QUESTION[..1], b""];
            for question in questions {
                forged.send_to(question, &to).expect("send");
            }
            expect_rest(&one.process);
            expect_rest(&other.process);
            for active in [one, other] {
                let client = connect(&active.address, &active.dir);
                client.send(&QUESTION).expect("send");
                assert!(!receive(&client, 4096).is_empty());
                let finished = active.process.terminate().expect_code(0);
                let count = datagrams(&finished);
                // Two of this test, and at most one round for each question. Two that echo stop when
                // the hop limit is used up.
                let each = if one_informs || other_informs { 2 } else { HOPS };
                assert!(count <= 2 + each * questions.len(), "{kind:?} {}", finished.describe());
            }
        }
    }
}

/// Two sockets of one process, of which one answers, or none.
#[test]
fn two_sockets_of_one_server_do_not_talk_for_ever() {
    for info in [&["--info", "one"][..], &[]] {
        let mut command = program();
        command.args(["activate", "-l", "udp:127.0.0.1:0", "-l", "udp:127.0.0.1:0"]);
        command.args(["--fdname", "one:echo", "--", program_path(), "serve"]).args(info);
        let active = Active::ours(Dir::new(), &mut command);
        let echo = listening(&active.process)[1].parse().expect("an address");
        let client = connect(&echo, &active.dir);
        messages(&client, &[5]);
        let [one, echoing] = [3, 4].map(|fd| UdpSocket::from(of_server(&active.process, fd)));
        for question in [&QUESTION[..], &QUESTION[..20], &QUESTION[..1], b""] {
            one.send_to(question, echoing.local_addr().expect("an address")).expect("send");
            echoing.send_to(question, one.local_addr().expect("an address")).expect("send");
        }
        expect_rest(&active.process);
        messages(&client, &[5, 0, 1400]);
        let finished = active.process.terminate().expect_code(0);
        // Four of this test. A question to the one that echoes is three more: the echo is answered, and
        // the echo of the answer is not.
        let most = if info.is_empty() { 8 * HOPS } else { 4 * 4 + 4 * 3 };
        assert!(datagrams(&finished) <= 4 + most, "{}", finished.describe());
    }
}

/// How many datagrams the server says that it has received.
fn datagrams(finished: &Finished) -> usize {
    let words = finished.stderr.rsplit("connections and ").next().expect("it");
    words.split(' ').next().expect("it").parse().expect("a number")
}

/// The service manager must not get an answer, as it gets no echo.
#[test]
fn the_manager_is_not_answered() {
    let dir = Dir::new();
    let manager = Notified::new();
    let mut command = program();
    manager.of(&mut command).args(["activate", "--fdname", "info"]);
    command.args(["-l", &Kind::UnixDatagram.address(&dir), "--", program_path(), "serve"]);
    let active = Active::ours(dir, command.args(["--info", "info", "--debug"]));
    assert_eq!(active.address.style(), Style::Datagram);
    manager.socket.send_to(&QUESTION, active.dir.path("s")).expect("send");
    assert!(active.process.stderr_line("never answers").is_some());
    manager.expect_no_message();
    active.process.terminate().expect_code(0);
}
