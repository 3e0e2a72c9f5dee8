//! The distribution of latencies as an SVG picture: one line for each server.
//!
//! Both axes are logarithmic. To the right are the rarest messages: each "nine" of the percentile
//! takes the same width, so the tail, where servers differ, is as wide as the middle.

use hdrhistogram::Histogram;

use super::compare::Rounds;
use super::settings::Settings;

const WIDTH: f64 = 820.0;
const HEIGHT: f64 = 480.0;
const LEFT: f64 = 80.0;
const RIGHT: f64 = WIDTH - 24.0;
const TOP: f64 = 48.0;
const BOTTOM: f64 = HEIGHT - 64.0;
/// Colours that people who see few colours tell apart (Okabe and Ito).
const COLOURS: [&str; 7] =
    ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000"];
/// The points of a line.
const STEPS: u32 = 400;

/// What the axes span.
struct Axes {
    /// Nines of the percentile at the right end.
    nines: f64,
    /// log10 of nanoseconds at the bottom and at the top.
    low: f64,
    high: f64,
}

/// The picture; without any latency it says so.
pub(super) fn latency(results: &[Rounds], settings: &Settings<'_>) -> String {
    let conditions = super::words::conditions(results, settings);
    let lines: Vec<_> = results
        .iter()
        .filter_map(|rounds| Some((rounds.target.name.as_str(), rounds.latencies()?)))
        .collect();
    let mut body = text((LEFT, 28.0), "start", &format!("Latency by percentile: {conditions}"));
    if let Some(axes) = Axes::of(&lines) {
        body += &axes.grid();
        let colours = || COLOURS.iter().cycle().zip(&lines);
        body.extend(colours().map(|(colour, (_, histogram))| axes.line(histogram, colour)));
        body.extend(colours().zip(0..).map(|((colour, (name, _)), at)| legend(at, name, colour)));
    } else {
        body += &text((WIDTH / 2.0, HEIGHT / 2.0), "middle", "no latencies were measured");
    }
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
         width=\"{WIDTH}\" height=\"{HEIGHT}\" font-family=\"sans-serif\" font-size=\"13\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n{body}</svg>\n"
    )
}

impl Axes {
    fn of(lines: &[(&str, Histogram<u64>)]) -> Option<Self> {
        let low = lines.iter().map(|(_, h)| h.min().max(1)).min()?;
        let high = lines.iter().map(|(_, h)| h.max()).max()?;
        let count = lines.iter().map(|(_, h)| h.len()).max()?;
        Some(Self {
            // Beyond one message in as many as there were, nothing is known.
            nines: (count as f64).log10().clamp(1.0, 6.0),
            low: (low as f64).log10() - 0.05,
            high: (high as f64).log10() + 0.05,
        })
    }

    fn x(&self, nines: f64) -> f64 {
        LEFT + nines / self.nines * (RIGHT - LEFT)
    }

    fn y(&self, nanoseconds: f64) -> f64 {
        BOTTOM - (nanoseconds.log10() - self.low) / (self.high - self.low) * (BOTTOM - TOP)
    }

    fn grid(&self) -> String {
        let mut svg = String::new();
        for label in ["0", "50", "90", "99", "99.9", "99.99", "99.999", "99.9999"] {
            let percentile: f64 = label.parse().unwrap_or(0.0);
            let nines = -(1.0 - percentile / 100.0).log10();
            if nines <= self.nines + 1e-6 {
                let x = self.x(nines);
                svg += &rule((x, TOP), (x, BOTTOM));
                svg += &text((x, BOTTOM + 20.0), "middle", &format!("{label}%"));
            }
        }
        for decade in 0..12 {
            for step in [1.0, 2.0, 5.0] {
                let value = step * 10_f64.powi(decade);
                if (self.low..self.high).contains(&value.log10()) {
                    let y = self.y(value);
                    svg += &rule((LEFT, y), (RIGHT, y));
                    svg += &text((LEFT - 8.0, y + 4.0), "end", &duration(value));
                }
            }
        }
        let middle = ((LEFT + RIGHT) / 2.0, HEIGHT - 16.0);
        svg + &text(middle, "middle", "percentile of messages")
    }

    fn line(&self, histogram: &Histogram<u64>, colour: &str) -> String {
        let end = (histogram.len() as f64).log10().clamp(0.0, self.nines);
        let point = |step| {
            let nines = end * f64::from(step) / f64::from(STEPS);
            let value = histogram.value_at_quantile(1.0 - 10_f64.powf(-nines)).max(1);
            format!("{:.1},{:.1}", self.x(nines), self.y(value as f64))
        };
        let points = (0..=STEPS).map(point).collect::<Vec<_>>().join(" ");
        format!(
            "<polyline fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\" points=\"{points}\"/>\n"
        )
    }
}

fn legend(at: u32, name: &str, colour: &str) -> String {
    let (x, y) = (LEFT + 14.0, TOP + 18.0 + 20.0 * f64::from(at));
    let (left, top, right) = (x - 6.0, y - 10.0, x + 24.0);
    // A line may pass behind the name.
    let width = 44.0 + 8.0 * name.chars().count() as f64;
    format!(
        r#"<rect x="{left}" y="{top}" width="{width}" height="20" fill="white" fill-opacity="0.8"/>
<line x1="{x}" y1="{y}" x2="{right}" y2="{y}" stroke="{colour}" stroke-width="3"/>
{}"#,
        text((x + 32.0, y + 4.0), "start", name)
    )
}

fn rule((x1, y1): (f64, f64), (x2, y2): (f64, f64)) -> String {
    format!(
        "<line x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\" stroke=\"#d8d8d8\"/>\n"
    )
}

fn text((x, y): (f64, f64), anchor: &str, content: &str) -> String {
    let content = content.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    format!(
        "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" fill=\"#222\">{content}</text>\n"
    )
}

fn duration(nanoseconds: f64) -> String {
    match nanoseconds {
        ns if ns >= 1e9 => format!("{} s", ns / 1e9),
        ns if ns >= 1e6 => format!("{} ms", ns / 1e6),
        ns if ns >= 1e3 => format!("{} µs", ns / 1e3),
        ns => format!("{ns} ns"),
    }
}
