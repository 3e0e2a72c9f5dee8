//! `--interactive`: sends lines from standard input, and prints each echo with its time.

use std::io::{self, BufRead, Write};
use std::time::{Duration, Instant};

use super::notice::{Notice, Phase};
use super::report::human;
use crate::cli::ProbeArgs;
use crate::client::{Exchange, connect};
use crate::command::Outcome;
use crate::error::{Context, Error, ErrorKind};
use crate::text::Escaped;

/// A line is held in memory, and so is its echo.
const LINE_MAX: u64 = 64 << 20;

/// Sends each line of standard input with its newline, and prints the echo. Data after the last
/// echo was not sent, and is an error.
pub(super) fn run(args: &ProbeArgs) -> Outcome {
    let [address] = &args.addresses[..] else {
        return Err(Error::new(ErrorKind::Usage, "--interactive needs exactly one address")
            .remedy("name it, for example tcp:127.0.0.1:3000"));
    };
    let (address, timeout) = (&address.to_client(), args.timeout);
    let (mut input, mut output) = (io::stdin().lock(), io::stdout().lock());
    let connection = Notice::start(address, timeout)
        .until_somebody_listens(args.wait, |timeout| connect(address, timeout))?;
    let mut exchange = Exchange { connection, timeout };
    let (mut status, mut first) = (0, true);
    let mut sent = Vec::new();
    loop {
        sent.clear();
        let mut line = io::Read::take(&mut input, LINE_MAX + 1);
        match line.read_until(b'\n', &mut sent).context("read standard input")? as u64 {
            0 => {
                exchange.finish()?;
                return Ok(status);
            }
            1..=LINE_MAX => {}
            _ => {
                let message = format!("a line has more than {LINE_MAX} bytes");
                return Err(Error::new(ErrorKind::Usage, message));
            }
        }
        let notice = Notice::start(address, timeout);
        notice.phase(Phase::Reply { first }, Instant::now());
        exchange.connection.reserve(sent.len())?;
        let (got, times) = exchange.echo(&sent, None)?;
        drop(notice);
        first = false;
        if got != sent {
            status = ErrorKind::WrongReply.exit_status();
        }
        let row = row(&sent, &got, times.round_trip);
        match writeln!(output, "{row}").and_then(|()| output.flush()) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(0),
            result => result.context("write to standard output")?,
        }
    }
}

/// `    45 µs  hello`, followed by the sent line if it differs.
fn row(sent: &[u8], got: &[u8], time: Duration) -> String {
    let visible =
        |line: &[u8]| Escaped::of_bytes(line.strip_suffix(b"\n").unwrap_or(line)).to_string();
    let row = format!("{:>9}  {}", human(time), visible(got));
    if sent == got { row } else { format!("{row}  (wrong: `{}` was sent)", visible(sent)) }
}
