//! `--interactive`: lines from standard input, the echo beside each with its time.

use std::io::{self, BufRead, Write};
use std::time::{Duration, Instant};

use super::measure::RETRY_AFTER;
use super::notice::{Notice, Phase};
use super::report::human;
use crate::address::{Address, Style};
use crate::client::{Connection, Deadline, Failure, Symptom, connect};
use crate::error::{Context, Error, ErrorKind, Result};
use crate::text::Escaped;

/// A line is held in memory, with its echo.
const LINE_MAX: u64 = 64 << 20;

/// Sends each line of `input` with its end, and writes what came back to `output`.
pub(super) fn run(
    address: &Address,
    timeout: Duration,
    wait: bool,
    mut input: impl BufRead,
    mut output: impl Write,
) -> Result<u8> {
    let connection = {
        let notice = Notice::start(address, timeout);
        connect_patiently(address, timeout, wait, &notice)?
    };
    let (mut status, mut first) = (0, true);
    let mut sent = Vec::new();
    loop {
        sent.clear();
        let mut line = io::Read::take(&mut input, LINE_MAX + 1);
        match line.read_until(b'\n', &mut sent).context("read standard input")? as u64 {
            0 => return Ok(status),
            1..=LINE_MAX => {}
            _ => {
                let message = format!("a line has more than {LINE_MAX} bytes");
                return Err(Error::new(ErrorKind::Usage, message));
            }
        }
        connection.reserve(sent.len())?;
        let (got, time) = {
            let notice = Notice::start(address, timeout);
            notice.phase(Phase::Reply { first }, Instant::now());
            echo_of(&connection, &sent, timeout)?
        };
        first = false;
        if got != sent {
            status = ErrorKind::WrongReply.exit_status();
        }
        let written = writeln!(output, "{}", row(&sent, &got, time)).and_then(|()| output.flush());
        match written {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(0),
            result => result.context("write to standard output")?,
        }
    }
}

/// Connects; if `wait`, retries until something listens, for at most `timeout`.
fn connect_patiently(
    address: &Address,
    timeout: Duration,
    wait: bool,
    notice: &Notice,
) -> Result<Connection, Failure> {
    let (started, patience) = (Instant::now(), Deadline::after(timeout));
    loop {
        match connect(address, patience.remaining().unwrap_or(timeout)) {
            Err(failure) if wait && failure.symptom.is_nobody_listens() && !patience.is_over() => {
                notice.phase(Phase::Listener(failure.symptom), started);
                std::thread::sleep(RETRY_AFTER);
            }
            result => return result,
        }
    }
}

/// Sends a line; receives as many bytes of a stream, or one message.
fn echo_of(
    connection: &Connection,
    sent: &[u8],
    timeout: Duration,
) -> Result<(Vec<u8>, Duration), Failure> {
    let address = connection.address();
    let failure = |length: usize, error: io::Error| {
        let limit = timeout.as_secs_f32();
        match Symptom::of_exchange(address, &error) {
            Symptom::NoReply if length > 0 => Failure::new(
                Symptom::Stalled,
                address,
                format!(
                    "{address}: {length} of {} bytes came back, then nothing for {limit} s",
                    sent.len()
                ),
            ),
            symptom @ Symptom::NoReply => {
                Failure::new(symptom, address, format!("{address}: no reply within {limit} s"))
            }
            symptom => Failure::new(symptom, address, format!("{address}: no echo of the line"))
                .because(error),
        }
    };
    let is_stream = connection.style() == Style::Stream;
    let started = Instant::now();
    let mut unsent = sent;
    if !is_stream {
        connection.send(sent, Deadline::after(timeout)).map_err(|error| failure(0, error))?;
        unsent = &[];
    }
    // One byte more shows a message that is too long.
    let mut got = vec![0; sent.len() + usize::from(!is_stream)];
    let mut length = 0;
    while length < sent.len() {
        let (taken, received) = connection
            .send_and_receive(unsent, &mut got[length..], Deadline::after(timeout))
            .map_err(|error| failure(length, error))?;
        unsent = &unsent[taken..];
        let Some(received) = received else { continue };
        if received == 0 && connection.style() != Style::Datagram {
            let message = format!("{address}: the connection ended instead of an echo");
            return Err(Failure::new(Symptom::Closed, address, message));
        }
        length = (length + received).min(got.len());
        if !is_stream {
            break;
        }
    }
    got.truncate(length);
    Ok((got, started.elapsed()))
}

/// `    45 µs  hello`, and beside it what was sent if that is something else.
fn row(sent: &[u8], got: &[u8], time: Duration) -> String {
    let time = human(time);
    let (sent_text, got_text) = (visible(sent), visible(got));
    if sent == got {
        format!("{time:>9}  {got_text}")
    } else {
        format!("{time:>9}  {got_text}  (wrong: `{sent_text}` was sent)")
    }
}

fn visible(line: &[u8]) -> String {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    Escaped::of_bytes(line).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_echo_stands_beside_its_time() {
        let time = Duration::from_micros(45);
        for (sent, got, expected) in [
            (&b"hello\n"[..], &b"hello\n"[..], "    45 µs  hello"),
            (b"hello\n", b"hellx\n", "    45 µs  hellx  (wrong: `hello` was sent)"),
            (b"\x1b[2J\n", b"\x1b[2J\n", r"    45 µs  \x1b[2J"),
            ("zwölf\n".as_bytes(), "zwölf\n".as_bytes(), "    45 µs  zwölf"),
        ] {
            assert_eq!(row(sent, got, time), expected);
        }
    }
}
