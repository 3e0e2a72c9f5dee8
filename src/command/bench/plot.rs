//! The distribution of latencies as an SVG picture: one line for each server.
//!
//! Both axes are logarithmic, and the rarest messages are on the right: each "nine" of the
//! percentile has the same width. So the tail, where servers differ, is as wide as the middle.
//! Lines differ in colour, dashes and markers, so that they can be distinguished in black and white
//! too.

use std::fmt::Write as _;

use hdrhistogram::Histogram;

use super::compare::Rounds;
use super::settings::Settings;
use super::words::{conditions, outcome};

const WIDTH: f64 = 820.0;
const LEFT: f64 = 92.0;
const RIGHT: f64 = WIDTH - 36.0;
const TOP: f64 = 76.0;
const BOTTOM: f64 = 440.0;
/// The first line of the legend, below the titles of the axis.
const LEGEND: f64 = BOTTOM + 78.0;
const LEGEND_LINE: f64 = 22.0;
const LEGEND_COLUMNS: usize = 2;
/// The most columns of text, as [`columns`] counts them, in a line of the picture and in a name of
/// the legend.
const LINE_MAX: usize = 100;
const NAME_MAX: usize = 40;
/// Colours that colour-blind people can distinguish (Okabe and Ito).
const COLOURS: [&str; 7] =
    ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000"];
/// The lengths of these tables have no common divisor, so 210 lines differ.
const DASHES: [&str; 5] = ["", "9 4", "2 3", "12 3 2 3", "5 2"];
/// Drawn around a point, as the data of an SVG path.
const MARKERS: [&str; 6] = [
    "m-4,0a4,4 0 1,0 8,0a4,4 0 1,0 -8,0z",
    "m-3.5,-3.5h7v7h-7z",
    "m0,-4.5l4.5,8h-9z",
    "m0,-5l5,5l-5,5l-5,-5z",
    "m-4,-4l8,8m0,-8l-8,8",
    "m0,4.5l4.5,-8h-9z",
];
/// Where the text is, relative to its point.
const START: &str = "text-anchor=\"start\"";
const MIDDLE: &str = "text-anchor=\"middle\"";
const END: &str = "text-anchor=\"end\"";
/// The axis ends at one message in a million, or before.
const NINES_MAX: f64 = 6.0;
/// The number of markers of a line.
const MARKS: u32 = 5;
/// The number of points of a line.
const STEPS: u32 = 400;

/// The ranges of the axes.
struct Axes {
    /// The nines of the percentile at the right end.
    nines: f64,
    /// The nanoseconds at the bottom and at the top: two different [`ticks`].
    low: f64,
    high: f64,
}

/// The line of a server.
struct Line<'a> {
    name: &'a str,
    latencies: Histogram<u64>,
    at: usize,
}

/// The picture. Without any latency, it shows a note instead of lines.
pub(super) fn latency(results: &[Rounds], settings: &Settings<'_>) -> String {
    let known = results.iter().filter_map(|rounds| Some((rounds, rounds.latencies()?)));
    let lines: Vec<_> = known
        .enumerate()
        .map(|(at, (rounds, latencies))| Line { name: &rounds.target.name, latencies, at })
        .collect();
    let title = "Latency of replies, by percentile";
    let mut result = outcome(results, settings);
    if results.iter().any(|rounds| rounds.first_error().is_some() || rounds.sum(|s| s.wrong) > 0) {
        result += ": see the report";
    }
    let mut body = format!("<title>{title}</title>\n");
    body += &text((LEFT, 24.0), "font-size=\"17\"", title);
    for (y, line) in [(44.0, conditions(results, settings)), (62.0, result)] {
        body += &text((LEFT, y), START, &shortened(&line, LINE_MAX));
    }
    if let Some(axes) = Axes::of(&lines) {
        body += &axes.grid();
        body.extend(lines.iter().map(|line| axes.line(line)));
        body.extend(lines.iter().map(Line::legend));
    } else {
        body += &text((WIDTH / 2.0, BOTTOM / 2.0), MIDDLE, "no latencies were measured");
    }
    let height = LEGEND + LEGEND_LINE * lines.len().div_ceil(LEGEND_COLUMNS) as f64;
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" \
         width=\"{WIDTH}\" height=\"{height}\" font-family=\"sans-serif\" font-size=\"13\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n{body}</svg>\n"
    )
}

impl Axes {
    fn of(lines: &[Line<'_>]) -> Option<Self> {
        let nines = lines.iter().map(Line::nines).reduce(f64::max)?;
        let min = lines.iter().map(|line| line.latency_at(0.0)).reduce(f64::min)?;
        let max = lines.iter().map(|line| line.latency_at(line.nines())).reduce(f64::max)?;
        let low = ticks().filter(|tick| *tick <= min).last().unwrap_or(1.0);
        let high = ticks().find(|tick| *tick >= max && *tick > low)?;
        Some(Self { nines: nines.max(1.0), low, high })
    }

    fn x(&self, nines: f64) -> f64 {
        LEFT + nines / self.nines * (RIGHT - LEFT)
    }

    fn y(&self, nanoseconds: f64) -> f64 {
        let share = (nanoseconds / self.low).log10() / (self.high / self.low).log10();
        BOTTOM - share * (BOTTOM - TOP)
    }

    fn grid(&self) -> String {
        let mut svg = String::new();
        for label in ["0", "50", "90", "99", "99.9", "99.99", "99.999", "99.9999"] {
            let percentile: f64 = label.parse().unwrap_or(0.0);
            let nines = -(1.0 - percentile / 100.0).log10();
            if nines <= self.nines + 1e-6 {
                let x = self.x(nines);
                svg += &rule((x, TOP), (x, BOTTOM));
                svg += &text((x, BOTTOM + 20.0), MIDDLE, &format!("{label}%"));
            }
        }
        // With a larger range, labels would overlap.
        let only_decades = self.high / self.low > 1e6;
        let is_decade = |tick: f64| tick.log10().fract().abs() < 1e-6;
        for tick in ticks().filter(|tick| (self.low..=self.high).contains(tick)) {
            if !only_decades || is_decade(tick) {
                let y = self.y(tick);
                svg += &rule((LEFT, y), (RIGHT, y));
                svg += &text((LEFT - 8.0, y + 4.0), END, &duration(tick));
            }
        }
        let middle = (LEFT + RIGHT) / 2.0;
        let percentile =
            "percentile: share of messages with this latency or less (logarithmic towards 100%)";
        svg += &text((middle, BOTTOM + 46.0), MIDDLE, percentile);
        let (x, y) = (20.0, (TOP + BOTTOM) / 2.0);
        let turned = format!("{MIDDLE} transform=\"rotate(-90 {x} {y})\"");
        svg + &text((x, y), &turned, "latency (logarithmic); lower is better")
    }

    fn line(&self, line: &Line<'_>) -> String {
        let end = line.nines();
        let point = |nines: f64| (self.x(nines), self.y(line.latency_at(nines)));
        let mut points = String::new();
        for step in 0..=STEPS {
            let (x, y) = point(end * f64::from(step) / f64::from(STEPS));
            let _ = write!(points, "{x:.1},{y:.1} ");
        }
        let points = points.trim_end();
        let pen = line.pen();
        let mut svg = format!("<polyline fill=\"none\" {pen} points=\"{points}\"/>\n");
        // The markers of lines that overlap are at different places.
        let phase = (line.at as f64 * 0.618 + 0.5).fract();
        for mark in 0..MARKS {
            svg += &line.marker(point(end * (f64::from(mark) + phase) / f64::from(MARKS)));
        }
        svg
    }
}

impl Line<'_> {
    /// The right end of the line. With N messages, nothing is known beyond one in N.
    fn nines(&self) -> f64 {
        (self.latencies.len() as f64).log10().clamp(0.0, NINES_MAX)
    }

    /// The latency in nanoseconds.
    fn latency_at(&self, nines: f64) -> f64 {
        // Half a message is added, so that the first one is the fastest and the last one the
        // slowest.
        let half = 0.5 / self.latencies.len() as f64;
        let quantile = (1.0 - 10_f64.powf(-nines) + half).min(1.0);
        self.latencies.value_at_quantile(quantile).max(1) as f64
    }

    fn colour(&self) -> &'static str {
        COLOURS[self.at % COLOURS.len()]
    }

    fn pen(&self) -> String {
        let (colour, dashes) = (self.colour(), DASHES[self.at % DASHES.len()]);
        format!("stroke=\"{colour}\" stroke-width=\"2\" stroke-dasharray=\"{dashes}\"")
            .replace(" stroke-dasharray=\"\"", "")
    }

    fn marker(&self, (x, y): (f64, f64)) -> String {
        let (colour, shape) = (self.colour(), MARKERS[self.at % MARKERS.len()]);
        format!(
            "<path d=\"M{x:.1},{y:.1}{shape}\" fill=\"white\" stroke=\"{colour}\" \
             stroke-width=\"1.5\"/>\n"
        )
    }

    fn legend(&self) -> String {
        let (column, row) = (self.at % LEGEND_COLUMNS, self.at / LEGEND_COLUMNS);
        let width = (WIDTH - LEFT) / LEGEND_COLUMNS as f64;
        let (x, y) = (LEFT + column as f64 * width, LEGEND + LEGEND_LINE * (row as f64 - 0.5));
        let middle = LEGEND_LINE / 2.0;
        // An inner picture clips its content, whatever the name contains.
        format!(
            "<svg x=\"{x:.1}\" y=\"{y}\" width=\"{width:.1}\" height=\"{LEGEND_LINE}\">\n\
             <line x1=\"0\" y1=\"{middle}\" x2=\"40\" y2=\"{middle}\" {}/>\n{}{}</svg>\n",
            self.pen(),
            self.marker((20.0, middle)),
            text((48.0, middle + 4.0), START, &shortened(self.name, NAME_MAX))
        )
    }
}

/// 1, 2 and 5 of each decade of nanoseconds, beyond the longest recorded latency.
fn ticks() -> impl Iterator<Item = f64> {
    (0..13).flat_map(|decade| [1.0, 2.0, 5.0].map(|step| step * 10_f64.powi(decade)))
}

fn rule((x1, y1): (f64, f64), (x2, y2): (f64, f64)) -> String {
    format!(
        "<line x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\" stroke=\"#d8d8d8\"/>\n"
    )
}

/// Text at a point, with these attributes.
fn text((x, y): (f64, f64), attributes: &str, content: &str) -> String {
    let mut escaped = String::with_capacity(content.len());
    for char in content.chars() {
        match char {
            '&' => escaped += "&amp;",
            '<' => escaped += "&lt;",
            '>' => escaped += "&gt;",
            // XML does not allow these, not even as references. Other characters that it does not
            // allow were escaped when the name was read.
            '\u{fffe}' | '\u{ffff}' => escaped.push(char::REPLACEMENT_CHARACTER),
            char => escaped.push(char),
        }
    }
    format!("<text x=\"{x:.1}\" y=\"{y:.1}\" {attributes} fill=\"#222\">{escaped}</text>\n")
}

/// The text; if it has more than `most` columns, its start and its end.
fn shortened(text: &str, most: usize) -> String {
    if text.chars().map(columns).sum::<usize>() <= most {
        return text.to_owned();
    }
    let half = (most - 1) / 2;
    let fitting = |chars: &mut dyn Iterator<Item = char>| {
        let mut left = half;
        let fits = |char: &char| {
            let rest = left.checked_sub(columns(*char));
            left = rest.unwrap_or(0);
            rest.is_some()
        };
        chars.take_while(fits).collect::<Vec<_>>()
    };
    let begin = fitting(&mut text.chars());
    let end = fitting(&mut text.chars().rev());
    begin.into_iter().chain(['…']).chain(end.into_iter().rev()).collect()
}

/// The largest width of a character: that of a wide Latin letter, or twice as much. Combining
/// characters count too, so that a name cannot have an unlimited number of them.
fn columns(char: char) -> usize {
    if char < '\u{1100}' { 1 } else { 2 }
}

fn duration(nanoseconds: f64) -> String {
    match nanoseconds {
        ns if ns >= 1e9 => format!("{} s", ns / 1e9),
        ns if ns >= 1e6 => format!("{} ms", ns / 1e6),
        ns if ns >= 1e3 => format!("{} µs", ns / 1e3),
        ns => format!("{ns} ns"),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::cli::BenchArgs;
    use crate::command::bench::meter::Sample;
    use crate::command::bench::target::Target;

    fn rounds(name: &str, latencies: impl IntoIterator<Item = u64>) -> Rounds {
        let address = "tcp:127.0.0.1:1".parse().unwrap();
        let mut sample = Sample::default();
        latencies.into_iter().for_each(|latency| sample.round_trip(latency, 64));
        Rounds { target: Target { name: name.to_owned(), address }, samples: vec![sample] }
    }

    fn draw(results: &[Rounds]) -> String {
        let args = BenchArgs { connections: 1, ..BenchArgs::default() };
        let svg = latency(results, &Settings::new(&args));
        if let Some(folder) = std::env::var_os("PLOT_FOLDER") {
            let name = format!("{}-{}.svg", results.len(), results[0].target.name.len());
            std::fs::write(std::path::Path::new(&folder).join(name), &svg).unwrap();
        }
        svg
    }

    /// `count` latencies around `middle`, the last ones far above it.
    fn tailed(middle: u64, count: u64) -> impl Iterator<Item = u64> {
        (1..=count).map(move |at| middle + middle * at / count + middle * 20 / (count - at + 1))
    }

    /// The coordinates of all elements that have the attribute.
    fn coordinates(svg: &str, attribute: &str) -> Vec<f64> {
        let before = format!(" {attribute}=\"");
        let parts = svg.split(&before).skip(1);
        parts.filter_map(|part| part.split('"').next()?.parse().ok()).collect()
    }

    #[test]
    fn any_number_of_lines_can_be_told_apart() {
        for count in [1, 2, 7, 9, 50] {
            let of = |at: u64| rounds(&format!("server {at}"), tailed(20_000 + 3000 * at, 5000));
            let svg = draw(&(0..count).map(of).collect::<Vec<_>>());
            assert_eq!(svg.matches("<polyline").count(), count as usize);
            let style = |line: &'_ str| {
                let pen = line.split(" points").next().unwrap().to_owned();
                let marker = line.split("<path d=\"M").nth(1).unwrap().split('"').next().unwrap();
                (pen, marker.split_once('m').unwrap().1.to_owned())
            };
            let styles: BTreeSet<_> = svg.split("<polyline").skip(1).map(style).collect();
            assert_eq!(styles.len(), count as usize);
            let height = coordinates(&svg, "height")[0];
            for y in coordinates(&svg, "y") {
                assert!((0.0..height).contains(&y), "{count}: {y} of {height}");
            }
        }
    }

    #[test]
    fn every_latency_is_within_the_axes() {
        for (name, latencies) in [
            ("one", vec![1]),
            ("same", vec![20_000; 1000]),
            ("tick", vec![10_000; 10]),
            ("zero", vec![0, 1, 1, 2]),
            ("longest", vec![600_000_000_000; 3]),
            ("beyond the longest", vec![u64::MAX; 3]),
            ("all of them, from end to end", vec![1, 10, 1000, 1_000_000, 600_000_000_000]),
            ("narrow", vec![20_100, 20_200, 20_300]),
        ] {
            let svg = draw(&[rounds(name, latencies)]);
            let points = svg.split("points=\"").nth(1).unwrap().split('"').next().unwrap();
            for point in points.split(' ') {
                let (x, y) = point.split_once(',').unwrap();
                let (x, y): (f64, f64) = (x.parse().unwrap(), y.parse().unwrap());
                assert!(
                    (LEFT..=RIGHT).contains(&x) && (TOP..=BOTTOM).contains(&y),
                    "{name}: {svg}"
                );
            }
            let labels = [" ns<", " µs<", " ms<", " s<"].map(|unit| svg.matches(unit).count());
            let labels: usize = labels.iter().sum();
            assert!((2..20).contains(&labels), "{name}: {labels} labels");
        }
    }

    #[test]
    fn a_line_goes_from_the_fastest_message_to_the_slowest() {
        for count in [1, 2, 3, 10, 999, 1000, 100_000] {
            let latencies = rounds("one", tailed(20_000, count)).latencies().unwrap();
            let (min, max) = (latencies.min() as f64, latencies.max() as f64);
            let line = Line { name: "one", latencies, at: 0 };
            let same = |latency: f64, exact: f64| (latency / exact - 1.0).abs() < 2e-3;
            assert!(same(line.latency_at(0.0), min), "{count}");
            assert!(same(line.latency_at(line.nines()), max), "{count}");
        }
    }

    #[test]
    fn names_are_text_and_short() {
        for (name, shown) in [
            ("a<b>&\"'", "a&lt;b&gt;&amp;\"'</text>"),
            ("</text><script>", "&lt;/text&gt;&lt;script&gt;</text>"),
            ("\u{fffe}\u{ffff}", "\u{fffd}\u{fffd}</text>"),
            (
                "unix:/run/user/1000/a-longer-name/echo.sock",
                "unix:/run/user/1000…nger-name/echo.sock</text>",
            ),
            ("名".repeat(21).as_str(), "名名名名名名名名名…名名名名名名名名名</text>"),
        ] {
            let svg = draw(&[rounds(name, [1000, 2000])]);
            assert!(svg.contains(shown), "{name}: {svg}");
        }
        let zalgo = format!("a{}", "\u{301}".repeat(10_000));
        assert!(draw(&[rounds(&zalgo, [1000, 2000])]).len() < 40_000);
    }

    #[test]
    fn the_picture_says_what_was_done_and_how_it_went() {
        let mut bad = rounds("bad", [1000, 2000]);
        bad.samples[0].errors = 3;
        bad.samples[0].wrong = 1;
        let svg = draw(&[rounds("good", [1000]), bad]);
        for words in [
            ">Latency of replies, by percentile<",
            ">ping-pong: 1 connection, messages of 64 B, 1 round of 0 s<",
            ">3 errors, 1 wrong reply: see the report<",
            ">latency (logarithmic); lower is better<",
            ">percentile: share of messages with this latency or less (logarithmic towards 100%)<",
        ] {
            assert!(svg.contains(words), "{words}: {svg}");
        }
        let svg = draw(&[rounds("good", [1000])]);
        assert!(svg.contains(">no errors; every reply was equal to its message<"), "{svg}");
        let svg = draw(&[rounds("silent", [])]);
        assert!(svg.contains(">no latencies were measured<"), "{svg}");
    }
}
