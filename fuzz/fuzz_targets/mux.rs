//! The answer of a vsock multiplexer: taken if it is `OK PORT` and a newline, and whatever follows
//! is left for the connection. The input is what comes over the socket, up to its end.
#![no_main]

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use socket_activate_echo::address::{Address, UnixName};
use socket_activate_echo::client::{Deadline, connect};
use socket_activate_echo_fuzz::check_shown;

const PORT: u32 = 3000;
const REQUEST: &[u8] = b"CONNECT 3000\n";
/// Where the client stops looking for the end of the line.
const ANSWER_MAX: usize = 32;
/// Both ends are here, so nothing takes long.
const PATIENCE: Duration = Duration::from_secs(10);

/// Starts the multiplexer: each connection is answered with the next input. Returns its address.
fn multiplexer() -> (Address, Mutex<Sender<Vec<u8>>>) {
    let name = format!("socket-activate-echo-fuzz-mux-{}", std::process::id()).into_bytes();
    let address = SocketAddr::from_abstract_name(&name).expect("an address");
    let listener = UnixListener::bind_addr(&address).expect("bind");
    let (sender, inputs) = channel::<Vec<u8>>();
    std::thread::spawn(move || {
        for input in inputs {
            let (mut stream, _) = listener.accept().expect("accept");
            let mut request = [0; REQUEST.len()];
            stream.read_exact(&mut request).expect("a request");
            assert_eq!(request, REQUEST);
            // The client may have gone already, because of what came first.
            let _ = stream.write_all(&input).and_then(|()| stream.shutdown(Shutdown::Write));
        }
    });
    (Address::VsockMux(UnixName::Abstract(name), PORT), Mutex::new(sender))
}

/// How many bytes the answer has, if it is one.
fn answer(input: &[u8]) -> Option<usize> {
    let end = input.iter().take(ANSWER_MAX).position(|&byte| byte == b'\n')?;
    let line = std::str::from_utf8(&input[..end]).ok()?;
    let port = line.strip_prefix("OK ")?.trim_end_matches('\r');
    port.parse::<u32>().ok().map(|_| end + 1)
}

fuzz_target!(|input: &[u8]| {
    static MULTIPLEXER: OnceLock<(Address, Mutex<Sender<Vec<u8>>>)> = OnceLock::new();
    let (address, inputs) = MULTIPLEXER.get_or_init(multiplexer);
    inputs.lock().expect("no panic with the lock").send(input.to_vec()).expect("it runs");
    match (connect(address, PATIENCE), answer(input)) {
        (Ok(connection), Some(len)) => {
            let deadline = Deadline::after(PATIENCE);
            let mut rest = Vec::new();
            let mut buffer = [0; 4096];
            loop {
                match connection.receive(&mut buffer, deadline).expect("up to the end") {
                    0 => break,
                    count => rest.extend_from_slice(&buffer[..count]),
                }
            }
            assert_eq!(rest, input[len..]);
        }
        (Err(failure), None) => check_shown(&failure.to_string()),
        (result, expected) => panic!("{result:?}, but the answer has {expected:?} bytes"),
    }
});
