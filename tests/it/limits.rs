//! The limits: descriptors, memory, and the processor time of a waiting server.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use crate::activators::{Active, Kind};
use crate::clients::{FILL_CHUNK, connect, fill, pattern, receive};
use crate::kit::{
    DEADLINE, Dir, Process, clean, many_descriptors, measured, program_path, raise_descriptor_limit,
};

/// The most memory that a server may have resident, whatever one peer does.
const RSS_MAX_KIB: u64 = 8 * 1024;

#[test]
fn out_of_descriptors_all_are_served_in_the_end() {
    const CLIENTS: usize = 500;
    raise_descriptor_limit();
    let script = "ulimit -n 64; exec \"$0\" activate -l tcp:127.0.0.1:0";
    let active = Active::ours(Dir::new(), clean("sh").args(["-c", script, program_path()]));
    let address = active.sockaddr().as_socket().expect("an IP address");
    let mut clients: Vec<_> = (0..CLIENTS).map(|_| greet(address)).collect();
    // The first is served, so that the server runs and has taken all that it can.
    expect_greeting(&mut clients[0]);
    assert_idle(&active.process, clients.last_mut().expect("clients"));
    for mut client in clients {
        client.shutdown(Shutdown::Write).expect("shutdown");
        let mut reply = String::new();
        client.read_to_string(&mut reply).expect("receive until the end");
        assert_eq!(reply, "hello");
    }
    active.process.terminate().expect_code(0);
}

fn greet(address: SocketAddr) -> TcpStream {
    let mut client = TcpStream::connect(address).expect("connect");
    client.set_read_timeout(Some(DEADLINE)).expect("a timeout");
    client.write_all(b"hello").expect("send");
    client
}

/// Expects the greeting, and leaves it there.
fn expect_greeting(client: &mut TcpStream) {
    let mut reply = [0; 5];
    let count = client.peek(&mut reply).expect("a reply");
    assert_eq!(&reply[..count], b"hello");
}

/// While a client waits in vain, the server uses next to no processor time.
fn assert_idle(process: &Process, client: &mut TcpStream) {
    const WINDOW: Duration = Duration::from_secs(1);
    client.set_read_timeout(Some(WINDOW)).expect("a timeout");
    let before = process.cpu_time();
    let error = client.read(&mut [0]).expect_err("no descriptor is left for it");
    assert!(matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut), "{error}");
    let used = process.cpu_time() - before;
    assert!(used < WINDOW / 20, "{used:?} of {WINDOW:?} while it waits");
    client.set_read_timeout(Some(DEADLINE)).expect("a timeout");
}

#[test]
fn connections_past_the_limit_wait_in_the_backlog() {
    let active = Active::serve(Kind::Tcp4, &["--connections-max", "3"]);
    let address = active.sockaddr().as_socket().expect("an IP address");
    let mut clients: Vec<_> = (0..20).map(|_| greet(address)).collect();
    expect_greeting(&mut clients[0]);
    assert_idle(&active.process, clients.last_mut().expect("clients"));
    for mut client in clients {
        expect_greeting(&mut client);
    }
    active.process.terminate().expect_code(0);
}

#[test]
fn a_large_stream_comes_back_whole_in_bounded_memory() {
    for active in [Active::of(Kind::Tcp4), Active::of(Kind::UnixStream)] {
        let fast = bulk(&active, None);
        // Ten times slower than the writer can be, but not for so long that a test is a wait.
        let slow = (10 * fast).min(Duration::from_secs(5));
        bulk(&active, Some(slow));
        let peak = active.process.memory_kib("VmHWM");
        assert!(peak < RSS_MAX_KIB, "{peak} KiB, {}", active.address);
    }
}

/// Sends 256 MiB and verifies each byte that comes back; the reader takes as long as `pace` says.
fn bulk(active: &Active, pace: Option<Duration>) -> Duration {
    const BYTES: usize = 256 << 20;
    let socket = connect(&active.address, &active.dir);
    let (mut writer, mut reader) = (&socket, &socket);
    // A prime length, so that no multiple of a buffer's size repeats the pattern.
    let pattern = pattern(1_048_573);
    let start = Instant::now();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut left = BYTES;
            while left > 0 {
                let count = left.min(pattern.len());
                writer.write_all(&pattern[..count]).expect("send");
                left -= count;
            }
            writer.shutdown(Shutdown::Write).expect("shutdown");
        });
        let mut buffer = vec![0; 64 << 10];
        let mut received = 0;
        loop {
            let at = received % pattern.len();
            let len = buffer.len().min(pattern.len() - at);
            let count = reader.read(&mut buffer[..len]).expect("receive");
            if count == 0 {
                break;
            }
            assert!(buffer[..count] == pattern[at..at + count], "wrong bytes at {received}");
            received += count;
            if let Some(pace) = pace {
                // The pace is what is tested here: a reader that is slow, and not one that waits.
                let due = start + pace.mul_f64(received as f64 / BYTES as f64);
                std::thread::sleep(due.saturating_duration_since(Instant::now()));
            }
        }
        assert_eq!(received, BYTES);
    });
    start.elapsed()
}

#[test]
fn idle_connections_cost_next_to_nothing() {
    // From here on the allocator has the table in pages of its own, and nothing is left over when
    // it grows.
    const FEW: usize = 5000;
    const MANY: usize = 10_000;
    let Some(_turn) = many_descriptors(MANY, "10,000 idle connections") else { return };
    for active in [Active::of(Kind::UnixStream), Active::of(Kind::Tcp4)] {
        let mut idle = Vec::with_capacity(MANY);
        let mut grow = |count: usize| {
            while idle.len() < count {
                idle.push(used_once(&active));
            }
            active.process.anonymous_kib()
        };
        let few = grow(FEW);
        let many = grow(MANY);
        // The place of each in the table, and a page at its end.
        let most = few + (64 * (MANY - FEW) as u64).div_ceil(1024) + 8;
        assert!(many <= most, "{few} KiB with {FEW}, {many} KiB with {MANY} connections");
        drop(idle);
        active.process.terminate().expect_code(0);
    }
}

/// Each of many peers sends a byte now and then. Nobody else has to wait for them.
#[test]
fn thousands_of_slow_peers_stop_nobody() {
    const PEERS: usize = 10_000;
    const NEWCOMERS: usize = 100;
    let Some(_turn) = many_descriptors(PEERS, "10,000 slow peers") else { return };
    for kind in [Kind::UnixStream, Kind::Tcp4, Kind::UnixSeqpacket] {
        let active = Active::serve(kind, &["--idle-timeout", "3600"]);
        let slow: Vec<_> = (0..PEERS).map(|_| connect(&active.address, &active.dir)).collect();
        let mut times = Vec::with_capacity(NEWCOMERS);
        for senders in slow.chunks(PEERS / NEWCOMERS) {
            senders.iter().for_each(|peer| assert_eq!(peer.send(b"x").expect("send"), 1));
            let start = Instant::now();
            drop(used_once(&active));
            times.push(start.elapsed());
        }
        slow.iter().for_each(|peer| assert_eq!(receive(peer, 1), b"x"));
        times.sort();
        let (median, slowest) = (times[NEWCOMERS / 2], times[NEWCOMERS - 1]);
        measured(&format!(
            "{kind:?}: beside {PEERS} slow peers, a new one is served in {median:?}, at most {slowest:?}"
        ));
        active.process.terminate().expect_code(0);
    }
}

/// A connection that had a buffer once, and has none any more.
fn used_once(active: &Active) -> socket2::Socket {
    let socket = connect(&active.address, &active.dir);
    crate::clients::messages(&socket, &[64]);
    socket
}

#[test]
fn a_peer_that_never_reads_stops_nobody_and_is_bounded() {
    const PEERS: usize = 8;
    let active = Active::of(Kind::Tcp4);
    let deaf: Vec<_> = (0..PEERS)
        .map(|_| {
            let mut peer = connect(&active.address, &active.dir).into();
            let sent = fill(&mut peer, || drop(used_once(&active)));
            (peer, sent)
        })
        .collect();
    let chunk = pattern(FILL_CHUNK);
    let peak = active.process.memory_kib("VmHWM");
    assert!(peak < RSS_MAX_KIB, "{peak} KiB");
    // Nothing is lost: all that was taken from them comes back once they read.
    for (mut peer, sent) in deaf {
        peer.shutdown(Shutdown::Write).expect("shutdown");
        let mut received = Vec::new();
        peer.read_to_end(&mut received).expect("receive until the end");
        assert_eq!(received.len(), sent);
        assert!(received.iter().zip(chunk.iter().cycle()).all(|(a, b)| a == b));
    }
    active.process.terminate().expect_code(0);
}

/// So little memory that not everything can be kept: a peer that does not read is let go, with a
/// reason, and the others are served.
#[test]
fn without_memory_for_a_peer_that_never_reads_the_others_are_served() {
    const PEERS: usize = 300;
    let dir = Dir::new();
    let address = format!("unix:{}", dir.path("s").display());
    let script = "ulimit -v 13000; exec \"$0\" activate -l \"$1\" -- \"$0\" serve --debug";
    let mut command = clean("sh");
    command.args(["-c", script, program_path(), &address]);
    let active = Active::ours(dir, &mut command);
    let chunk = pattern(1 << 16);
    let deaf: Vec<_> = (0..PEERS)
        .map(|_| {
            let peer = UnixStream::connect(active.dir.path("s")).expect("connect");
            peer.set_nonblocking(true).expect("O_NONBLOCK");
            let mut stuck = 0;
            while stuck < 3 {
                if (&peer).write(&chunk).is_ok_and(|count| count > 0) {
                    stuck = 0;
                } else {
                    stuck += 1;
                    drop(used_once(&active));
                }
            }
            peer
        })
        .collect();
    drop(used_once(&active));
    drop(deaf);
    drop(used_once(&active));
    active.process.terminate().expect_code(0).expect_stderr(&["no memory for"]);
}
