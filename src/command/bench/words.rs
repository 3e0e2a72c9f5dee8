//! The conditions and the outcome in words, for the tables and for the picture.

use std::fmt::Write as _;

use super::compare::Rounds;
use super::meter::Sample;
use super::settings::{Load, Settings};
use crate::address::Style;

/// The usual width of a terminal.
const COLUMNS: usize = 80;

/// A count with its noun, for example `1 reply` and `2 replies`.
pub(super) fn plural(count: u64, noun: &str) -> String {
    let number = if count < 100 { count.to_string() } else { thousands(count as f64) };
    match noun.strip_suffix('y') {
        _ if count == 1 => format!("1 {noun}"),
        Some(stem) => format!("{number} {stem}ies"),
        None => format!("{number} {noun}s"),
    }
}

/// What was done with each server.
pub(super) fn conditions(results: &[Rounds], settings: &Settings<'_>) -> String {
    let args = settings.args;
    let is_datagram = |rounds: &Rounds| rounds.target.address.style() == Style::Datagram;
    let noun = if results.iter().all(is_datagram) { "socket" } else { "connection" };
    let unit = match settings.load {
        Load::Bulk => "writes",
        Load::Flood => "datagrams",
        Load::PingPong | Load::Idle => "messages",
    };
    let mut text = format!(
        "{}: {}, {unit} of {} B",
        settings.load.about().words,
        plural(settings.connections as u64, noun),
        thousands(settings.size as f64),
    );
    if let Some(rate) = args.rate {
        let _ = write!(text, ", {rate} a second on a schedule");
    }
    match (settings.load, settings.window) {
        (Load::Flood, 0) => text += ", any number in flight",
        (Load::Flood, window) => {
            let _ = write!(text, ", up to {} in flight", thousands(window as f64));
        }
        _ => {}
    }
    for (on, words) in
        [(args.gso, "sent in trains"), (args.verify, "compared"), (args.busy, "client polls")]
    {
        if on {
            let _ = write!(text, ", {words}");
        }
    }
    let rounds = plural(settings.rounds as u64, "round");
    let _ = write!(text, ", {rounds} of {} s", args.duration.as_secs_f64());
    text
}

/// Whether all servers echoed correctly.
pub(super) fn outcome(results: &[Rounds], settings: &Settings<'_>) -> String {
    let sum = |count: fn(&Sample) -> u64| results.iter().map(|rounds| rounds.sum(count)).sum();
    let (errors, wrong): (u64, u64) = (sum(|s| s.errors), sum(|s| s.wrong));
    let (lost, back): (u64, u64) = (sum(|s| s.lost), sum(|s| s.round_trips));
    let mut parts = Vec::new();
    if errors > 0 {
        parts.push(plural(errors, "error"));
    }
    if wrong > 0 {
        parts.push(plural(wrong, "wrong reply"));
    }
    let mut text = match parts.as_slice() {
        [] if back + sum(|s| s.bytes) == 0 => "no errors, but nothing came back".to_owned(),
        [] if settings.load == Load::Bulk && !settings.args.verify => {
            "no errors; the bytes were not compared (see --verify)".to_owned()
        }
        [] => "no errors; every reply was equal to its message".to_owned(),
        parts => parts.join(", "),
    };
    if lost > 0 {
        let share = 100.0 * lost as f64 / (lost + back) as f64;
        let _ = write!(text, "; {} lost ({share:.2}%)", plural(lost, "datagram"));
    }
    let unfinished: u64 = sum(|s| s.unfinished);
    if unfinished > 0 {
        let _ =
            write!(text, "; {} due, but without a reply at the end", plural(unfinished, "message"));
    }
    text
}

/// A number with a space between thousands. A small number that is not whole has one decimal.
pub(super) fn thousands(value: f64) -> String {
    let is_whole = value.fract() == 0.0;
    if value.abs() < 100.0 && !is_whole {
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

/// Wraps the words to the width of a terminal. Each line but the first begins with `indent` spaces.
pub(super) fn wrapped(text: &str, indent: usize) -> String {
    let mut lines = String::new();
    let mut column = indent;
    for word in text.split(' ') {
        let width = word.chars().count();
        if column > indent && column + 1 + width > COLUMNS {
            let _ = write!(lines, "\n{:indent$}", "");
            column = indent;
        } else if column > indent {
            lines.push(' ');
            column += 1;
        }
        lines += word;
        column += width;
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{BenchArgs, BenchMode};
    use crate::command::bench::target::Target;

    fn rounds(address: &str, sample: Sample) -> Vec<Rounds> {
        let target = Target { name: address.to_owned(), address: address.parse().unwrap() };
        vec![Rounds { target, samples: vec![sample] }]
    }

    fn seconds(seconds: u64) -> BenchArgs {
        let duration = std::time::Duration::from_secs(seconds);
        BenchArgs { connections: 1, duration, ..BenchArgs::default() }
    }

    #[test]
    fn numbers_are_easy_to_read() {
        for (value, text) in [
            (0.0, "0"),
            (99.0, "99"),
            (99.9, "99.9"),
            (100.4, "100"),
            (-1234.0, "-1 234"),
            (9_600_000.0, "9 600 000"),
        ] {
            assert_eq!(thousands(value), text);
        }
        for (count, noun, text) in [
            (0, "error", "0 errors"),
            (1, "wrong reply", "1 wrong reply"),
            (2, "wrong reply", "2 wrong replies"),
            (1000, "datagram", "1 000 datagrams"),
        ] {
            assert_eq!(plural(count, noun), text);
        }
    }

    #[test]
    fn conditions_are_words_with_the_right_plural() {
        let (tcp, udp) = ("tcp:127.0.0.1:1", "udp:127.0.0.1:1");
        let five = BenchArgs { compare: true, ..seconds(1) };
        let many = BenchArgs { connections: 50, rate: Some(500.0), busy: true, ..seconds(5) };
        let bulk = BenchArgs { mode: BenchMode::Bulk, verify: true, ..seconds(5) };
        let flood = BenchArgs { mode: BenchMode::Flood, connections: 2, ..seconds(5) };
        let free = BenchArgs { window: Some(0), gso: true, ..flood.clone() };
        for (args, address, text) in [
            (five, tcp, "ping-pong: 1 connection, messages of 64 B, 5 rounds of 1 s"),
            (
                many,
                udp,
                "ping-pong: 50 sockets, messages of 64 B, 500 a second on a schedule, \
                 client polls, 1 round of 5 s",
            ),
            (bulk, tcp, "bulk: 1 connection, writes of 65 536 B, compared, 1 round of 5 s"),
            (
                flood,
                udp,
                "flood: 2 sockets, datagrams of 64 B, up to 256 in flight, 1 round of 5 s",
            ),
            (
                free,
                udp,
                "flood: 2 sockets, datagrams of 64 B, any number in flight, sent in trains, \
                 1 round of 5 s",
            ),
        ] {
            let results = rounds(address, Sample::default());
            assert_eq!(conditions(&results, &Settings::new(&args)), text);
        }
    }

    #[test]
    fn the_outcome_is_words() {
        let (tcp, udp) = ("tcp:127.0.0.1:1", "udp:127.0.0.1:1");
        let good = || Sample { round_trips: 99, bytes: 1, ..Sample::default() };
        let bulk = BenchArgs { mode: BenchMode::Bulk, ..seconds(1) };
        let verified = BenchArgs { verify: true, ..bulk.clone() };
        let bad = Sample { errors: 3, wrong: 1, ..good() };
        let equal = "no errors; every reply was equal to its message";
        for (args, address, sample, text) in [
            (seconds(1), tcp, good(), equal.to_owned()),
            (seconds(1), tcp, Sample::default(), "no errors, but nothing came back".to_owned()),
            (seconds(1), tcp, bad, "3 errors, 1 wrong reply".to_owned()),
            (seconds(1), tcp, Sample { errors: 1, ..good() }, "1 error".to_owned()),
            (bulk, tcp, good(), "no errors; the bytes were not compared (see --verify)".to_owned()),
            (verified, tcp, good(), equal.to_owned()),
            (
                seconds(1),
                udp,
                Sample { lost: 1, unfinished: 2, ..good() },
                format!(
                    "{equal}; 1 datagram lost (1.00%); 2 messages due, but without a reply at the end"
                ),
            ),
        ] {
            assert_eq!(outcome(&rounds(address, sample), &Settings::new(&args)), text);
        }
    }

    #[test]
    fn lines_end_between_words() {
        let long = "word ".repeat(40);
        let text = format!("{:10}{}", "", wrapped(long.trim_end(), 10));
        assert!(text.lines().count() > 1, "{text}");
        for line in text.lines() {
            assert!(line.len() <= COLUMNS && line.starts_with("          word"), "{line:?}");
        }
        assert_eq!(wrapped(&"x".repeat(200), 10), "x".repeat(200));
    }
}
