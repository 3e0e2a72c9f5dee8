//! The results, for people and as JSON.

use std::fmt::Write as _;
use std::io::Write as _;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::OFlags;
use rustix::io::Errno;
use serde_json::{Map, Value, json};

use super::compare::{Figure, Rounds, Spread};
use super::meter::{Memory, Sample};
use super::settings::{Load, Settings};
use super::words::{conditions, outcome, thousands, wrapped};
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
        let paragraphs = results.iter().map(|rounds| paragraph(rounds, settings));
        write(&paragraphs.collect::<Vec<_>>().join("\n"))
    }
}

/// Prints the JSON document of a run without results.
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

/// Refuses a standard output that cannot be written to, because the report would be lost.
pub(super) fn check_output() -> Result<()> {
    let stdout = rustix::stdio::stdout();
    let mut fds = [PollFd::new(&stdout, PollFlags::empty())];
    // If a file system supports neither flags nor poll, the write itself reports errors.
    let flags = rustix::fs::fcntl_getfl(stdout).unwrap_or(OFlags::WRONLY);
    let error = match poll(&mut fds, Some(&Timespec::default())) {
        _ if flags & OFlags::RWMODE == OFlags::RDONLY => Errno::BADF,
        // The reader of the pipe, or the peer of the socket, is gone.
        Ok(1..) => Errno::PIPE,
        _ => return Ok(()),
    };
    Err(error).context("write the report to standard output")
}

/// The exit status. It depends on correct echoes, never on speed.
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

/// The column where the values of a paragraph begin.
const VALUES: usize = 19;

fn paragraph(rounds: &Rounds, settings: &Settings<'_>) -> String {
    let about = settings.load.about();
    let results = std::slice::from_ref(rounds);
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
        format!("{} µs per {}, {share:.0}% of one CPU", microseconds(each.median), about.cpu_each)
    });
    let several = "medians of the rounds; in parentheses the smallest and the largest";
    let conditions = conditions(results, settings);
    let mut text = format!("{}\n  {}\n", rounds.target.name, wrapped(&conditions, 2));
    for (name, value) in [
        (about.unit, rate),
        ("bytes/s", bytes_rate.filter(|_| settings.load == Load::PingPong)),
        ("latency, µs", latencies.map(|values| values.join("  "))),
        ("server CPU time", cpu),
        ("TCP congestion", congestion(rounds)),
        ("server memory", rounds.samples.last().and_then(memory)),
        ("result", Some(outcome(results, settings))),
        ("first error", rounds.first_error().map(str::to_owned)),
        ("figures", (settings.rounds > 1).then(|| several.to_owned())),
        ("note", note(settings).map(str::to_owned)),
    ] {
        if let Some(value) = value {
            let _ = writeln!(text, "  {name:<16} {}", wrapped(&value, VALUES));
        }
    }
    text
}

/// What a reader must know about the latencies.
fn note(settings: &Settings<'_>) -> Option<&'static str> {
    match (settings.load, settings.args.rate) {
        (Load::PingPong, None) => Some(
            "each connection sends its next message only after the reply, so a stall of the \
             server counts for one message only (coordinated omission); --rate sends on a \
             schedule instead",
        ),
        (Load::PingPong, Some(_)) => Some(
            "messages are sent on a schedule; a latency begins when its message was due, so \
             stalls count in full",
        ),
        _ => None,
    }
}

fn quantity(settings: &Settings<'_>, value: f64) -> String {
    if settings.load == Load::Bulk { bytes(value) } else { thousands(value) }
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
        v => thousands(v.round()),
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
    let [before, idle, used] = [before, idle, used].map(|bytes| thousands((bytes / 1024) as f64));
    Some(format!(
        "{before} KiB with 1 connection, {idle} KiB with {} more, {used} KiB after each was used \
         (anonymous memory)",
        thousands(added as f64)
    ))
}

fn table(results: &[Rounds], settings: &Settings<'_>) -> String {
    let Some(base) = results.first() else { return String::new() };
    let name = &base.target.name;
    let first = format!("{}, servers in turns", conditions(results, settings));
    let second = format!(
        "Medians of the rounds. Ratios compare with `{name}` turn by turn; the range is over all \
         turns."
    );
    let rates: Vec<_> = results.iter().map(|rounds| rates(rounds, base, settings)).collect();
    let mut tables = vec![wrapped(&first, 0) + "\n" + &wrapped(&second, 0) + "\n", aligned(&rates)];
    if settings.load == Load::PingPong {
        tables.push(aligned(&results.iter().map(latencies).collect::<Vec<_>>()));
    }
    let mut text = tables.join("\n") + "\n";
    for line in notes(results, settings) {
        let _ = writeln!(text, "{}", wrapped(&line, 0));
    }
    text
}

/// The notes below the tables.
fn notes(results: &[Rounds], settings: &Settings<'_>) -> Vec<String> {
    let each = |rounds| outcome(std::slice::from_ref(rounds), settings);
    let mut notes: Vec<_> = results.iter().map(each).collect();
    if notes.iter().all(|note| *note == notes[0]) {
        notes.truncate(1);
    } else {
        for (note, rounds) in notes.iter_mut().zip(results) {
            *note = format!("{}: {note}", rounds.target.name);
        }
    }
    for rounds in results {
        let error = rounds.first_error();
        notes.extend(error.map(|error| format!("{}, first error: {error}", rounds.target.name)));
    }
    let congestion = results.iter().find_map(congestion);
    notes.extend(congestion.map(|name| format!("TCP congestion control of the client: {name}")));
    notes.extend(note(settings).map(|note| format!("Note: {note}")));
    notes
}

/// The headings and cells of one server's row: its rates and their cost.
fn rates(rounds: &Rounds, base: &Rounds, settings: &Settings<'_>) -> Vec<(String, String)> {
    let about = settings.load.about();
    let rate = median(rounds.spread(about.figure), |value| quantity(settings, value));
    let mut row =
        vec![("server".to_owned(), rounds.target.name.clone()), (about.unit.to_owned(), rate)];
    row.extend(ratio("ratio", rounds.ratio(base, about.figure)));
    // The CPU time of a server on another machine is unknown.
    if let (Some(cpu), of_base) = (rounds.spread(about.cpu), rounds.ratio(base, about.cpu)) {
        row.push((format!("CPU µs/{}", about.cpu_each), microseconds(cpu.median)));
        row.extend(ratio("CPU ratio", of_base));
    }
    row
}

/// The headings and cells of one server's row: its latencies.
fn latencies(rounds: &Rounds) -> Vec<(String, String)> {
    let cell = |(name, spread)| (format!("{name} µs"), median(spread, microseconds));
    let name = ("server".to_owned(), rounds.target.name.clone());
    std::iter::once(name).chain(percentiles(rounds).map(cell)).collect()
}

fn median(spread: Option<Spread>, show: impl Fn(f64) -> String) -> String {
    spread.map_or("–".to_owned(), |spread| show(spread.median))
}

/// Two columns: the median, and the range of the rounds.
pub(super) fn ratio(heading: &str, spread: Option<Spread>) -> [(String, String); 2] {
    let range = spread.map(|s| format!("{}–{}", three_digits(s.min), three_digits(s.max)));
    [
        (heading.to_owned(), median(spread, three_digits)),
        ("range".to_owned(), range.unwrap_or("–".to_owned())),
    ]
}

/// A ratio in four columns: a larger one has fewer decimals.
fn three_digits(ratio: f64) -> String {
    match ratio {
        v if v < 9.995 => format!("{v:.2}"),
        v if v < 99.95 => format!("{v:.1}"),
        v => format!("{v:.0}"),
    }
}

/// A line of headings, then the cells, in columns of equal width: the first left-aligned, the
/// others right-aligned. The missing cells of a short row are empty.
pub(super) fn aligned(rows: &[Vec<(String, String)>]) -> String {
    let longest = rows.iter().max_by_key(|row| row.len()).into_iter();
    let headings = longest.map(|row| row.iter().map(|(heading, _)| heading).collect());
    let cells = rows.iter().map(|row| row.iter().map(|(_, cell)| cell).collect());
    let lines: Vec<Vec<&String>> = headings.chain(cells).collect();
    let mut text = String::new();
    for line in &lines {
        for (at, cell) in line.iter().enumerate() {
            let widths = lines.iter().filter_map(|line| Some(line.get(at)?.chars().count()));
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
        for (value, text) in [(0.0, "0.00"), (9.994, "9.99"), (9.996, "10.0"), (99.96, "100")] {
            assert_eq!(three_digits(value), text);
        }
        assert_eq!(bytes(3_353e6), "3.35 GB");
        assert_eq!(microseconds(4_900.0), "4.9");
        assert_eq!(microseconds(61.0), "0.061");
    }
}
