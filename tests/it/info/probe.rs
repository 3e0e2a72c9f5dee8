//! `probe --info`: the table, the document, and what it says of servers that do not answer.

use std::io::{BufRead, BufReader, Write};
use std::net::{Shutdown, UdpSocket};
use std::os::unix::net::{UnixListener, UnixStream};

use super::{document, server};
use crate::activators::{Active, Kind};
use crate::kit::{Dir, Finished, program, run};

fn probe(arguments: &[&str]) -> Finished {
    run(program().args(["probe", "--info"]).args(arguments))
}

#[test]
fn each_kind_of_socket_is_asked() {
    for kind in Kind::ALL {
        let active = server(kind, &[]);
        let address = active.address.to_client().to_string();
        let shown = probe(&[&address]).expect_code(0).stdout;
        let mut lines = shown.lines();
        assert_eq!(lines.next(), Some(&*address), "{shown}");
        let names = lines.map(|line| line.split_whitespace().next().expect("a name"));
        let names: Vec<_> = names.collect();
        assert!(names.contains(&"process.pid") && names.contains(&"socket.name"), "{shown}");
        let peer = if address.starts_with("unix") { "peer.pid" } else { "peer.address" };
        assert!(names.contains(&peer), "{shown}");
        let json = probe(&["--json", &address]).expect_code(0).stdout;
        assert_eq!(document(json.as_bytes())["socket"]["name"], "info");
        active.process.terminate().expect_code(0);
    }
}

#[test]
fn an_echo_is_no_answer() {
    for kind in [Kind::Tcp4, Kind::Udp4, Kind::UnixStream, Kind::UnixSeqpacket] {
        let active = Active::serve(kind, &[]);
        let address = active.address.to_string();
        let said = format!("{address}: this socket echoes; --info needs a server with `serve");
        probe(&[&address]).expect_code(8).expect_stderr(&[&said]);
        active.process.terminate().expect_code(0);
    }
}

#[test]
fn other_servers_are_told_apart() {
    let server = UdpSocket::bind("127.0.0.1:0").expect("bind");
    let address = format!("udp:{}", server.local_addr().expect("an address"));
    std::thread::spawn(move || {
        let answers =
            [&b"hello\x1b"[..], b"", b"{\"schema\":1}\n", b"info: send at least 9 bytes\n"];
        for answer in answers.iter().cycle() {
            let (_, from) = server.recv_from(&mut [0; 2000]).expect("a question");
            server.send_to(answer, from).expect("send");
        }
    });
    for shown in [r"`hello\x1b`", "``", r#"`{"schema":1}\x0a`"#, "`info: send at least 9 bytes"] {
        let said = format!("this is no answer of `serve --info`: {shown}");
        probe(&[&address]).expect_code(8).expect_stderr(&[&said, "the server does not answer"]);
    }
    // What is told of every address, and the exit status of the first that failed.
    let (none, dir) = ("tcp:127.0.0.1:1", Dir::new());
    probe(&[none, &address]).expect_code(6).expect_stderr(&["Connection refused", "no answer of"]);
    let listener = UnixListener::bind(dir.path("s")).expect("bind");
    std::thread::spawn(move || drop(listener.accept()));
    let address = format!("unix:{}", dir.path("s").display());
    probe(&[&address]).expect_code(7);
    probe(&[]).expect_code(2).expect_stderr(&["<ADDR>"]);
    probe(&["--count", "2", none]).expect_code(2).expect_stderr(&["cannot be used with"]);
}

/// A unix socket that leads to a virtual machine: the answer comes through it.
#[test]
fn through_the_socket_of_a_hypervisor() {
    let active = server(Kind::UnixStream, &[]);
    let mux = UnixListener::bind(active.dir.path("mux")).expect("bind");
    let inner = active.dir.path("s");
    std::thread::spawn(move || {
        let (client, _) = mux.accept().expect("accept");
        let mut reader = BufReader::new(client.try_clone().expect("dup"));
        let mut line = String::new();
        reader.read_line(&mut line).expect("a line");
        assert_eq!(line, "CONNECT 3000\n");
        (&client).write_all(b"OK 1024\n").expect("write");
        let server = UnixStream::connect(inner).expect("connect");
        let mut answers = server.try_clone().expect("dup");
        let back = std::thread::spawn(move || {
            let _ = std::io::copy(&mut answers, &mut &client);
            let _ = client.shutdown(Shutdown::Write);
        });
        let _ = std::io::copy(&mut reader, &mut &server);
        let _ = back.join();
    });
    let address = format!("vsock-mux:{}:3000", active.dir.path("mux").display());
    let shown = probe(&[&address]).expect_code(0).stdout;
    assert!(shown.contains("socket.name"), "{shown}");
    active.process.terminate().expect_code(0);
}
