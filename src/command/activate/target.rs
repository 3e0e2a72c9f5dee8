//! What to run: the command of the user, or this program's `serve`.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::fs::Access;

use crate::cli::ActivateArgs;
use crate::error::{Error, ErrorKind, Result};

/// A program that was found, with everything that it is run with but the sockets.
#[derive(Debug)]
pub(super) struct Target {
    program: PathBuf,
    arg0: OsString,
    arguments: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
    /// Whether the socket becomes standard input and output.
    pub(super) inetd: bool,
}

impl Target {
    /// Finds the program now, so that a mistake in its name is not kept for the first client.
    pub(super) fn new(args: &ActivateArgs) -> Result<Self> {
        let environment = environment(&args.setenv)?;
        let (program, arg0, arguments) = match args.command.split_first() {
            Some((command, arguments)) => {
                (find(command, &search_path(&environment))?, command.clone(), arguments.to_vec())
            }
            None => this_program(),
        };
        Ok(Self { program, arg0, arguments, environment, inetd: args.inetd })
    }

    /// The command without the activation environment of an earlier activator: it was not meant
    /// for it.
    pub(super) fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.arg0(&self.arg0).args(&self.arguments);
        for name in ["LISTEN_PID", "LISTEN_PIDFDID", "LISTEN_FDS", "LISTEN_FDNAMES"] {
            command.env_remove(name);
        }
        for (name, value) in &self.environment {
            command.env(name, value);
        }
        command
    }

    /// The error of an execve(2) that failed.
    pub(super) fn failed(&self, error: io::Error) -> Error {
        let remedy = match error.raw_os_error() {
            Some(libc::ENOENT) => {
                "the interpreter of its #! line, or its dynamic linker, is missing"
            }
            Some(libc::ENOEXEC) => "it is no program for this machine, nor a script with a #! line",
            Some(libc::E2BIG) => "shorten its arguments or the environment",
            _ => "check that it is an executable file on a file system without noexec",
        };
        Error::new(ErrorKind::Exec, format!("run {}", self.program.display()))
            .because(error)
            .remedy(remedy)
    }
}

fn environment(setenv: &[OsString]) -> Result<Vec<(OsString, OsString)>> {
    let mut environment = Vec::new();
    for entry in setenv {
        let bytes = entry.as_bytes();
        let (name, value) = match bytes.iter().position(|&byte| byte == b'=') {
            Some(at) => (&bytes[..at], Some(OsString::from_vec(bytes[at + 1..].to_vec()))),
            None => (bytes, std::env::var_os(entry)),
        };
        let message = match (name, value) {
            (b"", _) => "a variable needs a name",
            (_, None) => "there is no such variable to pass on",
            (name, Some(value)) => {
                environment.push((OsString::from_vec(name.to_vec()), value));
                continue;
            }
        };
        let message = format!("--setenv {}: {message}", entry.to_string_lossy());
        return Err(Error::new(ErrorKind::Usage, message).remedy("write NAME=VALUE"));
    }
    Ok(environment)
}

/// The PATH that the command will see.
fn search_path(environment: &[(OsString, OsString)]) -> OsString {
    /// What systemd and login(1) have for those who set none.
    const DEFAULT: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    let set = environment.iter().rev().find(|(name, _)| name == "PATH");
    set.map(|(_, path)| path.clone())
        .or_else(|| std::env::var_os("PATH"))
        .unwrap_or_else(|| DEFAULT.into())
}

fn find(command: &OsStr, search_path: &OsStr) -> Result<PathBuf> {
    let failed = |errno| {
        Error::new(ErrorKind::Exec, format!("run {}", command.to_string_lossy()))
            .because(io::Error::from_raw_os_error(errno))
    };
    if command.as_bytes().contains(&b'/') {
        return match executable(Path::new(command)) {
            Ok(()) => Ok(command.into()),
            Err(errno) => Err(failed(errno).remedy("give the path of an executable file")),
        };
    }
    let mut errno = libc::ENOENT;
    for directory in std::env::split_paths(search_path) {
        let path = directory.join(command);
        match executable(&path) {
            Ok(()) => return Ok(path),
            Err(libc::EACCES) => errno = libc::EACCES,
            Err(_) => {}
        }
    }
    Err(failed(errno).remedy("give its path, or one of the commands that are found through PATH"))
}

/// Whether the path can be executed: an errno if not.
fn executable(path: &Path) -> Result<(), i32> {
    rustix::fs::access(path, Access::EXEC_OK).map_err(rustix::io::Errno::raw_os_error)?;
    // A directory is executable too, in the sense that it can be searched.
    if path.is_dir() { Err(libc::EACCES) } else { Ok(()) }
}

/// This very file: under its path where it still has one, so that `ps` shows its name.
fn this_program() -> (PathBuf, OsString, Vec<OsString>) {
    let program = std::env::current_exe()
        .ok()
        .filter(|path| path.exists())
        .unwrap_or_else(|| "/proc/self/exe".into());
    let arg0 = std::env::args_os().next().unwrap_or_else(|| "socket-activate-echo".into());
    (program, arg0, vec!["serve".into()])
}
