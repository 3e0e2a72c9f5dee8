//! How the results are printed.

mod junit;
mod table;
mod tap;

use std::io::{IsTerminal, Result, Write, stderr, stdout};

use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use super::case::{Case, Verdict};
use super::finding::Finding;
use crate::cli::{ConformArgs, Format};
use crate::text;

/// The version of the JSON document. It changes when a field changes its meaning or is removed.
const SCHEMA: u32 = 1;

/// The document of `--format json`.
#[derive(Serialize)]
struct Document<'a> {
    schema: u32,
    version: &'static str,
    kernel: String,
    command: Vec<String>,
    cases: &'a [Finding],
}

/// A bar on standard error, if that is a terminal. A table on the same terminal shows the progress
/// by itself.
pub(super) fn progress(cases: usize, format: Format) -> ProgressBar {
    if !stderr().is_terminal() || (format == Format::Table && stdout().is_terminal()) {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{pos}/{len} {wide_bar} {msg:24}");
    let bar = ProgressBar::new(cases as u64);
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar
}

/// What precedes the first case.
pub(super) fn begin(out: &mut impl Write, format: Format, cases: &[Case<'_>]) -> Result<()> {
    match format {
        Format::Tap => tap::begin(out, cases.len()),
        Format::Table | Format::Junit | Format::Json => Ok(()),
    }
}

/// A case that has ended.
pub(super) fn row(
    out: &mut impl Write,
    format: Format,
    number: usize,
    finding: &Finding,
) -> Result<()> {
    match format {
        Format::Table => table::row(out, finding)?,
        Format::Tap => tap::row(out, number, finding)?,
        Format::Junit | Format::Json => {}
    }
    out.flush()
}

/// What follows the last case.
pub(super) fn end(out: &mut impl Write, args: &ConformArgs, findings: &[Finding]) -> Result<()> {
    match args.format {
        Format::Table => table::end(out, findings)?,
        Format::Junit => junit::write(out, &words(args), findings)?,
        Format::Json => {
            let document = Document {
                schema: SCHEMA,
                version: env!("CARGO_PKG_VERSION"),
                kernel: rustix::system::uname().release().to_string_lossy().into_owned(),
                command: words(args),
                cases: findings,
            };
            let document = serde_json::to_string_pretty(&document)?;
            writeln!(out, "{}", text::escape_json(&document))?;
        }
        Format::Tap => {}
    }
    out.flush()
}

/// What is checked: a command line, or the address of a multiplexer.
fn words(args: &ConformArgs) -> Vec<String> {
    if let Some(address) = &args.vsock_mux {
        return vec![address.to_string()];
    }
    args.command.iter().map(|word| word.to_string_lossy().into_owned()).collect()
}

fn count(findings: &[Finding], result: Verdict) -> usize {
    findings.iter().filter(|finding| finding.result == result).count()
}
