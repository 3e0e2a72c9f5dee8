//! `inspect`: explains what was handed over, and where it differs from what should have been.
//!
//! It only looks: nothing is accepted or received, and no flag that the sockets' other owners share
//! is changed.

mod descriptors;
mod environment;
mod open;
mod options;
mod report;
mod surroundings;
mod table;

use std::io::Write;

use super::Outcome;
use crate::activation::{Environment, Inherited};
use crate::cli::InspectArgs;
use crate::error::{Context, Error};
use crate::text;
use report::{Report, SCHEMA, Serve};

pub(super) fn run(args: &InspectArgs) -> Outcome {
    let report = look();
    let text = if args.json {
        let document = serde_json::to_string_pretty(&report).map_err(std::io::Error::from);
        text::escape_json(&document.context("write JSON")?) + "\n"
    } else {
        table::render(&report)
    };
    match std::io::stdout().write_all(text.as_bytes()) {
        // A reader that closes the pipe has seen what it wanted to see.
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(error).context("write to standard output")
        }
        _ => Ok(report.serve.exit_status),
    }
}

fn look() -> Report {
    let environment = Environment::of_this_process();
    // Before anything is taken, so that the numbers are what they were at the start.
    let open = open::list(&environment);
    let inherited = Inherited::take();
    let activator = surroundings::activator(&environment, inherited.as_ref().ok());
    let variables = environment::explain(&environment, &open);
    let (serve, fds) = match inherited {
        Ok(inherited) => {
            let refused = inherited.fds.iter().find(|fd| fd.kind.service().is_none());
            let serve = serve(refused.map(|fd| fd.refusal()).as_ref());
            (serve, inherited.fds.iter().map(descriptors::describe).collect())
        }
        Err(error) => (serve(Some(&error)), Vec::new()),
    };
    Report {
        schema: SCHEMA,
        serve,
        fds,
        open,
        environment: variables,
        activator,
        confinement: surroundings::confinement(),
    }
}

fn serve(error: Option<&Error>) -> Serve {
    Serve {
        exit_status: error.map_or(0, |error| error.kind().exit_status()),
        error: error.map(Error::to_string),
    }
}
