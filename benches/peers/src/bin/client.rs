//! A plain client: blocking sockets of the standard library, as somebody would write it who has
//! never heard of the servers. It prints one line of JSON, and holds its connections until its
//! standard input ends, so that what the server used for them can be read before that.
//!
//!     client pingpong ADDR SIZE SECONDS
//!     client bulk ADDR WRITE_SIZE CONNECTIONS SECONDS
//!     client burst ADDR COUNT
//!     client deaf ADDR CONNECTIONS SECONDS
//!     client look

use std::io::{self, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

use echo_peers::Connection;

/// The share of a measurement that comes before it and is not counted.
const WARM_UP: f64 = 0.25;
/// How long one reply or one write may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// A datagram without a reply after this is lost.
const LOST_AFTER: Duration = Duration::from_millis(500);
/// How often a reader looks whether everything is back.
const READER_LOOKS: Duration = Duration::from_millis(100);

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        ["pingpong", address, size, seconds] => pingpong(address, number(size), time(seconds)),
        ["bulk", address, size, connections, seconds] => {
            bulk(address, number(size), number(connections), time(seconds));
        }
        ["burst", address, count] => burst(address, number(count)),
        ["deaf", address, connections, seconds] => {
            deaf(address, number(connections), time(seconds));
        }
        ["look"] => look(),
        _ => panic!("the modes are at the top of client.rs"),
    }
}

fn number(text: &str) -> usize {
    text.parse().expect("a number")
}

fn time(text: &str) -> Duration {
    Duration::from_secs_f64(text.parse().expect("seconds"))
}

/// Prints the result, and waits for the end of standard input.
fn finish(result: &str) {
    println!("{{{result}}}");
    let _ = io::copy(&mut io::stdin(), &mut io::sink());
}

/// One message in flight on one connection or socket.
fn pingpong(address: &str, size: usize, duration: Duration) {
    assert!(size > 0, "a message of at least one byte");
    let mut connection = Connection::open(address, PATIENCE).expect("connect");
    if connection.is_datagram() {
        connection.set_timeout(LOST_AFTER).expect("a timeout");
    }
    let mut message: Vec<u8> = (0..size).map(|at| at as u8).collect();
    let mut reply = vec![0; size];
    let mut latencies: Vec<u64> = Vec::with_capacity(1 << 20);
    let (mut all, mut wrong, mut lost) = (0_u64, 0_u64, 0_u64);
    let begin = Instant::now() + duration.mul_f64(WARM_UP);
    let mut now = Instant::now();
    while now < begin + duration {
        // Each message differs from the one before it.
        message[0] = message[0].wrapping_add(1);
        let exchanged = connection.exchange(&message, &mut reply);
        let end = Instant::now();
        all += 1;
        match exchanged {
            Ok(()) => {
                wrong += u64::from(reply != message);
                if now >= begin {
                    latencies.push((end - now).as_nanos() as u64);
                }
            }
            // Its reply may still come: a new socket, so that it is not taken for the next one.
            Err(_) if connection.is_datagram() => {
                lost += 1;
                connection = Connection::open(address, LOST_AFTER).expect("a socket");
            }
            Err(error) => panic!("exchange: {error}"),
        }
        now = end;
    }
    let seconds = (now - begin).as_secs_f64();
    latencies.sort_unstable();
    let at = |quantile: f64| {
        let last = latencies.len().saturating_sub(1);
        latencies.get((last as f64 * quantile).round() as usize).map_or(0.0, |ns| *ns as f64 / 1e3)
    };
    finish(
        &format!(
            r#""rate": {:.1}, "all": {all}, "wrong": {wrong}, "lost": {lost}, "latency_us":
        {{"p50": {}, "p90": {}, "p99": {}, "p99.9": {}, "max": {}}}"#,
            latencies.len() as f64 / seconds,
            at(0.5),
            at(0.9),
            at(0.99),
            at(0.999),
            at(1.0),
        )
        .replace('\n', ""),
    );
}

/// What the two threads of a bulk connection tell.
#[derive(Default)]
struct Stream {
    written: AtomicU64,
    received: AtomicU64,
    /// The writer has written its last.
    done: AtomicBool,
}

/// Streams, each written by one thread and read by another.
fn bulk(address: &str, write_size: usize, connections: usize, duration: Duration) {
    let stop = Arc::new(AtomicBool::new(false));
    let mut streams = Vec::new();
    let mut readers = Vec::new();
    for _ in 0..connections {
        let mut to = Connection::open(address, PATIENCE).expect("connect");
        let from = to.try_clone().expect("a second handle");
        let stream = Arc::new(Stream::default());
        let (counts, stop) = (Arc::clone(&stream), Arc::clone(&stop));
        thread::spawn(move || {
            let data = vec![b'x'; write_size];
            while !stop.load(SeqCst) && to.write_all(&data).is_ok() {
                counts.written.fetch_add(data.len() as u64, SeqCst);
            }
            counts.done.store(true, SeqCst);
        });
        let counts = Arc::clone(&stream);
        readers.push(thread::spawn(move || read_back(from, &counts)));
        streams.push(stream);
    }
    thread::sleep(duration.mul_f64(WARM_UP));
    let received = || streams.iter().map(|one| one.received.load(SeqCst)).collect::<Vec<u64>>();
    let (start, before) = (Instant::now(), received());
    thread::sleep(duration);
    let (seconds, after) = (start.elapsed().as_secs_f64(), received());
    stop.store(true, SeqCst);
    // The connections stay open until the end of the process.
    let kept: Vec<_> = readers.into_iter().map(|reader| reader.join().expect("a reader")).collect();
    let missing: u64 = kept.iter().map(|(_, missing)| missing).sum();
    let rates: Vec<f64> = before
        .iter()
        .zip(&after)
        .map(|(before, after)| (after - before) as f64 / seconds)
        .collect();
    finish(&format!(
        r#""rate": {:.0}, "all": {}, "missing": {missing}, "connections": {rates:?}"#,
        rates.iter().sum::<f64>(),
        received().iter().sum::<u64>(),
    ));
}

/// Reads until everything that was written is back; the connection, and how much never came.
fn read_back(mut from: Connection, stream: &Stream) -> (Connection, u64) {
    let mut buffer = vec![0; 1 << 16];
    from.set_read_timeout(READER_LOOKS).expect("a timeout");
    let mut last = Instant::now();
    loop {
        // The end first: what is written before it is in the count by then.
        let done = stream.done.load(SeqCst);
        let missing = stream.written.load(SeqCst).saturating_sub(stream.received.load(SeqCst));
        if done && missing == 0 {
            return (from, 0);
        }
        match from.read(&mut buffer) {
            Ok(count @ 1..) => {
                stream.received.fetch_add(count as u64, SeqCst);
                last = Instant::now();
            }
            Err(error)
                if error.kind() == io::ErrorKind::WouldBlock && last.elapsed() < PATIENCE => {}
            Ok(_) | Err(_) => return (from, missing),
        }
    }
}

/// Many connections at once, each with one message and its echo.
fn burst(address: &str, count: usize) {
    let start = Instant::now();
    let open = |_| {
        let mut connection = Connection::open(address, PATIENCE).ok()?;
        connection.write_all(b"burst").ok()?;
        Some(connection)
    };
    let mut opened: Vec<_> = (0..count).filter_map(open).collect();
    let connected = start.elapsed();
    let mut reply = [0; 5];
    let mut echoed = 0;
    for connection in &mut opened {
        echoed += usize::from(connection.read_exact(&mut reply).is_ok() && reply == *b"burst");
    }
    finish(&format!(
        r#""connect_seconds": {}, "seconds": {}, "failed": {}"#,
        connected.as_secs_f64(),
        start.elapsed().as_secs_f64(),
        count - echoed,
    ));
}

/// Writes for ever and never reads; the line is printed once it has done so for the time given.
fn deaf(address: &str, connections: usize, duration: Duration) {
    for _ in 0..connections {
        let mut connection = Connection::open(address, Duration::MAX).expect("connect");
        thread::spawn(move || while connection.write_all(&[b'x'; 1 << 14]).is_ok() {});
    }
    thread::sleep(duration);
    finish(r#""deaf": true"#);
}

/// The time of what a poller does in vain: one look at an epoll instance, and one yield.
fn look() {
    // SAFETY: no pointers.
    let epoll = echo_peers::check(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) });
    let mut event = libc::epoll_event { events: 0, u64: 0 };
    let mut times: Vec<u128> = (0..20_000)
        .map(|_| {
            let start = Instant::now();
            // SAFETY: the pointer is to one event, as announced.
            unsafe { libc::epoll_wait(epoll, &raw mut event, 1, 0) };
            // SAFETY: no pointers.
            unsafe { libc::sched_yield() };
            start.elapsed().as_nanos()
        })
        .collect();
    times.sort_unstable();
    finish(&format!(r#""look_ns": {}"#, times[times.len() / 2]));
}
