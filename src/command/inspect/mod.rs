//! `inspect`: explains what was handed over, and how it differs from what was expected.
//!
//! It only reads: it accepts and receives nothing, and changes no flag that other holders of the
//! sockets share.

mod descriptors;
mod environment;
mod messages;
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
pub(super) use descriptors::protocol;
pub(super) use surroundings::container;

use report::{Report, SCHEMA, Serve};

pub(super) fn run(args: &InspectArgs) -> Outcome {
    let mut report = look();
    if args.notify {
        report.notify = Some(messages::send()?);
    }
    let text = if args.json {
        let document = serde_json::to_string_pretty(&report).map_err(std::io::Error::from);
        text::escape_json(&document.context("write JSON")?) + "\n"
    } else {
        table::render(&report)
    };
    match std::io::stdout().write_all(text.as_bytes()) {
        // A reader that closes the pipe needs no more output.
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(error).context("write to standard output")
        }
        _ => Ok(report.serve.exit_status),
    }
}

fn look() -> Report {
    let environment = Environment::of_this_process();
    // Before anything is taken, so that the numbers are those of the start.
    let open = open::list(&environment);
    let inherited = Inherited::take();
    let activator = surroundings::activator(&environment, inherited.as_ref().ok());
    let is_standard_input = inherited.as_ref().is_ok_and(Inherited::is_standard_input);
    let variables = environment::explain(&environment, &open, is_standard_input);
    let (error, fds) = match inherited {
        Ok(Inherited { fds }) => {
            let rows: Vec<_> = fds.iter().map(descriptors::describe).collect();
            let refused = fds.iter().zip(&rows).find(|(_, row)| !row.serve);
            (refused.map(|(fd, _)| fd.refusal()), rows)
        }
        Err(error) => (Some(error), Vec::new()),
    };
    let serve = Serve {
        exit_status: error.as_ref().map_or(0, |error| error.kind().exit_status()),
        error: error.as_ref().map(Error::to_string),
    };
    Report {
        schema: SCHEMA,
        serve,
        fds,
        open,
        environment: variables,
        activator,
        confinement: surroundings::confinement(),
        notify: None,
    }
}
