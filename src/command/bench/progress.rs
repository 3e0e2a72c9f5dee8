//! A progress bar on standard error, if that is a terminal.

use indicatif::{ProgressBar, ProgressStyle};

/// A bar for `seconds` of work, counted in milliseconds; none if the output is for a program.
pub(super) fn bar(seconds: f64, quiet: bool) -> ProgressBar {
    if quiet {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{msg:24} {bar:40} {percent:>3}% {eta} left");
    let bar = ProgressBar::new((seconds * 1000.0) as u64);
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar
}
