//! `bench`: a load generator that runs on one core and says what it measured, and what it did not.
//!
//! One thread, one epoll instance, everything allocated before the first message: what is seen is
//! the server and the kernel. [`target`] connects, [`wait`] waits, one file for each kind of load
//! ([`pingpong`], [`bulk`], [`flood`], [`idle`]), [`meter`] holds the clock and the counts,
//! [`server`] sees the server's process, [`compare`] interleaves, [`report`] prints.

mod bulk;
mod cold;
mod compare;
mod flood;
mod idle;
mod meter;
mod pattern;
mod peer;
mod pingpong;
mod plot;
mod progress;
mod report;
mod server;
mod settings;
mod target;
mod train;
mod wait;

use super::Outcome;
use crate::cli::{BenchArgs, BenchMode};
use crate::error::{Context, Error, ErrorKind, Result};
use meter::Sample;
use progress::Progress;
use settings::{Load, Settings};
use target::Target;

/// Runs the verb. Who asked for a document gets one, whatever becomes of the run.
pub(super) fn run(args: &BenchArgs) -> Outcome {
    let outcome = measure(args);
    if let (true, Err(error)) = (args.json, &outcome) {
        // The status of the run stays what it is, also if nobody reads the document.
        let _ = report::print_error(error);
    }
    outcome
}

fn measure(args: &BenchArgs) -> Outcome {
    if args.mode == BenchMode::Cold {
        return cold::run(args);
    }
    let settings = Settings::from_args(args)?;
    let targets = Target::parse_all(&args.targets)?;
    settings.check(&targets)?;
    if let Some(cpu) = args.cpu {
        pin(cpu)?;
    }
    raise_descriptor_limit();
    let mut progress = Progress::new(settings.seconds_of_all(targets.len()), args.json);
    let results = compare::interleave(&targets, &settings, &mut progress)?;
    progress.finish();
    // The plot first: after the report, an error would be a second document.
    if let Some(path) = &args.plot {
        let svg = plot::latency(&results, &report::conditions(&settings));
        std::fs::write(path, svg).context(format!("write the plot to {}", path.display()))?;
    }
    report::print(&results, &settings, args.json)?;
    Ok(report::status(&results))
}

/// One round against one server.
fn round(target: &Target, settings: &Settings, progress: &mut Progress) -> Result<Sample> {
    match settings.load {
        Load::PingPong => pingpong::run(target, settings, progress),
        Load::Bulk => bulk::run(target, settings, progress),
        Load::Flood => flood::run(target, settings, progress),
        Load::Idle => idle::run(target, settings, progress),
    }
}

fn pin(cpu: usize) -> Result<()> {
    let mut set = rustix::thread::CpuSet::new();
    if cpu >= rustix::thread::CpuSet::MAX_CPU {
        return Err(Error::new(ErrorKind::Usage, format!("--cpu {cpu} is no CPU")));
    }
    set.set(cpu);
    rustix::thread::sched_setaffinity(None, &set).map_err(|error| {
        Error::new(ErrorKind::Usage, format!("pin this process to CPU {cpu}"))
            .because(error)
            .remedy("choose a CPU that `taskset -p $$` lists")
    })
}

/// Thousands of connections need as many descriptors; the hard limit is what we may have.
fn raise_descriptor_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
}
