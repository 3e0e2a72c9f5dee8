//! The result of an address: as a row for people, and as an object of the JSON document.

use std::time::Duration;

use serde::Serialize;

use crate::address::Address;
use crate::client::Failure;
use crate::text::quote;

/// The JSON document. New fields do not change `schema`.
#[derive(Debug, Serialize)]
pub(super) struct Document<'a> {
    /// It changes when a field changes its meaning or is removed.
    schema: u32,
    /// The exit status of the program: that of the first failure.
    pub(super) exit_status: u8,
    /// Bytes of each message.
    message_size: usize,
    /// In the order of the command line.
    results: &'a [Report],
}

/// The result of one address. A time that was not measured is null.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    address: String,
    /// `echoed`, `skipped`, or the name of the failure.
    verdict: &'static str,
    /// The exit status that this address alone would have.
    pub(super) exit_status: u8,
    /// Messages that came back whole and equal.
    messages_echoed: usize,
    connect_ns: Option<u64>,
    first_reply_ns: Option<u64>,
    round_trip_min_ns: Option<u64>,
    round_trip_median_ns: Option<u64>,
    round_trip_max_ns: Option<u64>,
    /// What went wrong, why it was skipped, or a remark.
    message: Option<String>,
    /// The likely cause and the next command to run.
    remedy: Option<String>,
}

/// The times of one address that were measured.
#[derive(Debug, Default)]
pub(super) struct Measured {
    pub(super) connect: Option<Duration>,
    pub(super) first_reply: Option<Duration>,
    pub(super) round_trips: Vec<Duration>,
}

/// The verdict about an address.
#[derive(Debug)]
pub(super) enum Verdict {
    /// Every byte came back; perhaps with a remark.
    Echoed(Option<&'static str>),
    /// Not probed, with the reason; this is not a failure.
    Skipped(String),
    Failed(Failure),
}

impl Report {
    pub(super) fn new(address: &Address, measured: Measured, verdict: Verdict) -> Self {
        let Measured { connect, first_reply, round_trips: mut trips } = measured;
        trips.sort_unstable();
        let nanoseconds = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        // Of an even number of times, the lower middle one: a time that was measured.
        let median = trips.get(trips.len().saturating_sub(1) / 2);
        let mut report = Self {
            address: address.to_string(),
            verdict: "echoed",
            exit_status: 0,
            messages_echoed: trips.len(),
            connect_ns: connect.map(nanoseconds),
            first_reply_ns: first_reply.map(nanoseconds),
            round_trip_min_ns: trips.first().copied().map(nanoseconds),
            round_trip_median_ns: median.copied().map(nanoseconds),
            round_trip_max_ns: trips.last().copied().map(nanoseconds),
            message: None,
            remedy: None,
        };
        match verdict {
            Verdict::Echoed(note) => report.message = note.map(str::to_owned),
            Verdict::Skipped(reason) => {
                (report.verdict, report.message) = ("skipped", Some(reason));
            }
            Verdict::Failed(failure) => {
                report.verdict = failure.symptom.name();
                report.exit_status = failure.symptom.kind().exit_status();
                report.message = Some(failure.to_string());
                report.remedy = Some(failure.remedy());
            }
        }
        report
    }
}

/// The JSON document of all results.
pub(super) fn document(reports: &[Report], message_size: usize) -> Document<'_> {
    let failed = reports.iter().find(|report| report.exit_status != 0);
    let exit_status = failed.map_or(0, |report| report.exit_status);
    Document { schema: 1, exit_status, message_size, results: reports }
}

/// The lines for standard error: each failure with its remedy. Failures with the same remedy are
/// joined, and the remedy follows once, without the address, which differs.
pub(super) fn failures(reports: &[Report]) -> Vec<String> {
    let mut groups: Vec<(String, Vec<(&str, &str)>)> = Vec::new();
    for report in reports {
        let (Some(message), Some(remedy)) = (&report.message, &report.remedy) else { continue };
        let shared = remedy.replace(&format!("-l {}`", quote(&report.address)), "-l ADDRESS`");
        match groups.iter_mut().find(|(of, _)| *of == shared) {
            Some((_, failures)) => failures.push((message, remedy)),
            None => groups.push((shared, vec![(message, remedy)])),
        }
    }
    let lines = groups.into_iter().flat_map(|(shared, failures)| match failures[..] {
        [(message, remedy)] => vec![format!("{message}; {remedy}")],
        _ => {
            let advice = format!("for these {} addresses: {shared}", failures.len());
            failures.iter().map(|(message, _)| (*message).to_owned()).chain([advice]).collect()
        }
    });
    lines.collect()
}

/// The layout of the rows.
#[derive(Debug, Clone, Copy)]
pub(super) struct Layout {
    /// The columns of the longest address.
    address_width: usize,
    /// Whether the verdict is coloured.
    colour: bool,
}

impl Layout {
    pub(super) fn new(addresses: &[Address], colour: bool) -> Self {
        let widths = addresses.iter().map(|address| address.to_string().chars().count());
        Self { address_width: widths.max().unwrap_or(0).max("ADDRESS".len()), colour }
    }

    pub(super) fn header(self) -> String {
        let columns = ["CONNECT", "FIRST REPLY", "RTT MIN", "RTT MEDIAN"].map(str::to_owned);
        self.line("ADDRESS", &columns, "VERDICT")
    }

    pub(super) fn row(self, report: &Report) -> String {
        let columns = [
            report.connect_ns,
            report.first_reply_ns,
            report.round_trip_min_ns,
            report.round_trip_median_ns,
        ]
        .map(|ns| ns.map_or("-".to_owned(), |ns| human(Duration::from_nanos(ns))));
        let mut verdict = self.painted(report.verdict);
        // The message of a failure has its own line.
        if let (None, Some(message)) = (&report.remedy, &report.message) {
            verdict += &format!(" ({message})");
        }
        self.line(&report.address, &columns, &verdict)
    }

    fn line(self, address: &str, columns: &[String; 4], verdict: &str) -> String {
        let [connect, first, min, median] = columns;
        let width = self.address_width;
        format!("{address:width$}  {connect:>8}  {first:>11}  {min:>8}  {median:>10}  {verdict}")
    }

    /// Green, yellow or red.
    fn painted(self, verdict: &str) -> String {
        let colour = match verdict {
            _ if !self.colour => return verdict.to_owned(),
            "echoed" => 32,
            "skipped" => 33,
            _ => 31,
        };
        format!("\x1b[{colour}m{verdict}\x1b[0m")
    }
}

/// A time with about three digits, in a suitable unit.
pub(super) fn human(time: Duration) -> String {
    let ns = time.as_nanos();
    match ns {
        0..10_000 => format!("{:.1} µs", ns as f64 / 1e3),
        10_000..1_000_000 => format!("{:.0} µs", ns as f64 / 1e3),
        1_000_000..10_000_000 => format!("{:.2} ms", ns as f64 / 1e6),
        10_000_000..1_000_000_000 => format!("{:.0} ms", ns as f64 / 1e6),
        _ => format!("{:.2} s", ns as f64 / 1e9),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::Symptom;

    fn reports() -> [Report; 3] {
        let us = Duration::from_micros;
        let tcp: Address = "tcp:127.0.0.1:3000".parse().unwrap();
        let udp: Address = "udp:[::1]:3000".parse().unwrap();
        let vsock: Address = "vsock:local:3000".parse().unwrap();
        let measured = Measured {
            connect: Some(us(45)),
            first_reply: Some(us(1200)),
            round_trips: vec![us(1250), us(40), us(48), us(60)],
        };
        let refused = Failure::new(Symptom::Refused, &udp, "connect to udp:[::1]:3000");
        [
            Report::new(&tcp, measured, Verdict::Echoed(None)),
            Report::new(&udp, Measured::default(), Verdict::Failed(refused)),
            Report::new(&vsock, Measured::default(), Verdict::Skipped("no loopback".to_owned())),
        ]
    }

    #[test]
    fn rows_are_aligned_and_only_the_verdict_is_coloured() {
        let mut layout = Layout { address_width: 18, colour: false };
        let mut table = vec![layout.header()];
        table.extend(reports().iter().map(|report| layout.row(report)));
        assert_eq!(
            table,
            [
                "ADDRESS              CONNECT  FIRST REPLY   RTT MIN  RTT MEDIAN  VERDICT",
                "tcp:127.0.0.1:3000     45 µs      1.20 ms     40 µs       48 µs  echoed",
                "udp:[::1]:3000             -            -         -           -  refused",
                "vsock:local:3000           -            -         -           -  skipped (no \
                 loopback)",
            ]
        );
        layout.colour = true;
        for (report, verdict) in reports().iter().zip(["32mechoed", "31mrefused", "33mskipped"]) {
            let row = layout.row(report);
            assert!(row.contains(&format!("  \x1b[{verdict}\x1b[0m")), "{row}");
        }
    }

    #[test]
    fn the_document_has_every_field() {
        let reports = reports();
        let document = serde_json::to_value(document(&reports, 64)).unwrap();
        assert_eq!((&document["schema"], &document["exit_status"]), (&1.into(), &6.into()));
        assert_eq!(document["message_size"], 64);
        assert_eq!(
            document["results"][0],
            serde_json::json!({
                "address": "tcp:127.0.0.1:3000", "verdict": "echoed", "exit_status": 0,
                "messages_echoed": 4, "connect_ns": 45_000, "first_reply_ns": 1_200_000,
                "round_trip_min_ns": 40_000, "round_trip_median_ns": 48_000,
                "round_trip_max_ns": 1_250_000, "message": null, "remedy": null,
            })
        );
    }

    #[test]
    fn advice_that_several_failures_share_comes_once() {
        let report = |message: &str, remedy: &str| Report {
            message: Some(message.to_owned()),
            remedy: Some(remedy.to_owned()),
            ..Report::new(&"unix:/s".parse().unwrap(), Measured::default(), Verdict::Echoed(None))
        };
        let [echoed, _, skipped] = reports();
        let reports = [
            report("a: refused", "run `activate -l unix:/s`"),
            echoed,
            report("b: denied", "let it"),
            skipped,
            report("c: refused", "run `activate -l unix:/s`"),
        ];
        let start = "for these 2 addresses: run `activate -l ADDRESS`";
        let lines = ["a: refused", "c: refused", start, "b: denied; let it"];
        assert_eq!(failures(&reports), lines);
        assert!(failures(&[]).is_empty());
    }

    #[test]
    fn times_fit_their_column() {
        for (ns, text) in [
            (0, "0.0 µs"),
            (9_940, "9.9 µs"),
            (45_300, "45 µs"),
            (1_234_000, "1.23 ms"),
            (98_600_000, "99 ms"),
            (29_999_000_000, "30.00 s"),
        ] {
            assert_eq!(human(Duration::from_nanos(ns)), text);
        }
    }
}
