//! `probe`: sends to echo servers, verifies the echo, and says what is wrong and what to do.

mod info;
mod interactive;
mod measure;
mod notice;
mod report;

use std::io::{self, IsTerminal, Write};

use super::{Outcome, logging};
use crate::address::{Address, demo_home, demo_set};
use crate::cli::ProbeArgs;
use crate::error::{Context, Error, ErrorKind, Result};
use crate::text;
use measure::{Origin, Task};
use report::Layout;

pub(super) fn run(args: &ProbeArgs) -> Outcome {
    if args.interactive {
        return interactive::run(args);
    }
    let (addresses, origin) = addresses(args)?;
    if args.info {
        return info::run(args, &addresses);
    }
    let &ProbeArgs { size, count, timeout, wait, .. } = args;
    let task = Task { size, count, timeout, wait };
    if origin == Origin::User {
        for address in &addresses {
            if let Some(reason) = task.nothing_to_send(address) {
                return Err(Error::new(
                    ErrorKind::Usage,
                    format!("--size 0 for {address}: {reason}"),
                )
                .remedy("give a --size of 1 or more"));
            }
        }
    }
    let result = if args.json {
        print_document(task, &addresses, origin)
    } else {
        print_rows(task, &addresses, origin)
    };
    match result {
        // A reader that closes the pipe needs no more output.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(0),
        result => result.context("write to standard output"),
    }
}

/// The addresses of the user, in the form for clients, or the demo set.
fn addresses(args: &ProbeArgs) -> Result<(Vec<Address>, Origin)> {
    if !args.addresses.is_empty() {
        return Ok((args.addresses.iter().map(Address::to_client).collect(), Origin::User));
    }
    let set = demo_set(&demo_home(std::env::var_os("HOME"))?);
    Ok((set.iter().map(|(address, _)| address.to_client()).collect(), Origin::DemoSet))
}

fn print_rows(task: Task, addresses: &[Address], origin: Origin) -> io::Result<u8> {
    let mut stdout = io::stdout();
    let colour = stdout.is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let layout = Layout::new(addresses, colour);
    writeln!(stdout, "{}", layout.header())?;
    let mut reports = Vec::with_capacity(addresses.len());
    for address in addresses {
        let report = task.run(address, origin);
        writeln!(stdout, "{}", layout.row(&report))?;
        stdout.flush()?;
        reports.push(report);
    }
    for line in report::failures(&reports) {
        logging::report(&Error::new(ErrorKind::Connect, line));
    }
    Ok(report::document(&reports, task.size).exit_status)
}

fn print_document(task: Task, addresses: &[Address], origin: Origin) -> io::Result<u8> {
    let reports: Vec<_> = addresses.iter().map(|address| task.run(address, origin)).collect();
    let document = report::document(&reports, task.size);
    let text = serde_json::to_string_pretty(&document)?;
    writeln!(io::stdout(), "{}", text::escape_json(&text))?;
    Ok(document.exit_status)
}
