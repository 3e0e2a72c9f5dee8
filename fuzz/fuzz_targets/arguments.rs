//! The command line: nothing panics, and each number that is taken is within its bounds. The input
//! is the arguments, one a line.
#![no_main]

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use clap::Parser;
use libfuzzer_sys::fuzz_target;
use socket_activate_echo::cli::{Cli, ServeArgs, Verb, Workers};

/// The largest message of `probe` and `bench`.
const SIZE_MAX: usize = 1 << 30;

fn check_serve(args: &ServeArgs) {
    assert_ne!(args.connections_max, Some(0));
    if let Workers::Number(number) = args.workers {
        assert!((1..=1024).contains(&number));
    }
}

fuzz_target!(|input: &[u8]| {
    let arguments = input.split(|&byte| byte == b'\n').map(OsStr::from_bytes);
    let program = OsStr::new("socket-activate-echo");
    let line: Vec<OsString> = std::iter::once(program).chain(arguments).map(Into::into).collect();
    let cli = match Cli::try_parse_from(line) {
        Ok(cli) => cli,
        Err(error) => {
            assert!(!error.render().to_string().trim().is_empty());
            return;
        }
    };
    match cli.verb {
        None => check_serve(&cli.serve),
        Some(Verb::Serve(args)) => check_serve(&args),
        Some(Verb::Activate(args)) => {
            assert!(args.connections_max > 0 && args.backlog > 0);
            assert!(!(args.accept && args.now));
        }
        Some(Verb::Probe(args)) => {
            assert!((1..=1_000_000).contains(&args.count) && args.size <= SIZE_MAX);
        }
        Some(Verb::Bench(args)) => {
            assert!(args.connections > 0 && args.size.is_none_or(|size| size <= SIZE_MAX));
            assert!(args.rate.is_none_or(|rate| rate > 0.0 && rate.is_finite()));
            assert!(args.rounds.is_none_or(|rounds| (1..=1_000_000).contains(&rounds)));
        }
        Some(Verb::Inspect(_)) => {}
        Some(Verb::Conform(args)) => assert!(!args.timeout.is_zero()),
    }
});
