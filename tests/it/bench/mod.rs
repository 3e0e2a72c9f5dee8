//! The load generator against small servers in this process: what it counts, never how fast it is.

mod hostile;
mod pictures;
mod refused;
mod tables;

use std::io::{Read, Write};
use std::net::{self, TcpListener, TcpStream, UdpSocket};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener};
use std::thread;

use serde_json::Value;

use crate::kit::{Finished, Process, program, run};

/// An echo of stream after stream; `spoil` changes each byte that comes back.
fn echo(mut stream: impl Read + Write, spoil: u8) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(count @ 1..) = stream.read(&mut buffer) {
        buffer[..count].iter_mut().for_each(|byte| *byte ^= spoil);
        if stream.write_all(&buffer[..count]).is_err() {
            return;
        }
    }
}

/// Serves each connection on a thread of its own.
fn serve_tcp(serve: impl Fn(TcpStream) + Clone + Send + 'static) -> net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let serve = serve.clone();
            thread::spawn(move || serve(stream));
        }
    });
    address
}

fn tcp_server(spoil: u8) -> net::SocketAddr {
    serve_tcp(move |stream| {
        stream.set_nodelay(true).unwrap();
        echo(stream, spoil);
    })
}

fn unix_server(path: &std::path::Path) {
    let listener = UnixListener::bind(path).unwrap();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || echo(stream, 0));
        }
    });
}

/// Answers datagrams, but not each `drop_each`-th one.
fn udp_server(drop_each: usize) -> net::SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    thread::spawn(move || {
        let mut buffer = vec![0; 1 << 16];
        for number in 1.. {
            let (count, sender) = socket.recv_from(&mut buffer).unwrap();
            if drop_each == 0 || number % drop_each != 0 {
                let _ = socket.send_to(&buffer[..count], sender);
            }
        }
    });
    address
}

fn unix_datagram_server(path: &std::path::Path) {
    let socket = UnixDatagram::bind(path).unwrap();
    socket2::SockRef::from(&socket).set_send_buffer_size(1 << 20).unwrap();
    thread::spawn(move || {
        let mut buffer = vec![0; 1 << 20];
        loop {
            let (count, sender) = socket.recv_from(&mut buffer).unwrap();
            let _ = socket.send_to_addr(&buffer[..count], &sender);
        }
    });
}

fn bench(arguments: &str) -> Finished {
    run(program().arg("bench").args(arguments.split_whitespace()))
}

/// The JSON document of a run.
fn json(finished: &Finished) -> Value {
    let document = serde_json::from_str(&finished.stdout);
    document.unwrap_or_else(|error| panic!("{error}: {}", finished.describe()))
}

/// That of one that has to end with `status`.
fn document(arguments: &str, status: i32) -> Value {
    json(&bench(&format!("--json -d 0.2 -w 0.05 {arguments}")).expect_code(status))
}

/// The exit status of a run and what it says of its server. A busy machine may leave the server's
/// thread without a processor for the whole of a run, which is then no run.
fn measured(arguments: &str) -> (Option<i32>, Value) {
    let run = |_| {
        let finished = bench(&format!("--json -d 0.2 -w 0.05 {arguments}"));
        (finished.status.code(), json(&finished)["servers"][0].clone())
    };
    let answered = |(_, server): &(_, Value)| {
        server["messages"].as_u64() > Some(0)
            || server["bytes_per_second"]["median"].as_f64() > Some(0.0)
    };
    (0..100).map(run).find(answered).unwrap_or_else(|| panic!("{arguments}: never answered"))
}

#[test]
fn every_kind_of_load_counts_right() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    unix_server(&path("stream"));
    unix_datagram_server(&path("datagram"));
    let tcp = format!("tcp:{}", tcp_server(0));
    let udp = format!("udp:{}", udp_server(0));
    let unix = format!("unix:{}", path("stream").display());
    let unix_dgram = format!("unix-dgram:{}", path("datagram").display());
    for (flags, address) in [
        ("", &tcp),
        ("--busy", &tcp),
        ("-c 10 -s 1000", &tcp),
        ("-c 3 --busy", &tcp),
        ("-c 2 -s 300000", &tcp),
        ("-c 4 --rate 500", &tcp),
        ("", &unix),
        ("-c 10", &unix),
        ("", &udp),
        ("-s 0", &udp),
        ("-c 10 -s 1", &udp),
        ("-s 65507", &udp),
        ("-c 3 --rate 500", &udp),
        ("-c 4 -s 2000", &unix_dgram),
    ] {
        let line = format!("{flags} {address}");
        let (code, server) = measured(&line);
        assert_eq!(code, Some(0), "{line}: {server:#}");
        // A loss would only say that this machine is busy.
        for count in ["errors", "wrong"] {
            assert_eq!(server[count], 0, "{line}: {server:#}");
        }
        let latency = |name: &str| server["latency_us"][name]["median"].as_f64().unwrap();
        assert!(latency("p50") > 0.0 && latency("p50") <= latency("max"), "{line}: {server:#}");
    }
}

#[test]
fn bulk_comes_back_whole() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("stream");
    unix_server(&path);
    let unix = format!("unix:{}", path.display());
    for address in [format!("tcp:{}", tcp_server(0)), unix] {
        for flags in ["", "--verify", "--verify -c 5 -s 1000"] {
            let line = format!("-m bulk {flags} {address}");
            let (code, server) = measured(&line);
            assert_eq!((code, &server["errors"]), (Some(0), &0.into()), "{line}: {server:#}");
        }
    }
}

#[test]
fn floods_count_what_comes_back_and_what_does_not() {
    let whole = format!("udp:{}", udp_server(0));
    for flags in ["", "-c 3 -s 1000", "--gso", "--gso -s 1400"] {
        let (code, server) = measured(&format!("-m flood {flags} {whole}"));
        assert_eq!((code, &server["wrong"]), (Some(0), &0.into()), "{flags}: {server:#}");
    }
    let lossy = format!("udp:{}", udp_server(10));
    let (_, server) = measured(&format!("-m flood {lossy}"));
    assert!(server["lost"].as_u64().unwrap() > 0, "{server:#}");
}

#[test]
fn idle_connections_each_answer_in_the_end() {
    let server = &document(&format!("-m idle -c 20 tcp:{}", tcp_server(0)), 0)["servers"][0];
    assert_eq!(server["messages"], 20, "{server:#}");
}

#[test]
fn a_comparison_has_ratios_to_the_first_server() {
    let (one, two) = (tcp_server(0), tcp_server(0));
    let dir = tempfile::tempdir().unwrap();
    let plot = dir.path().join("latency.svg");
    let line = format!("--compare -r 3 --plot {} one=tcp:{one} two=tcp:{two}", plot.display());
    let document = document(&line, 0);
    assert_eq!(document["rounds"], 3);
    assert_eq!(document["coordinated_omission"], true);
    let servers = document["servers"].as_array().unwrap();
    assert_eq!(servers[0]["name"], "one");
    assert_eq!(servers[0]["ratio"]["median"], 1.0);
    let ratio = &servers[1]["ratio"];
    let end = |name: &str| ratio[name].as_f64().unwrap();
    assert!(end("min") <= end("median") && end("median") <= end("max"), "{ratio}");
    let svg = std::fs::read_to_string(plot).unwrap();
    assert!(svg.starts_with("<svg") && svg.contains(">two</text>"), "{svg}");
    assert_eq!(svg.matches("<polyline").count(), 2, "{svg}");
}

#[test]
fn an_open_loop_says_so_and_says_what_is_behind() {
    let tcp = tcp_server(0);
    let document = document(&format!("-c 2 --rate 1000 tcp:{tcp}"), 0);
    assert_eq!(document["coordinated_omission"], false);
    assert!(document["servers"][0]["unfinished"].is_u64(), "{document:#}");
}

#[test]
fn a_closed_connection_is_the_exit_status() {
    let server = &document(&format!("tcp:{}", serve_tcp(drop)), 7)["servers"][0];
    assert_eq!(server["errors"], 1, "{server:#}");
    assert!(server["first_error"].is_string(), "{server:#}");
}

#[test]
fn what_has_no_meaning_is_refused() {
    for (arguments, word) in [
        ("", "ADDR"),
        ("tcp:127.0.0.1", "no port"),
        ("-s 0 tcp:127.0.0.1:1", "empty message"),
        ("-m bulk udp:127.0.0.1:1", "streams"),
        ("-m idle udp:127.0.0.1:1", "connections"),
        ("-m bulk --rate 5 tcp:127.0.0.1:1", "--rate"),
        ("--rate 0 tcp:127.0.0.1:1", "--rate"),
        ("--compare a=tcp:127.0.0.1:1 a=tcp:127.0.0.1:2", "`a`"),
        ("--cpu 100000 tcp:127.0.0.1:1", "CPU"),
        ("-s 65508 udp:127.0.0.1:1", "65507"),
        ("--congestion reno unix:/nosuch/socket", "--congestion is for TCP"),
        ("-m flood --gso unix-dgram:/nosuch/socket", "--gso is for udp"),
    ] {
        bench(arguments).expect_code(2).expect_stderr(&[word]);
    }
}

#[test]
fn a_cold_start_ends_with_the_first_echo() {
    let exe = env!("CARGO_BIN_EXE_socket-activate-echo");
    for address in ["", "udp:127.0.0.1:0", "unix:@bench-cold-start"] {
        let line = format!("--json -m cold -r 3 --run a={exe} --run {exe} {address}");
        let document = json(&bench(&line).expect_code(0));
        let servers = document["servers"].as_array().unwrap();
        assert_eq!((servers.len(), &servers[0]["name"]), (2, &Value::from("a")));
        for server in servers {
            assert_eq!(server["starts"], 3, "{document:#}");
            assert!(server["milliseconds"]["median"].as_f64().unwrap() > 0.0, "{document:#}");
        }
    }
}

#[test]
fn a_server_of_this_machine_is_found_by_its_socket() {
    // Any process of this machine may have a name in the abstract namespace that is no text.
    let name = [b"\xff\xfe sae ".as_slice(), &std::process::id().to_ne_bytes()].concat();
    let name = SocketAddr::from_abstract_name(name).unwrap();
    let _stranger = UnixDatagram::bind_addr(&name).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).display().to_string();
    let addresses = [
        format!("unix:{}", path("two\\x20\\x20blanks")),
        format!("unix-seqpacket:{}", path("q")),
        "tcp:127.0.0.1:0".into(),
    ];
    let mut command = program();
    command.args(["activate", "--now"]);
    for address in &addresses {
        command.args(["-l", address]);
    }
    let server = Process::start(&mut command);
    let tcp = server.stderr_line("tcp:").expect("it says where it listens");
    let port = tcp.split("tcp:127.0.0.1:").nth(1).expect("the port");
    let port: String = port.chars().take_while(char::is_ascii_digit).collect();
    for address in [&addresses[0], &addresses[1], &format!("tcp:127.0.0.1:{port}")] {
        let (_, found) = measured(address);
        let each = &found["server_cpu_ns_per_message"]["median"];
        assert!(each.as_f64().unwrap() > 0.0, "{address}: {found:#}");
        let idle = &document(&format!("-m idle -c 50 {address}"), 0)["servers"][0];
        assert!(idle["memory_bytes_per_connection"]["median"].is_f64(), "{address}: {idle:#}");
        assert_eq!(idle["messages"], 50, "{address}: {idle:#}");
    }
    assert_eq!(server.terminate().status.code(), Some(0));
}
