//! Every way in which an echo can fail, caused for real: the verdict, the exit status, and the
//! remedy.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::os::unix::process::CommandExt;

use socket2::{Domain, Socket, Type};

use super::servers::{self, SIZE, message, reply_and_wait};
use super::{probe, verdict};
use crate::kit::{self, Dir, Finished};

#[track_caller]
fn expect(finished: Finished, address: &str, name: &str, code: i32, parts: &[&str]) {
    let finished = finished.expect_code(code).expect_stderr(parts);
    assert_eq!(verdict(&finished, address), name, "{}", finished.describe());
}

/// What comes back of a message, one after the other.
type Answer = fn(&[u8]) -> Vec<Vec<u8>>;

#[test]
fn streams() {
    let faults: [(Answer, &str, i32, &str); 8] = [
        (|_| vec![], "no-reply", 7, "no reply within 2 s; it"),
        (
            |m| vec![m[..32].into()],
            "stalled",
            7,
            "32 of 64 bytes came back, then nothing for 2 s; the server stopped in the middle",
        ),
        (
            |m| vec![[&m[..40], &[m[40] ^ 0x80], &m[41..]].concat()],
            "wrong-bytes",
            8,
            "message 1 differs at offset 40 of 64: 0x",
        ),
        (|m| vec![m[..16].into(), m[24..].into()], "wrong-bytes", 8, "differs at offset 16 of 64"),
        (|m| vec![[&m[..16], &m[24..]].concat()], "wrong-bytes", 8, "(8 bytes are missing there)"),
        (
            |m| vec![[&m[..32], &m[..32]].concat()],
            "wrong-bytes",
            8,
            "(the bytes from offset 0 on are repeated)",
        ),
        // The random first byte may be this one, but not all of them.
        (|_| vec![b"SSH-2.0-server\r\n".into()], "wrong-bytes", 8, "differs at offset "),
        (|m| vec![m.into(), b"!".into()], "surplus", 8, "1 bytes more came back than were sent"),
    ];
    let dir = Dir::new();
    for (index, (answer, name, code, part)) in faults.into_iter().enumerate() {
        let address = servers::stream(&dir.path(&index.to_string()), move |connection| {
            let parts = answer(&message(connection));
            reply_and_wait(connection, &parts.iter().map(Vec::as_slice).collect::<Vec<_>>());
        });
        let finished = probe(&[&address, "--timeout", patience(name)]);
        expect(finished, &address, name, code, &[part]);
    }
}

/// A connection's server, the verdict, the exit status, and a part of the message.
type StreamFault = (fn(&mut UnixStream), &'static str, i32, &'static str);

#[test]
fn streams_that_end() {
    let faults: [StreamFault; 3] = [
        (|c| drop(message(c)), "closed", 7, "the connection ended after 0 of 64 bytes came back"),
        (
            |c| {
                let bytes = message(c);
                c.write_all(&bytes[..32]).expect("write");
            },
            "closed",
            7,
            "the connection ended after 32 of 64 bytes came back",
        ),
        (
            |c| {
                let bytes = message(c);
                reply_and_wait(c, &[&bytes]);
                c.write_all(b"bye").expect("write");
            },
            "surplus",
            8,
            "3 bytes more came back than were sent; the server does not echo",
        ),
    ];
    let dir = Dir::new();
    for (index, (serve, name, code, part)) in faults.into_iter().enumerate() {
        let address = servers::stream(&dir.path(&index.to_string()), serve);
        expect(probe(&[&address]), &address, name, code, &[part]);
    }
    let address = servers::resets();
    let parts = ["Connection reset by peer", "exited without accepting it"];
    expect(probe(&[&address]), &address, "reset", 7, &parts);
}

#[test]
fn a_reply_that_comes_twice_is_recognised() {
    let dir = Dir::new();
    let address = servers::stream(&dir.path("s"), |connection| {
        let first = message(connection);
        message(connection);
        // Whatever else comes is of no interest.
        connection.write_all(&[&first[..], &first[..]].concat()).expect("write");
        servers::wait_for_end(connection);
    });
    // The second message is sent only after the first came back, so a server that waits for both
    // is one that does not answer.
    let finished = probe(&[&address, "--count", "2", "--timeout", "0.2"]);
    expect(finished, &address, "no-reply", 7, &["no reply within 0.2 s"]);

    let twice = servers::datagram(|datagram| vec![datagram.to_vec(), datagram.to_vec()]);
    let finished = probe(&[&twice, "--count", "2"]);
    expect(finished, &twice, "wrong-bytes", 8, &["it is the reply to message 1 again"]);
}

/// A short wait where the wait is what is tested, and one that no machine is too busy for elsewhere.
fn patience(verdict: &str) -> &'static str {
    if matches!(verdict, "no-reply" | "stalled" | "connect-timeout") { "2" } else { "30" }
}

#[test]
fn datagrams() {
    let faults: [(Answer, &str, &str); 5] = [
        (|_| vec![], "no-reply", "a packet filter may also drop the datagram"),
        (|d| vec![d[..10].to_vec()], "truncated", "10 of 64 bytes came back in one message"),
        (|_| vec![vec![]], "truncated", "0 of 64 bytes came back in one message"),
        (|d| vec![[d, b"!"].concat()], "surplus", "1 bytes more came back"),
        (
            |d| vec![d.iter().map(|byte| !byte).collect()],
            "wrong-bytes",
            "differs at offset 0 of 64: 0x",
        ),
    ];
    for (answer, name, part) in faults {
        let address = servers::datagram(answer);
        let code = if name == "no-reply" { 7 } else { 8 };
        expect(probe(&[&address, "--timeout", patience(name)]), &address, name, code, &[part]);
    }
}

#[test]
fn a_datagram_after_the_last_reply_is_seen_if_it_comes_soon() {
    let twice = servers::datagram(|datagram| vec![datagram.to_vec(), datagram.to_vec()]);
    // A busy machine may put the server to sleep between its two sends, for longer than the probe
    // looks out for the second.
    let finished = (0..20).map(|_| probe(&[&twice])).find(|finished| !finished.status.success());
    let finished = finished.expect("a second reply is seen at least once");
    expect(finished, &twice, "surplus", 8, &["another datagram followed"]);
}

#[test]
fn nobody_to_connect_to() {
    let dir = Dir::new();
    let path = |name: &str| dir.path(name).display().to_string();
    let _stream = UnixListener::bind(dir.path("stream")).expect("bind");
    let _datagram = UnixDatagram::bind(dir.path("datagram")).expect("bind");
    // It is found by its file, whatever the path is that leads there.
    std::os::unix::fs::symlink(dir.path("datagram"), dir.path("link")).expect("symlink");
    drop(UnixDatagram::bind(dir.path("stale")).expect("bind"));
    let [to_datagram, to_link] = ["datagram", "link"].map(|name| {
        format!("; the socket there is of another type: use unix-dgram:{}\n", path(name))
    });
    for (address, name, parts) in [
        ("tcp:127.0.0.1:1".to_owned(), "refused", &["Connection refused", "`ss -lnt`"][..]),
        ("tcp:[::1]:1".to_owned(), "refused", &["activate -l 'tcp:[::1]:1'`"]),
        ("udp:127.0.0.1:1".to_owned(), "refused", &["send to udp:127.0.0.1:1", "`ss -lnu`"]),
        (
            "tcp:localhost:1".to_owned(),
            "refused",
            &["tcp:localhost:1 (", ":1): Connection refused"],
        ),
        ("udp:localhost:1".to_owned(), "refused", &["send to udp:localhost:1 ("]),
        ("unix:@nobody".to_owned(), "refused", &["nobody listens there", "`ss -lxn`"]),
        (format!("unix-dgram:{}", path("stale")), "refused", &["left its socket file behind"]),
        (format!("unix:{}", path("none")), "no-such-path", &["No such file", "unix:@NAME"]),
        (format!("unix:{}", path("none;id")), "no-such-path", &["activate -l 'unix:/", "id'`"]),
        (format!("unix-dgram:{}", path("stream")), "wrong-type", &["another type: use unix:/"]),
        (format!("unix:{}", path("datagram")), "wrong-type", &[&to_datagram]),
        (format!("unix:{}", path("link")), "wrong-type", &[&to_link]),
        ("tcp:no-such-name.invalid:1".to_owned(), "not-resolved", &["getent ahosts"]),
        ("tcp:[fe80::1%nowhere]:1".to_owned(), "not-resolved", &["`ip link`"]),
    ] {
        expect(probe(&[&address]), &address, name, 6, parts);
    }
}

/// As another user: root passes every mode.
#[test]
fn permission_denied() {
    let test = "permission_denied";
    let dir = Dir::new();
    let mode = |path: &std::path::Path, mode| {
        std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).expect("chmod");
    };
    mode(&dir.path(""), 0o755);
    let program = dir.path("program");
    kit::copy_program_to(&program);
    std::fs::create_dir(dir.path("private")).expect("mkdir");
    let closed = servers::stream(&dir.path("closed"), servers::echo);
    let inside = servers::stream(&dir.path("private/s"), servers::echo);
    mode(&dir.path("closed"), 0o600);
    mode(&dir.path("private"), 0o700);
    if !rustix::process::geteuid().is_root() {
        return kit::not_run(test, "only root can become another user", true);
    }
    for (address, part) in
        [(&closed, "write permission on socket /"), (&inside, "search permission on directory /")]
    {
        let finished =
            kit::run(kit::clean(&program).args(["probe", address]).uid(65534).gid(65534));
        let parts = [part, "is denied to uid 65534", "Permission denied", "SocketMode="];
        expect(finished, address, "permission-denied", 6, &parts);
    }
}

#[test]
fn no_way_to_the_network() {
    let test = "no_way_to_the_network";
    let Some(mut command) = kit::unshare_net(&[], test) else { return };
    let address = "tcp:192.0.2.1:3000";
    let finished = kit::run(command.args([kit::program_path(), "probe", address]));
    expect(finished, address, "unreachable", 6, &["Network is unreachable", "--network=none"]);
}

#[test]
fn vsock_on_this_kernel() {
    let address = "vsock:local:4000000000";
    let finished = probe(&[address]);
    if kit::has_vsock_loopback() {
        expect(finished, address, "refused", 6, &["nobody listens there", "--vsock"]);
    } else if Socket::new(Domain::VSOCK, Type::STREAM, None).is_ok() {
        let parts = ["no vsock loopback transport", "modprobe vsock_loopback"];
        expect(finished, address, "no-transport", 6, &parts);
    } else {
        expect(finished, address, "unsupported", 6, &["modprobe vsock"]);
    }
}

#[test]
fn a_vsock_multiplexer_is_asked_for_the_port() {
    type Mux = fn(&mut UnixStream);
    let muxes: [(Mux, &str, i32, &[&str]); 8] = [
        (
            |c| {
                assert_eq!(servers::line(c), "CONNECT 3000\n");
                c.write_all(b"OK 1073741824\n").expect("write");
                servers::echo(c);
            },
            "echoed",
            0,
            &[],
        ),
        // The guest's first byte comes with the answer: none of it is lost.
        (
            |c| {
                servers::line(c);
                reply_and_wait(c, &[b"OK 1\nhello"]);
            },
            "wrong-bytes",
            8,
            &["differs at offset ", " came back"],
        ),
        (|c| drop(servers::line(c)), "mux-refused", 6, &["closed the connection", "--wait"]),
        (|_| (), "mux-refused", 6, &["CONNECT 3000 on vsock-mux:/"]),
        (servers::echo, "mux-garbled", 6, &["`CONNECT 3000\\n` came", "use unix:"]),
        (
            |c| reply_and_wait(c, &[b"\xff\x00garbage\n"]),
            "mux-garbled",
            6,
            &["`OK PORT` was expected, `\\xff\\x00garbage\\n` came"],
        ),
        (|c| reply_and_wait(c, &[&[b'x'; 100]]), "mux-garbled", 6, &["was expected"]),
        (servers::wait_for_end, "connect-timeout", 6, &["does not answer"]),
    ];
    let dir = Dir::new();
    for (index, (serve, name, code, parts)) in muxes.into_iter().enumerate() {
        let path = dir.path(&index.to_string());
        servers::stream(&path, serve);
        let address = format!("vsock-mux:{}:3000", path.display());
        expect(probe(&[&address, "--timeout", patience(name)]), &address, name, code, parts);
    }
}

#[test]
fn the_first_failure_gives_the_exit_status_and_the_rest_is_probed_too() {
    let dir = Dir::new();
    let good = servers::stream(&dir.path("good"), servers::echo);
    let wrong = servers::datagram(|_| vec![vec![0; SIZE]]);
    let finished = probe(&[&good, &wrong, "tcp:127.0.0.1:1"]).expect_code(8);
    assert_eq!(verdict(&finished, &good), "echoed");
    assert_eq!(verdict(&finished, &wrong), "wrong-bytes");
    assert_eq!(verdict(&finished, "tcp:127.0.0.1:1"), "refused");
}

#[test]
fn a_server_that_keeps_a_half_closed_connection_open_is_noted() {
    let dir = Dir::new();
    let address = servers::stream(&dir.path("s"), |connection| {
        let bytes = message(connection);
        connection.write_all(&bytes).expect("write");
        // It is closed only after the client has gone, which the probe does not wait for.
        servers::wait_for_end(connection);
        std::mem::forget(connection.try_clone().expect("dup"));
    });
    let finished = probe(&[&address, "--timeout", "3"]).expect_code(0);
    let noted = verdict(&finished, &address);
    assert_eq!(noted, "echoed (the connection stays open after a half-close)");
}
