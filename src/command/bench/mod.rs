//! `bench`: a load generator that uses one core, and reports what it measured and what it did not.
//!
//! One thread, one epoll instance, and all memory allocated before the first message: the
//! measurement shows the server and the kernel. [`round`] connects and has the clock of [`meter`];
//! [`wait`] waits; each kind of load ([`pingpong`], [`bulk`], [`flood`], [`idle`]) has its own
//! steps in one file; [`server`] measures the server's process; [`compare`] interleaves; [`report`]
//! prints; [`plot`] draws, and [`picture`] writes the drawing; [`words`] has the text for both.

mod bulk;
mod cold;
mod compare;
mod flood;
mod idle;
mod messages;
mod meter;
mod picture;
mod pingpong;
mod plot;
mod progress;
mod report;
mod round;
mod server;
mod settings;
mod target;
mod train;
mod wait;
mod words;

use indicatif::ProgressBar;

use super::{Outcome, logging};
use crate::cli::{BenchArgs, BenchMode};
use crate::error::{Error, ErrorKind, Result};
use crate::sys::limit;
use meter::Sample;
use picture::Picture;
use round::Round;
use settings::{Load, Settings};
use target::Target;

/// The bytes to send: fixed, and few enough for the processor's cache. Each message begins one byte
/// after the previous one, and their first four bytes differ.
const SEED: u64 = 1;
const PERIOD: usize = 65_521;

/// Runs the verb. With `--json` it always prints a document, even after a failure.
pub(super) fn run(args: &BenchArgs) -> Outcome {
    let outcome = measure(args);
    if let (true, Err(error)) = (args.json, &outcome) {
        // The exit status does not change if the document cannot be printed.
        let _ = report::print_error(error);
    }
    outcome
}

fn measure(args: &BenchArgs) -> Outcome {
    settings::check_flags(args)?;
    report::check_output()?;
    if args.mode == BenchMode::Cold {
        return cold::run(args);
    }
    let settings = Settings::new(args);
    let targets = Target::parse_all(&args.targets)?;
    settings.check(&targets)?;
    let picture = args.plot.as_deref().map(Picture::at).transpose()?;
    if let Some(cpu) = args.cpu {
        pin(cpu)?;
    }
    limit::raise_descriptor_limit();
    round::reach(&targets, &settings)?;
    let progress = progress::bar(settings.seconds_of_all(targets.len()), args.json);
    let run = |target: &Target| one_round(target, &settings, &progress);
    let results = compare::interleave(&targets, &settings, &progress, run)?;
    progress.finish_and_clear();
    report::print(&results, &settings)?;
    // The results are printed even if the picture cannot be written.
    if let Some(picture) = picture {
        if let Err(error) = picture.write(&plot::latency(&results, &settings)) {
            logging::report(&error);
            return Ok(error.kind().exit_status());
        }
    }
    Ok(report::status(&results))
}

fn one_round(target: &Target, settings: &Settings<'_>, progress: &ProgressBar) -> Result<Sample> {
    let mut round = Round::open(target, settings, progress)?;
    match settings.load {
        Load::PingPong => pingpong::run(&mut round)?,
        Load::Bulk => bulk::run(&mut round)?,
        Load::Flood => flood::run(&mut round)?,
        Load::Idle => idle::run(&mut round)?,
    }
    Ok(round.meter.sample)
}

fn pin(cpu: usize) -> Result<()> {
    let mut set = rustix::thread::CpuSet::new();
    if cpu >= rustix::thread::CpuSet::MAX_CPU {
        return Err(Error::new(ErrorKind::Usage, format!("--cpu {cpu}: there is no such CPU")));
    }
    set.set(cpu);
    rustix::thread::sched_setaffinity(None, &set).map_err(|error| {
        Error::new(ErrorKind::Usage, format!("pin this process to CPU {cpu}"))
            .because(error)
            .remedy("choose a CPU that `taskset -cp $$` lists")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn four_bytes_tell_a_message_from_the_one_before_it() {
        let pattern = crate::client::Pattern::new(SEED, PERIOD, 8);
        for sequence in 0..=PERIOD as u64 {
            assert_ne!(pattern.at(sequence, 4), pattern.at(sequence + 1, 4), "{sequence}");
        }
        assert!((1..1000).all(|sequence| pattern.at(0, 8) != pattern.at(sequence, 8)));
    }
}
