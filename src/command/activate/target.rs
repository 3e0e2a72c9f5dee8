//! The program to run, from the command line.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use crate::activator::{HandOver, Target};
use crate::cli::ActivateArgs;
use crate::error::{Error, ErrorKind, Result};

/// Finds the program at once, so that a misspelt name is reported before the first client.
pub(super) fn of(args: &ActivateArgs) -> Result<Target> {
    let environment = environment(&args.setenv)?;
    let hand_over = if args.inetd { HandOver::StandardInput } else { HandOver::ListenFds };
    let target = match args.command.as_slice() {
        [] => this_program(environment),
        command => Target::find(command, environment)?,
    };
    Ok(Target { hand_over, ..target })
}

/// The file of this program, by its path if it still has one, so that `ps` shows its name.
fn this_program(environment: Vec<(OsString, Option<OsString>)>) -> Target {
    let program = std::env::current_exe().ok().filter(|path| path.exists());
    let arg0 = std::env::args_os().next();
    Target {
        program: program.unwrap_or_else(|| "/proc/self/exe".into()),
        arg0: arg0.unwrap_or_else(|| "socket-activate-echo".into()),
        arguments: vec!["serve".into()],
        environment,
        hand_over: HandOver::ListenFds,
    }
}

fn environment(setenv: &[OsString]) -> Result<Vec<(OsString, Option<OsString>)>> {
    let variable = |entry: &OsString| {
        let bytes = entry.as_bytes();
        let (name, value) = match bytes.iter().position(|&byte| byte == b'=') {
            Some(at) => (&bytes[..at], Some(OsString::from_vec(bytes[at + 1..].to_vec()))),
            None => (bytes, std::env::var_os(entry)),
        };
        let (message, remedy) = match (name, value) {
            (b"", _) => ("a variable needs a name", "write NAME=VALUE"),
            (_, None) => ("this variable is not set", "set it, or write NAME=VALUE"),
            (name, value) => return Ok((OsString::from_vec(name.to_vec()), value)),
        };
        let message = format!("--setenv {}: {message}", entry.to_string_lossy());
        Err(Error::new(ErrorKind::Usage, message).remedy(remedy))
    };
    setenv.iter().map(variable).collect()
}
