//! What was measured, for people and as JSON.

use std::fmt::Write as _;
use std::io::Write as _;

use serde_json::{Value, json};

use super::compare::{Rounds, Spread, cpu_each, figure};
use super::meter::Sample;
use super::settings::{Load, Settings};
use crate::error::{Context, Error, ErrorKind, Result};
use crate::text;

/// The percentiles of the tables.
const PERCENTILES: [(&str, f64); 5] =
    [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999), ("max", 1.0)];

/// Prints the tables, or the JSON document.
pub(super) fn print(results: &[Rounds], settings: &Settings, json: bool) -> Result<()> {
    let text = if json {
        text::escape_json(&format!("{:#}\n", document(results, settings)))
    } else if settings.compare {
        table(results, settings)
    } else {
        results.iter().map(|rounds| paragraph(rounds, settings)).collect()
    };
    write(&text)
}

/// Prints the JSON document of a run that has no results.
pub(super) fn print_error(error: &Error) -> Result<()> {
    let document = json!({
        "error": error.to_string(),
        "exit_status": error.kind().exit_status(),
    });
    write(&text::escape_json(&format!("{document:#}\n")))
}

pub(super) fn write(text: &str) -> Result<()> {
    std::io::stdout().write_all(text.as_bytes()).context("write the report to standard output")
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

fn paragraph(rounds: &Rounds, settings: &Settings) -> String {
    let mut text = format!("{}: {}\n", rounds.target.name, conditions(settings));
    let mut row = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            let _ = writeln!(text, "  {name:<16} {value}");
        }
    };
    let rate = rounds.spread(figure(settings.load));
    row(unit(settings.load), rate.map(|rate| with_ends(rate, |value| quantity(settings, value))));
    if settings.load == Load::PingPong {
        row("bytes/s", rounds.spread(|s| Some(s.bytes_per_second())).map(|s| bytes(s.median)));
    }
    row("latency µs", latencies(rounds).map(|values| values.join("  ")));
    row(
        "server CPU",
        rounds.spread(cpu_each(settings.load)).map(|cpu| server_cpu(rounds, settings, cpu)),
    );
    row("congestion", congestion(rounds));
    row("memory", rounds.samples.last().and_then(memory));
    row("errors", Some(failures(rounds, settings)));
    if let Some(error) = first_error(rounds) {
        row("first error", Some(error.to_owned()));
    }
    row("note", note(settings).map(str::to_owned));
    text
}

pub(super) fn conditions(settings: &Settings) -> String {
    let kind = match settings.load {
        Load::PingPong => "ping-pong",
        Load::Bulk => "bulk",
        Load::Flood => "flood",
        Load::Idle => "idle connections",
    };
    let mut text = format!("{kind}, {} × {} B", settings.connections, settings.size);
    if let Some(rate) = settings.rate {
        let _ = write!(text, ", {rate} a second on schedule");
    }
    if settings.load == Load::Flood {
        let _ = write!(text, ", window {}", settings.window);
    }
    for (on, word) in [
        (settings.busy, "client polls"),
        (settings.gso, "in trains"),
        (settings.verify, "verified"),
    ] {
        if on {
            let _ = write!(text, ", {word}");
        }
    }
    let (rounds, seconds) = (settings.rounds, settings.duration.as_secs_f64());
    let _ = write!(text, ", {rounds} × {seconds} s");
    text
}

/// What a reader has to know to read the latencies right.
fn note(settings: &Settings) -> Option<&'static str> {
    match (settings.load, settings.rate) {
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

fn unit(load: Load) -> &'static str {
    match load {
        Load::PingPong => "round trips/s",
        Load::Bulk => "bytes/s",
        Load::Flood => "datagrams/s",
        Load::Idle => "B/connection",
    }
}

fn quantity(settings: &Settings, value: f64) -> String {
    if settings.load == Load::Bulk { bytes(value) } else { thousands(value) }
}

fn with_ends(spread: Spread, show: impl Fn(f64) -> String) -> String {
    if spread.min == spread.max {
        return show(spread.median);
    }
    format!("{} ({} to {})", show(spread.median), show(spread.min), show(spread.max))
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
    let value = nanoseconds / 1e3;
    match value {
        v if v < 1.0 => format!("{v:.3}"),
        v if v < 1000.0 => format!("{v:.1}"),
        v => thousands(v),
    }
}

fn percentile(sample: &Sample, quantile: f64) -> Option<f64> {
    let known = !sample.latency_ns.is_empty();
    known.then(|| sample.latency_ns.value_at_quantile(quantile) as f64)
}

fn latencies(rounds: &Rounds) -> Option<Vec<String>> {
    PERCENTILES
        .iter()
        .map(|(name, quantile)| {
            let spread = rounds.spread(|sample| percentile(sample, *quantile))?;
            Some(format!("{name} {}", microseconds(spread.median)))
        })
        .collect()
}

fn server_cpu(rounds: &Rounds, settings: &Settings, each: Spread) -> String {
    let per = if settings.load == Load::Bulk { "MiB" } else { "message" };
    let share = rounds.spread(|s| Some(s.cpu?.nanoseconds as f64 / 1e7 / s.seconds));
    let share = share.map_or(0.0, |share| share.median);
    format!("{} µs for each {per}, {share:.0}% of a CPU", microseconds(each.median))
}

fn congestion(rounds: &Rounds) -> Option<String> {
    rounds.samples.first()?.congestion.clone()
}

fn memory(sample: &Sample) -> Option<String> {
    let memory = sample.memory?;
    Some(format!(
        "{} kB with one connection, {} kB with {} more, {} kB after each was used",
        memory.before / 1024,
        memory.idle / 1024,
        memory.added,
        memory.used / 1024
    ))
}

fn failures(rounds: &Rounds, settings: &Settings) -> String {
    let sum = |count: fn(&Sample) -> u64| rounds.sum(count);
    let mut text = format!("{}, wrong {}", sum(|s| s.errors), sum(|s| s.wrong));
    let lost = sum(|s| s.lost);
    let datagrams = rounds.target.address.style() == crate::address::Style::Datagram;
    if datagrams {
        let share = 100.0 * lost as f64 / (lost + sum(|s| s.round_trips)).max(1) as f64;
        let _ = write!(text, ", lost {lost} ({share:.2}%)");
    }
    if settings.rate.is_some() {
        let _ = write!(text, ", due and not back at the end {}", sum(|s| s.unfinished));
    }
    text
}

fn first_error(rounds: &Rounds) -> Option<&str> {
    rounds.samples.iter().find_map(|sample| sample.first_error.as_deref())
}

fn table(results: &[Rounds], settings: &Settings) -> String {
    let Some(base) = results.first() else { return String::new() };
    let mut rows = vec![heading(settings)];
    for rounds in results {
        let mut row = vec![rounds.target.name.clone()];
        let rate = rounds.spread(figure(settings.load));
        row.push(rate.map_or("–".into(), |rate| quantity(settings, rate.median)));
        row.push(ratio(rounds.ratio(base, figure(settings.load))));
        if settings.load == Load::PingPong {
            row.extend(PERCENTILES.iter().map(|(_, quantile)| {
                let spread = rounds.spread(|sample| percentile(sample, *quantile));
                spread.map_or("–".into(), |spread| microseconds(spread.median))
            }));
        }
        let cpu = rounds.spread(cpu_each(settings.load));
        row.push(cpu.map_or("–".into(), |cpu| microseconds(cpu.median)));
        row.push(ratio(rounds.ratio(base, cpu_each(settings.load))));
        row.push(failures(rounds, settings));
        rows.push(row);
    }
    let mut text = format!(
        "{}, in turns; medians, ratios (to {}) with their ends\n",
        conditions(settings),
        base.target.name
    );
    text.push_str(&aligned(&rows));
    let mut notes: Vec<_> = note(settings).map(str::to_owned).into_iter().collect();
    notes.extend(congestion(base).map(|name| format!("congestion control of the client: {name}")));
    for rounds in results {
        notes.extend(first_error(rounds).map(|error| format!("{}: {error}", rounds.target.name)));
    }
    for note in notes {
        let _ = writeln!(text, "{note}");
    }
    text
}

fn heading(settings: &Settings) -> Vec<String> {
    let mut row = vec!["server".to_owned(), unit(settings.load).to_owned(), "ratio".to_owned()];
    if settings.load == Load::PingPong {
        row.extend(PERCENTILES.iter().map(|(name, _)| format!("{name} µs")));
    }
    let per = if settings.load == Load::Bulk { "CPU µs/MiB" } else { "CPU µs each" };
    row.extend([per.to_owned(), "CPU ratio".to_owned(), "errors".to_owned()]);
    row
}

pub(super) fn ratio(spread: Option<Spread>) -> String {
    spread.map_or("–".into(), |s| format!("{:.2} ({:.2}..{:.2})", s.median, s.min, s.max))
}

/// Columns of equal width: the first to the left, the others to the right.
pub(super) fn aligned(rows: &[Vec<String>]) -> String {
    let columns = rows.first().map_or(0, Vec::len);
    let width = |at: usize| rows.iter().map(|row| row[at].chars().count()).max().unwrap_or(0);
    let widths: Vec<_> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in rows {
        for (at, cell) in row.iter().enumerate() {
            let pad = " ".repeat(widths[at] - cell.chars().count());
            let _ = match at {
                0 => write!(text, "{cell}{pad}"),
                _ => write!(text, "  {pad}{cell}"),
            };
        }
        text.push('\n');
    }
    text
}

fn document(results: &[Rounds], settings: &Settings) -> Value {
    let base = results.first().filter(|_| settings.compare);
    let servers: Vec<_> = results.iter().map(|rounds| server(rounds, base, settings)).collect();
    json!({
        "mode": match settings.load {
            Load::PingPong => "pingpong",
            Load::Bulk => "bulk",
            Load::Flood => "flood",
            Load::Idle => "idle",
        },
        "connections": settings.connections,
        "size": settings.size,
        "duration_seconds": settings.duration.as_secs_f64(),
        "warmup_seconds": settings.warmup.as_secs_f64(),
        "rounds": settings.rounds,
        "in_turns": settings.compare,
        "rate": settings.rate,
        "coordinated_omission": settings.load == Load::PingPong && settings.rate.is_none(),
        "client_polls": settings.busy,
        "verified": settings.verify || settings.load != Load::Bulk,
        "gso": settings.gso,
        "servers": servers,
    })
}

fn server(rounds: &Rounds, base: Option<&Rounds>, settings: &Settings) -> Value {
    let mut latency = serde_json::Map::new();
    for (name, quantile) in PERCENTILES {
        let spread = rounds.spread(|sample| percentile(sample, quantile).map(|ns| ns / 1e3));
        latency.insert(name.to_owned(), json!(spread));
    }
    let against = |figure: fn(&Sample) -> Option<f64>| base.and_then(|b| rounds.ratio(b, figure));
    let is_bulk = settings.load == Load::Bulk;
    let cpu = rounds.spread(cpu_each(settings.load));
    json!({
        "name": rounds.target.name,
        "address": rounds.target.address.to_string(),
        "congestion": congestion(rounds),
        "messages": rounds.sum(|s| s.round_trips),
        "messages_per_second": if is_bulk { None } else { rounds.spread(|s| Some(s.per_second())) },
        "bytes_per_second": rounds.spread(|s| Some(s.bytes_per_second())),
        "latency_us": latency,
        "server_cpu_ns_per_message": if is_bulk { None } else { cpu },
        "server_cpu_ns_per_mib": if is_bulk { cpu } else { None },
        "memory_bytes_per_connection": rounds.spread(figure(Load::Idle)),
        "ratio": against(figure(settings.load)),
        "cpu_ratio": against(cpu_each(settings.load)),
        "errors": rounds.sum(|s| s.errors),
        "first_error": first_error(rounds),
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
