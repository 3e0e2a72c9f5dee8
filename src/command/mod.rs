//! The verbs: thin adapters between the command line, the terminal and the library.

#![expect(clippy::disallowed_methods, reason = "the program has the command line and the terminal")]

mod activate;
mod bench;
mod children;
mod confine;
mod conform;
mod generate;
mod info;
mod inspect;
mod keep;
mod logging;
mod manager;
mod probe;
mod serve;
mod words;

use std::process::ExitCode;

use clap::Parser;

use crate::cli::{self, Cli, ServeArgs, Verb};
use crate::error::{Error, ErrorKind, Result};

/// The exit status of a verb that ran to its end. A verb that has already reported a failure, for
/// example in a row of its table, returns the status of that failure.
pub type Outcome = Result<u8>;

/// The program: parses the command line, runs the verb, prints the error if there is one.
pub fn main() -> ExitCode {
    logging::look();
    match run() {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            logging::report(&error);
            ExitCode::from(error.kind().exit_status())
        }
    }
}

fn run() -> Outcome {
    // In most units, an activated server has no arguments. The first client waits, so this avoids
    // the setup of the parser.
    if std::env::args_os().len() <= 1 {
        return serve::run(&ServeArgs::default());
    }
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    if let Some(folder) = &cli.generate {
        return generate::run(folder);
    }
    match cli.verb {
        None => serve::run(&cli.serve),
        Some(Verb::Serve(args)) => serve::run(&args),
        Some(Verb::Activate(args)) => activate::run(&args),
        Some(Verb::Inspect(args)) => inspect::run(&args),
        Some(Verb::Conform(args)) => conform::run(&args),
        Some(Verb::Probe(args)) => probe::run(&args),
        Some(Verb::Bench(args)) => bench::run(&args),
    }
}

/// Help and version go to standard output; errors become one line.
fn usage(error: &clap::Error) -> Outcome {
    if !error.use_stderr() {
        // A reader that closes the pipe needs no more output.
        let _ = error.print();
        return Ok(0);
    }
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    let tip = cli::tip(error, &arguments);
    let text = error.render().to_string();
    let lines: Vec<_> = text
        .lines()
        .take_while(|line| !line.starts_with("Usage:"))
        .map(|line| line.trim().trim_start_matches("error: "))
        .filter(|line| !line.is_empty() && !line.starts_with("For more information"))
        // Our tip is about what was meant, clap's is about spelling.
        .filter(|line| tip.is_none() || !line.starts_with("tip: "))
        .collect();
    let remedy = tip.unwrap_or_else(|| "see --help".to_owned());
    Err(Error::new(ErrorKind::Usage, lines.join("; ")).remedy(remedy))
}
