//! What was measured, for people and as JSON.

use std::fmt::Write as _;
use std::io::Write as _;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::OFlags;
use rustix::io::Errno;
use serde_json::{Map, Value, json};

use super::compare::{Figure, Rounds, Spread};
use super::meter::{Memory, Sample};
use super::settings::{Load, Settings};
use crate::address::Style;
use crate::error::{Context, Error, ErrorKind, Result};
use crate::text;

/// The percentiles of the tables.
const PERCENTILES: [(&str, f64); 5] =
    [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999), ("max", 1.0)];

/// Prints the tables, or the JSON document.
pub(super) fn print(results: &[Rounds], settings: &Settings<'_>) -> Result<()> {
    if settings.args.json {
        write_json(&document(results, settings))
    } else if settings.args.compare {
        write(&table(results, settings))
    } else {
        write(&results.iter().map(|rounds| paragraph(rounds, settings)).collect::<String>())
    }
}

/// Prints the JSON document of a run that has no results.
pub(super) fn print_error(error: &Error) -> Result<()> {
    let status = error.kind().exit_status();
    write_json(&json!({ "error": error.to_string(), "exit_status": status }))
}

pub(super) fn write_json(document: &Value) -> Result<()> {
    write(&text::escape_json(&format!("{document:#}\n")))
}

pub(super) fn write(text: &str) -> Result<()> {
    std::io::stdout().write_all(text.as_bytes()).context("write the report to standard output")
}

/// Refuses a standard output that nothing can be written to: the report would be lost.
pub(super) fn check_output() -> Result<()> {
    let stdout = rustix::stdio::stdout();
    let mut fds = [PollFd::new(&stdout, PollFlags::empty())];
    // A file system that knows no flags or no poll is asked again by the write itself.
    let flags = rustix::fs::fcntl_getfl(stdout).unwrap_or(OFlags::WRONLY);
    let error = match poll(&mut fds, Some(&Timespec::default())) {
        _ if flags & OFlags::RWMODE == OFlags::RDONLY => Errno::BADF,
        // The reader of a pipe, or the peer of a socket, has gone.
        Ok(1..) => Errno::PIPE,
        _ => return Ok(()),
    };
    Err(error).context("write the report to standard output")
}

/// The exit status: whether the servers did their job, never how fast.
pub(super) fn status(results: &[Rounds]) -> u8 {
    let samples = || results.iter().flat_map(|rounds| &rounds.samples);
    if samples().any(|sample| sample.wrong > 0) {
        ErrorKind::WrongReply.exit_status()
    } else if samples().any(|sample| sample.errors > 0 || sample.bytes + sample.round_trips == 0) {
        ErrorKind::NoReply.exit_status()
    } else {
        0
    }
}

fn paragraph(rounds: &Rounds, settings: &Settings<'_>) -> String {
    let about = settings.load.about();
    let rate = rounds.spread(about.figure).map(|rate| {
        let [median, min, max] =
            [rate.median, rate.min, rate.max].map(|value| quantity(settings, value));
        if rate.min == rate.max { median } else { format!("{median} ({min} to {max})") }
    });
    let bytes_rate = rounds.spread(Sample::bytes_per_second).map(|rate| bytes(rate.median));
    let latencies: Option<Vec<_>> = percentiles(rounds)
        .map(|(name, spread)| Some(format!("{name} {}", microseconds(spread?.median))))
        .collect();
    let cpu = rounds.spread(about.cpu).map(|each| {
        let share = rounds.spread(|s| Some(s.cpu?.nanoseconds as f64 / 1e7 / s.seconds));
        let share = share.map_or(0.0, |share| share.median);
        let each_us = microseconds(each.median);
        format!("{each_us} µs for each {}, {share:.0}% of a CPU", about.cpu_each)
    });
    let mut text = format!("{}: {}\n", rounds.target.name, conditions(settings));
    for (name, value) in [
        (about.unit, rate),
        ("bytes/s", bytes_rate.filter(|_| settings.load == Load::PingPong)),
        ("latency µs", latencies.map(|values| values.join("  "))),
        ("server CPU", cpu),
        ("congestion", congestion(rounds)),
        ("memory", rounds.samples.last().and_then(memory)),
        ("errors", Some(failures(rounds, settings))),
        ("first error", rounds.first_error().map(str::to_owned)),
        ("note", note(settings).map(str::to_owned)),
    ] {
        if let Some(value) = value {
            let _ = writeln!(text, "  {name:<16} {value}");
        }
    }
    text
}

pub(super) fn conditions(settings: &Settings<'_>) -> String {
    let args = settings.args;
    let mut text = settings.load.about().words.to_owned();
    let _ = write!(text, ", {} × {} B", settings.connections, settings.size);
    if let Some(rate) = args.rate {
        let _ = write!(text, ", {rate} a second on schedule");
    }
    if settings.load == Load::Flood {
        let _ = write!(text, ", window {}", settings.window);
    }
    for (on, word) in
        [(args.busy, "client polls"), (args.gso, "in trains"), (args.verify, "verified")]
    {
        if on {
            let _ = write!(text, ", {word}");
        }
    }
    let _ = write!(text, ", {} × {} s", settings.rounds, args.duration.as_secs_f64());
    text
}

/// What a reader has to know to read the latencies right.
fn note(settings: &Settings<'_>) -> Option<&'static str> {
    match (settings.load, settings.args.rate) {
        (Load::PingPong, None) => Some(
            "closed loop: a stall counts once for each connection and not for what would have \
             been sent meanwhile (coordinated omission); see --rate",
        ),
        (Load::PingPong, Some(_)) => {
            Some("open loop: a latency begins when its message was due, stalls included")
        }
        _ => None,
    }
}

fn quantity(settings: &Settings<'_>, value: f64) -> String {
    if settings.load == Load::Bulk { bytes(value) } else { thousands(value) }
}

/// Whole numbers with a blank between thousands.
fn thousands(value: f64) -> String {
    if value.abs() < 100.0 {
        return format!("{value:.1}");
    }
    let digits = format!("{:.0}", value.abs());
    let mut text = String::from(if value < 0.0 { "-" } else { "" });
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at) % 3 == 0 {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

fn bytes(value: f64) -> String {
    match value {
        v if v >= 1e9 => format!("{:.2} GB", v / 1e9),
        v if v >= 1e6 => format!("{:.1} MB", v / 1e6),
        v => format!("{:.1} kB", v / 1e3),
    }
}

fn microseconds(nanoseconds: f64) -> String {
    match nanoseconds / 1e3 {
        v if v < 1.0 => format!("{v:.3}"),
        v if v < 1000.0 => format!("{v:.1}"),
        v => thousands(v),
    }
}

fn percentiles(rounds: &Rounds) -> impl Iterator<Item = (&'static str, Option<Spread>)> {
    PERCENTILES
        .iter()
        .map(|(name, quantile)| (*name, rounds.spread(|sample| sample.percentile(*quantile))))
}

fn congestion(rounds: &Rounds) -> Option<String> {
    rounds.samples.first()?.congestion.clone()
}

fn memory(sample: &Sample) -> Option<String> {
    let Memory { before, idle, added, used } = sample.memory?;
    let [before, idle, used] = [before, idle, used].map(|bytes| bytes / 1024);
    Some(format!(
        "{before} kB with one connection, {idle} kB with {added} more, {used} kB after each was \
         used"
    ))
}

fn failures(rounds: &Rounds, settings: &Settings<'_>) -> String {
    let lost = rounds.sum(|s| s.lost);
    let mut text = format!("{}, wrong {}", rounds.sum(|s| s.errors), rounds.sum(|s| s.wrong));
    if rounds.target.address.style() == Style::Datagram {
        let share = 100.0 * lost as f64 / (lost + rounds.sum(|s| s.round_trips)).max(1) as f64;
        let _ = write!(text, ", lost {lost} ({share:.2}%)");
    }
    if settings.args.rate.is_some() {
        let unfinished = rounds.sum(|s| s.unfinished);
        let _ = write!(text, ", due and not back at the end {unfinished}");
    }
    text
}

fn table(results: &[Rounds], settings: &Settings<'_>) -> String {
    let Some(base) = results.first() else { return String::new() };
    let rows: Vec<_> = results.iter().map(|rounds| row(rounds, base, settings)).collect();
    let mut text = format!(
        "{}, in turns; medians, ratios (to {}) with their ends\n{}",
        conditions(settings),
        base.target.name,
        aligned(&rows)
    );
    let mut notes: Vec<_> = note(settings).map(str::to_owned).into_iter().collect();
    notes.extend(congestion(base).map(|name| format!("congestion control of the client: {name}")));
    for rounds in results {
        let error = rounds.first_error();
        notes.extend(error.map(|error| format!("{}: {error}", rounds.target.name)));
    }
    for note in notes {
        let _ = writeln!(text, "{note}");
    }
    text
}

/// The headings and cells of one server's row.
fn row(rounds: &Rounds, base: &Rounds, settings: &Settings<'_>) -> Vec<(String, String)> {
    let about = settings.load.about();
    let median = |spread: Option<Spread>, show: &dyn Fn(f64) -> String| {
        spread.map_or("–".to_owned(), |spread| show(spread.median))
    };
    let rate = median(rounds.spread(about.figure), &|value| quantity(settings, value));
    let mut row = vec![
        ("server".to_owned(), rounds.target.name.clone()),
        (about.unit.to_owned(), rate),
        ("ratio".to_owned(), ratio(rounds.ratio(base, about.figure))),
    ];
    if settings.load == Load::PingPong {
        let latency = |(name, spread)| (format!("{name} µs"), median(spread, &microseconds));
        row.extend(percentiles(rounds).map(latency));
    }
    let cpu = if settings.load == Load::Bulk { "CPU µs/MiB" } else { "CPU µs each" };
    row.extend([
        (cpu.to_owned(), median(rounds.spread(about.cpu), &microseconds)),
        ("CPU ratio".to_owned(), ratio(rounds.ratio(base, about.cpu))),
        ("errors".to_owned(), failures(rounds, settings)),
    ]);
    row
}

pub(super) fn ratio(spread: Option<Spread>) -> String {
    spread.map_or("–".into(), |s| format!("{:.2} ({:.2}..{:.2})", s.median, s.min, s.max))
}

/// A line of headings, then the cells, in columns of equal width: the first to the left, the
/// others to the right.
pub(super) fn aligned(rows: &[Vec<(String, String)>]) -> String {
    let headings = rows.first().map(|row| row.iter().map(|(heading, _)| heading).collect());
    let cells = rows.iter().map(|row| row.iter().map(|(_, cell)| cell).collect());
    let lines: Vec<Vec<&String>> = headings.into_iter().chain(cells).collect();
    let mut text = String::new();
    for line in &lines {
        for (at, cell) in line.iter().enumerate() {
            let widths = lines.iter().map(|line| line[at].chars().count());
            let width = widths.max().unwrap_or(0);
            let _ = match at {
                0 => write!(text, "{cell:width$}"),
                _ => write!(text, "  {cell:>width$}"),
            };
        }
        text.push('\n');
    }
    text
}

fn document(results: &[Rounds], settings: &Settings<'_>) -> Value {
    let args = settings.args;
    let base = results.first().filter(|_| args.compare);
    let servers: Vec<_> = results.iter().map(|rounds| server(rounds, base, settings)).collect();
    json!({
        "mode": settings.load.about().mode,
        "connections": settings.connections,
        "size": settings.size,
        "duration_seconds": args.duration.as_secs_f64(),
        "warmup_seconds": args.warmup.as_secs_f64(),
        "rounds": settings.rounds,
        "in_turns": args.compare,
        "rate": args.rate,
        "coordinated_omission": settings.load == Load::PingPong && args.rate.is_none(),
        "client_polls": args.busy,
        "verified": args.verify || settings.load != Load::Bulk,
        "gso": args.gso,
        "servers": servers,
    })
}

fn server(rounds: &Rounds, base: Option<&Rounds>, settings: &Settings<'_>) -> Value {
    let about = settings.load.about();
    let microseconds = |(name, quantile): (&str, f64)| {
        let spread = rounds.spread(|sample| Some(sample.percentile(quantile)? / 1e3));
        (name.to_owned(), json!(spread))
    };
    let against = |figure: Figure| base.and_then(|base| rounds.ratio(base, figure));
    let is_bulk = settings.load == Load::Bulk;
    let cpu = rounds.spread(about.cpu);
    json!({
        "name": rounds.target.name,
        "address": rounds.target.address.to_string(),
        "congestion": congestion(rounds),
        "messages": rounds.sum(|s| s.round_trips),
        "messages_per_second": rounds.spread(Sample::per_second).filter(|_| !is_bulk),
        "bytes_per_second": rounds.spread(Sample::bytes_per_second),
        "latency_us": PERCENTILES.into_iter().map(microseconds).collect::<Map<_, _>>(),
        "server_cpu_ns_per_message": cpu.filter(|_| !is_bulk),
        "server_cpu_ns_per_mib": cpu.filter(|_| is_bulk),
        "memory_bytes_per_connection": rounds.spread(Sample::per_connection),
        "ratio": against(about.figure),
        "cpu_ratio": against(about.cpu),
        "errors": rounds.sum(|s| s.errors),
        "first_error": rounds.first_error(),
        "wrong": rounds.sum(|s| s.wrong),
        "lost": rounds.sum(|s| s.lost),
        "unfinished": rounds.sum(|s| s.unfinished),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_easy_to_read() {
        for (value, text) in [(0.0, "0.0"), (99.9, "99.9"), (100.0, "100"), (1234.0, "1 234")] {
            assert_eq!(thousands(value), text);
        }
        assert_eq!(thousands(9_600_000.0), "9 600 000");
        assert_eq!(bytes(3_353e6), "3.35 GB");
        assert_eq!(microseconds(4_900.0), "4.9");
        assert_eq!(microseconds(61.0), "0.061");
    }
}
