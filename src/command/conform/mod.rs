//! `conform`: checks whether an engine, a service manager or a wrapper passes sockets on as
//! sd_listen_fds(3) and sd_notify(3) say.
//!
//! It takes the place of the service manager. For each case it starts the command, which ends in
//! this program, hands it sockets, and compares what arrives with what was handed over. With
//! `--vsock-mux` it is instead the client of a hypervisor's vsock multiplexer.

mod case;
mod cases;
mod clients;
mod engine;
mod expect;
mod finding;
mod folder;
mod format;
mod inspection;
mod manager;
mod mux;
mod processes;

use std::io::{self, Write};

use wildmatch::WildMatch;

use self::case::Case;
use self::engine::Engine;
use self::expect::Expected;
use self::finding::Finding;
use self::mux::Mux;
use super::{Outcome, logging};
use crate::cli::ConformArgs;
use crate::error::{Context, Error, ErrorKind, Result};

pub(super) fn run(args: &ConformArgs) -> Outcome {
    logging::init(false);
    let expected = match &args.expect {
        Some(file) => Expected::read(file)?,
        None => Expected::default(),
    };
    let engine = args.vsock_mux.is_none().then(|| Engine::new(args)).transpose()?;
    let mux = Mux::new(args)?;
    let of_engine = engine.iter().flat_map(cases::of_engine);
    let all: Vec<_> = of_engine.chain(mux.iter().flat_map(cases::of_mux)).collect();
    expected.check(&all)?;
    let cases = select(all, &args.cases)?;
    let result = if args.list { list(&cases) } else { report(args, &expected, &cases) };
    match result {
        // A reader that closes the pipe needs no more output.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(0),
        result => result.context("write to standard output"),
    }
}

/// The cases whose name matches one of the patterns; all of them without a pattern.
fn select<'a>(cases: Vec<Case<'a>>, patterns: &[String]) -> Result<Vec<Case<'a>>> {
    let patterns: Vec<_> = patterns.iter().map(|pattern| WildMatch::new(pattern)).collect();
    for pattern in &patterns {
        if !cases.iter().any(|case| pattern.matches(&case.name)) {
            return Err(Error::new(ErrorKind::Usage, format!("--case {pattern}: no such case"))
                .remedy("`conform --list` lists the cases"));
        }
    }
    let is_wanted = |case: &Case<'_>| {
        patterns.is_empty() || patterns.iter().any(|pattern| pattern.matches(&case.name))
    };
    Ok(cases.into_iter().filter(is_wanted).collect())
}

fn list(cases: &[Case<'_>]) -> io::Result<u8> {
    let mut out = io::stdout().lock();
    for Case { name, explanation, source, .. } in cases {
        writeln!(out, "{name}\n    {explanation}\n    {source}")?;
    }
    Ok(0)
}

/// Runs the cases, and returns the exit status: 0 if each result is the expected one.
fn report(args: &ConformArgs, expected: &Expected, cases: &[Case<'_>]) -> io::Result<u8> {
    let mut out = io::stdout().lock();
    let bar = format::progress(cases.len(), args.format);
    let mut findings = Vec::with_capacity(cases.len());
    format::begin(&mut out, args.format, cases)?;
    for case in cases {
        bar.set_message(case.name.clone());
        let finding = Finding::of(case, expected.of(&case.name));
        bar.suspend(|| format::row(&mut out, args.format, findings.len() + 1, &finding))?;
        findings.push(finding);
        bar.inc(1);
    }
    bar.finish_and_clear();
    format::end(&mut out, args, &findings)?;
    let is_as_expected = findings.iter().all(Finding::is_expected);
    Ok(if is_as_expected { 0 } else { ErrorKind::Other.exit_status() })
}
