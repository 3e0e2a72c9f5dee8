//! Clients that speak HTTP. docs/info.md shows socat.

use std::io::Write;

use super::{document, server, to_end};
use crate::activators::Kind;
use crate::clients::connect;
use crate::kit::{clean, has_tool, run};

/// The head and the body of a response.
fn response(bytes: &[u8]) -> (String, Vec<u8>) {
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").expect("an empty line") + 4;
    (String::from_utf8(bytes[..end].to_vec()).expect("text"), bytes[end..].to_vec())
}

#[test]
fn curl_gets_a_whole_response() {
    if !has_tool("curl", "curl against serve --info") {
        return;
    }
    for kind in [Kind::Tcp4, Kind::Tcp6, Kind::UnixStream] {
        let active = server(kind, &[]);
        let (flag, url) = match active.sockaddr().as_socket() {
            Some(ip) => (String::new(), format!("http://{ip}/")),
            None => (active.dir.path("s").display().to_string(), "http://localhost/x".to_owned()),
        };
        let body = active.dir.path("body");
        std::fs::write(&body, vec![b'x'; 3_000_000]).expect("write");
        let upload = format!("@{}", body.display());
        for (more, has_body) in [
            (&["--include"][..], true),
            (&["--include", "--http1.0"], true),
            (&["--head"], false),
            (&["--include", "--data-binary", &upload], true),
            (&["--include", "--request", "DELETE"], true),
        ] {
            let mut curl = clean("curl");
            curl.args(["--silent", "--show-error", "--fail", "--noproxy", "*"]).args(more);
            if !flag.is_empty() {
                curl.args(["--unix-socket", &flag]);
            }
            let shown = run(curl.arg(&url)).expect_code(0).stdout;
            let (head, body) = response(shown.as_bytes());
            let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: "));
            let length: usize = length.expect("a length").parse().expect("a number");
            assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{more:?}: {head}");
            assert!(head.contains("Content-Type: application/json\r\n"), "{more:?}: {head}");
            assert_eq!(body.len(), if has_body { length } else { 0 }, "{more:?}: {head}");
            if has_body {
                document(&body);
            }
        }
        active.process.terminate().expect_code(0);
    }
}

/// Each byte alone: the answer waits for the end of the first line.
#[test]
fn a_request_may_come_in_parts() {
    for kind in [Kind::Tcp4, Kind::UnixStream] {
        let active = server(kind, &[]);
        let mut client = connect(&active.address, &active.dir);
        if kind == Kind::Tcp4 {
            client.set_tcp_nodelay(true).expect("TCP_NODELAY");
        }
        for byte in b"GET /a/b?c HTTP/1.1\r\n" {
            client.write_all(&[*byte]).expect("write");
        }
        // The rest comes after the answer, and resets nothing.
        let answer = to_end(&client);
        client.write_all(b"Host: localhost\r\n\r\n").expect("write");
        let (head, body) = response(&answer);
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
        document(&body);
        active.process.terminate().expect_code(0);
    }
}
