//! What was found at an address: as a row for people and as an object of the JSON document.

use std::time::Duration;

use serde::Serialize;

use crate::address::Address;
use crate::client::Failure;
use crate::error::Error;

/// What was found at one address.
#[derive(Debug)]
pub(super) struct Report {
    address: String,
    measured: Measured,
    verdict: Verdict,
}

/// The times of one address, as far as it came.
#[derive(Debug, Default)]
pub(super) struct Measured {
    pub(super) connect: Option<Duration>,
    pub(super) first_reply: Option<Duration>,
    pub(super) round_trips: Vec<Duration>,
}

#[derive(Debug)]
pub(super) enum Verdict {
    /// Every byte came back.
    Echoed {
        note: Option<&'static str>,
    },
    /// Not probed, which is no failure.
    Skipped(String),
    Failed(Failure),
}

/// The JSON document. New fields may come without a new `schema`.
#[derive(Debug, Serialize)]
pub(super) struct Document<'a> {
    /// Changes when a field changes its meaning or goes away.
    schema: u32,
    /// The exit status of the program.
    exit_status: u8,
    /// Bytes of each message.
    message_size: usize,
    /// In the order of the command line.
    results: Vec<Object<'a>>,
}

/// One address. Times are in nanoseconds, and null where it did not come to it.
#[derive(Debug, Serialize)]
struct Object<'a> {
    address: &'a str,
    /// `echoed`, `skipped`, or the name of the failure.
    verdict: &'static str,
    /// The exit status that this address alone would have.
    exit_status: u8,
    /// Messages that came back whole and equal.
    messages_echoed: usize,
    connect_ns: Option<u64>,
    first_reply_ns: Option<u64>,
    round_trip_min_ns: Option<u64>,
    round_trip_median_ns: Option<u64>,
    round_trip_max_ns: Option<u64>,
    /// What went wrong, or why it was skipped, or a remark.
    message: Option<String>,
    /// The likely cause and the next command to run.
    remedy: Option<String>,
}

impl Verdict {
    fn name(&self) -> &'static str {
        match self {
            Self::Echoed { .. } => "echoed",
            Self::Skipped(_) => "skipped",
            Self::Failed(failure) => failure.symptom.name(),
        }
    }
}

impl Report {
    pub(super) fn new(address: &Address, mut measured: Measured, verdict: Verdict) -> Self {
        measured.round_trips.sort_unstable();
        Self { address: address.to_string(), measured, verdict }
    }

    /// 0, or that of the failure's kind.
    pub(super) fn exit_status(&self) -> u8 {
        match &self.verdict {
            Verdict::Echoed { .. } | Verdict::Skipped(_) => 0,
            Verdict::Failed(failure) => failure.symptom.kind().exit_status(),
        }
    }

    /// The failure with its remedy, for the line on standard error.
    pub(super) fn into_error(self) -> Option<Error> {
        match self.verdict {
            Verdict::Failed(failure) => Some(failure.into()),
            _ => None,
        }
    }

    fn min(&self) -> Option<Duration> {
        self.measured.round_trips.first().copied()
    }

    fn max(&self) -> Option<Duration> {
        self.measured.round_trips.last().copied()
    }

    /// The lower of the two in the middle, if their number is even: one that was measured.
    fn median(&self) -> Option<Duration> {
        let trips = &self.measured.round_trips;
        trips.get(trips.len().saturating_sub(1) / 2).copied()
    }

    fn object(&self) -> Object<'_> {
        let (message, remedy) = match &self.verdict {
            Verdict::Echoed { note } => (note.map(str::to_owned), None),
            Verdict::Skipped(reason) => (Some(reason.clone()), None),
            Verdict::Failed(failure) => (Some(failure.to_string()), Some(failure.remedy())),
        };
        Object {
            address: &self.address,
            verdict: self.verdict.name(),
            exit_status: self.exit_status(),
            messages_echoed: self.measured.round_trips.len(),
            connect_ns: nanoseconds(self.measured.connect),
            first_reply_ns: nanoseconds(self.measured.first_reply),
            round_trip_min_ns: nanoseconds(self.min()),
            round_trip_median_ns: nanoseconds(self.median()),
            round_trip_max_ns: nanoseconds(self.max()),
            message,
            remedy,
        }
    }
}

fn nanoseconds(time: Option<Duration>) -> Option<u64> {
    time.map(|time| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX))
}

/// The exit status of all: that of the first failure.
pub(super) fn exit_status(reports: &[Report]) -> u8 {
    reports.iter().map(Report::exit_status).find(|status| *status != 0).unwrap_or(0)
}

/// The JSON document of all.
pub(super) fn document(reports: &[Report], message_size: usize) -> Document<'_> {
    Document {
        schema: 1,
        exit_status: exit_status(reports),
        message_size,
        results: reports.iter().map(Report::object).collect(),
    }
}

/// How rows are laid out.
#[derive(Debug, Clone, Copy)]
pub(super) struct Layout {
    /// Columns of the longest address.
    pub(super) address_width: usize,
    /// Whether the verdict has a colour.
    pub(super) colour: bool,
}

impl Layout {
    pub(super) fn for_addresses<'a>(
        addresses: impl Iterator<Item = &'a Address>,
        colour: bool,
    ) -> Self {
        let widths = addresses.map(|address| address.to_string().chars().count());
        Self { address_width: widths.max().unwrap_or(0).max("ADDRESS".len()), colour }
    }

    pub(super) fn header(self) -> String {
        let columns = ["CONNECT", "FIRST REPLY", "RTT MIN", "RTT MEDIAN"].map(str::to_owned);
        self.line("ADDRESS", &columns, "VERDICT")
    }

    pub(super) fn row(self, report: &Report) -> String {
        let measured = &report.measured;
        let columns = [measured.connect, measured.first_reply, report.min(), report.median()]
            .map(|time| time.map_or_else(|| "-".to_owned(), human));
        let detail = match &report.verdict {
            Verdict::Echoed { note: Some(note) } => format!(" ({note})"),
            Verdict::Skipped(reason) => format!(" ({reason})"),
            _ => String::new(),
        };
        let verdict = format!("{}{detail}", self.painted(&report.verdict));
        self.line(&report.address, &columns, &verdict)
    }

    fn line(self, address: &str, columns: &[String; 4], verdict: &str) -> String {
        let [connect, first, min, median] = columns;
        let width = self.address_width;
        format!("{address:width$}  {connect:>8}  {first:>11}  {min:>8}  {median:>10}  {verdict}")
    }

    fn painted(self, verdict: &Verdict) -> String {
        let name = verdict.name();
        if !self.colour {
            return name.to_owned();
        }
        let colour = match verdict {
            Verdict::Echoed { .. } => 32,
            Verdict::Skipped(_) => 33,
            Verdict::Failed(_) => 31,
        };
        format!("\x1b[{colour}m{name}\x1b[0m")
    }
}

/// A time with three digits or so, in the unit that fits.
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

    fn us(us: u64) -> Duration {
        Duration::from_micros(us)
    }

    fn reports() -> Vec<Report> {
        let tcp: Address = "tcp:127.0.0.1:3000".parse().unwrap();
        let udp: Address = "udp:[::1]:3000".parse().unwrap();
        let vsock: Address = "vsock:local:3000".parse().unwrap();
        let measured = Measured {
            connect: Some(us(45)),
            first_reply: Some(us(1200)),
            round_trips: vec![us(1250), us(40), us(48), us(60)],
        };
        let refused = Failure::new(Symptom::Refused, &udp, "connect to udp:[::1]:3000")
            .because(std::io::Error::from_raw_os_error(libc::ECONNREFUSED));
        vec![
            Report::new(&tcp, measured, Verdict::Echoed { note: None }),
            Report::new(&udp, Measured::default(), Verdict::Failed(refused)),
            Report::new(&vsock, Measured::default(), Verdict::Skipped("no loopback".to_owned())),
        ]
    }

    #[test]
    fn rows_are_aligned() {
        let layout = Layout { address_width: 18, colour: false };
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
    }

    #[test]
    fn only_the_verdict_is_coloured() {
        let layout = Layout { address_width: 18, colour: true };
        assert!(layout.row(&reports()[0]).ends_with("  \x1b[32mechoed\x1b[0m"));
        assert!(layout.row(&reports()[1]).ends_with("  \x1b[31mrefused\x1b[0m"));
        assert!(!layout.header().contains('\x1b'));
    }

    #[test]
    fn the_document_has_every_field() {
        let reports = reports();
        let document = serde_json::to_value(document(&reports, 64)).unwrap();
        assert_eq!((&document["schema"], &document["exit_status"]), (&1.into(), &6.into()));
        assert_eq!(document["message_size"], 64);
        let echoed = &document["results"][0];
        assert_eq!(
            *echoed,
            serde_json::json!({
                "address": "tcp:127.0.0.1:3000", "verdict": "echoed", "exit_status": 0,
                "messages_echoed": 4, "connect_ns": 45_000, "first_reply_ns": 1_200_000,
                "round_trip_min_ns": 40_000, "round_trip_median_ns": 48_000,
                "round_trip_max_ns": 1_250_000, "message": null, "remedy": null,
            })
        );
        let refused = &document["results"][1];
        assert_eq!(refused["message"], "connect to udp:[::1]:3000: Connection refused");
        assert_eq!(refused["connect_ns"], serde_json::Value::Null);
        assert!(refused["remedy"].as_str().unwrap().contains("echo@demo.socket"));
        assert_eq!(document["results"][2]["message"], "no loopback");
    }

    #[test]
    fn the_first_failure_gives_the_exit_status() {
        let [echoed, refused, skipped] = <[Report; 3]>::try_from(reports()).unwrap();
        assert_eq!(exit_status(&[]), 0);
        assert_eq!(exit_status(&[echoed, skipped]), 0);
        let address = "unix:/s".parse().unwrap();
        let wrong = Failure::new(Symptom::WrongBytes, &address, "x");
        let wrong = Report::new(&address, Measured::default(), Verdict::Failed(wrong));
        assert_eq!(exit_status(&[wrong, refused]), 8);
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
