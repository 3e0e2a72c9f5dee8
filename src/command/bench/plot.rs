//! The distribution of latencies as an SVG picture: one line for each server.
//!
//! Both axes are logarithmic. To the right are the rarest messages: each "nine" of the percentile
//! takes the same width, so the tail, where servers differ, is as wide as the middle.

use std::fmt::Write;

use hdrhistogram::Histogram;

use super::compare::Rounds;

const WIDTH: f64 = 820.0;
const HEIGHT: f64 = 480.0;
const LEFT: f64 = 80.0;
const RIGHT: f64 = 24.0;
const TOP: f64 = 48.0;
const BOTTOM: f64 = 64.0;
/// Colours that people who see few colours tell apart (Okabe and Ito).
const COLOURS: [&str; 7] =
    ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000"];

/// What the axes span.
struct Axes {
    /// Nines of the percentile at the right end.
    nines: f64,
    /// log10 of nanoseconds at the bottom and at the top.
    low: f64,
    high: f64,
}

/// The picture; without any latency it says so.
pub(super) fn latency(results: &[Rounds], conditions: &str) -> String {
    let lines: Vec<_> = results
        .iter()
        .filter_map(|rounds| Some((rounds.target.name.as_str(), rounds.latencies()?)))
        .collect();
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
         width=\"{WIDTH}\" height=\"{HEIGHT}\" font-family=\"sans-serif\" font-size=\"13\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
    );
    let title = format!("Latency by percentile: {conditions}");
    text(&mut svg, LEFT, 28.0, "start", &title);
    match Axes::of(&lines) {
        None => text(&mut svg, WIDTH / 2.0, HEIGHT / 2.0, "middle", "no latencies were measured"),
        Some(axes) => {
            axes.grid(&mut svg);
            let colours = || COLOURS.iter().cycle().zip(&lines);
            for (colour, (_, histogram)) in colours() {
                axes.line(&mut svg, histogram, colour);
            }
            for (at, (colour, (name, _))) in colours().enumerate() {
                legend(&mut svg, at, name, colour);
            }
        }
    }
    svg.push_str("</svg>\n");
    svg
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
        LEFT + nines / self.nines * (WIDTH - LEFT - RIGHT)
    }

    fn y(&self, nanoseconds: f64) -> f64 {
        let share = (nanoseconds.log10() - self.low) / (self.high - self.low);
        HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)
    }

    fn grid(&self, svg: &mut String) {
        let (bottom, right) = (HEIGHT - BOTTOM, WIDTH - RIGHT);
        for (label, percentile) in [
            ("0%", 0.0),
            ("50%", 50.0),
            ("90%", 90.0),
            ("99%", 99.0),
            ("99.9%", 99.9),
            ("99.99%", 99.99),
            ("99.999%", 99.999),
            ("99.9999%", 99.9999),
        ] {
            let nines = -(1.0 - percentile / 100.0_f64).log10();
            if nines <= self.nines + 1e-6 {
                let x = self.x(nines);
                rule(svg, x, TOP, x, bottom);
                text(svg, x, bottom + 20.0, "middle", label);
            }
        }
        for decade in 0..12 {
            for step in [1.0, 2.0, 5.0] {
                let value = step * 10_f64.powi(decade);
                if (self.low..self.high).contains(&value.log10()) {
                    let y = self.y(value);
                    rule(svg, LEFT, y, right, y);
                    text(svg, LEFT - 8.0, y + 4.0, "end", &duration(value));
                }
            }
        }
        text(svg, (LEFT + right) / 2.0, HEIGHT - 16.0, "middle", "percentile of messages");
    }

    fn line(&self, svg: &mut String, histogram: &Histogram<u64>, colour: &str) {
        let end = (histogram.len() as f64).log10().clamp(0.0, self.nines);
        let mut points = String::new();
        const STEPS: u32 = 400;
        for step in 0..=STEPS {
            let nines = end * f64::from(step) / f64::from(STEPS);
            let value = histogram.value_at_quantile(1.0 - 10_f64.powf(-nines)).max(1);
            let _ = write!(points, "{:.1},{:.1} ", self.x(nines), self.y(value as f64));
        }
        let _ = writeln!(
            svg,
            "<polyline fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\" points=\"{}\"/>",
            points.trim_end()
        );
    }
}

fn legend(svg: &mut String, at: usize, name: &str, colour: &str) {
    let y = TOP + 18.0 + 20.0 * at as f64;
    let x = LEFT + 14.0;
    // A line may pass behind the name.
    let width = 44.0 + 8.0 * name.chars().count() as f64;
    let _ = writeln!(
        svg,
        "<rect x=\"{}\" y=\"{}\" width=\"{width}\" height=\"20\" fill=\"white\" \
         fill-opacity=\"0.8\"/>",
        x - 6.0,
        y - 10.0
    );
    let _ = writeln!(
        svg,
        "<line x1=\"{x}\" y1=\"{y}\" x2=\"{}\" y2=\"{y}\" stroke=\"{colour}\" stroke-width=\"3\"/>",
        x + 24.0
    );
    text(svg, x + 32.0, y + 4.0, "start", name);
}

fn rule(svg: &mut String, x1: f64, y1: f64, x2: f64, y2: f64) {
    let _ = writeln!(
        svg,
        "<line x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\" stroke=\"#d8d8d8\"/>"
    );
}

fn text(svg: &mut String, x: f64, y: f64, anchor: &str, content: &str) {
    let content = content.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let _ = writeln!(
        svg,
        "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" fill=\"#222\">{content}</text>"
    );
}

fn duration(nanoseconds: f64) -> String {
    match nanoseconds {
        ns if ns >= 1e9 => format!("{} s", ns / 1e9),
        ns if ns >= 1e6 => format!("{} ms", ns / 1e6),
        ns if ns >= 1e3 => format!("{} µs", ns / 1e3),
        ns => format!("{ns} ns"),
    }
}
