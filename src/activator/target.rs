//! The program to run, and how it finds its sockets.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::fs::Access;

use super::bind::Bound;
use crate::error::{Error, ErrorKind, MORE_DESCRIPTORS, Result};

/// A program with its arguments and environment, without its sockets.
#[derive(Debug, Clone)]
pub struct Target {
    /// The file to execute.
    pub program: PathBuf,
    /// Its argument 0.
    pub arg0: OsString,
    /// Its other arguments.
    pub arguments: Vec<OsString>,
    /// Its variables that differ from those of this process; `None` removes one.
    pub environment: Vec<(OsString, Option<OsString>)>,
    /// How it finds its sockets.
    pub hand_over: HandOver,
}

/// How a program finds its sockets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HandOver {
    /// From descriptor 3 on, with `LISTEN_PID`, `LISTEN_FDS` and `LISTEN_FDNAMES`:
    /// sd_listen_fds(3).
    ListenFds,
    /// The same without `LISTEN_FDNAMES`, as before systemd 227.
    ListenFdsWithoutNames,
    /// The only socket is standard input and output, as with inetd.
    StandardInput,
}

impl Target {
    /// Finds the program of a command as a shell does, in the `PATH` that the program will have.
    /// The program gets its sockets as [`HandOver::ListenFds`].
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Exec`] if there is no such program, or it cannot be executed.
    pub fn find(
        command: &[impl AsRef<OsStr>],
        environment: Vec<(OsString, Option<OsString>)>,
    ) -> Result<Self> {
        let mut words = command.iter().map(|word| word.as_ref().to_owned());
        let arg0 = words.next().unwrap_or_default();
        Ok(Self {
            program: find(&arg0, &search_path(&environment))?,
            arg0,
            arguments: words.collect(),
            environment,
            hand_over: HandOver::ListenFds,
        })
    }

    /// The command with the variables for these sockets. `LISTEN_PID` is set later, by the process
    /// that executes it. Variables of an earlier activator were not meant for it and are removed.
    pub(super) fn command(&self, sockets: &[Bound]) -> Command {
        let mut command = Command::new(&self.program);
        command.arg0(&self.arg0).args(&self.arguments);
        for name in ["LISTEN_PID", "LISTEN_PIDFDID", "LISTEN_FDS", "LISTEN_FDNAMES"] {
            command.env_remove(name);
        }
        for (name, value) in &self.environment {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        if self.hand_over != HandOver::StandardInput {
            command.env("LISTEN_FDS", sockets.len().to_string());
        }
        if self.hand_over == HandOver::ListenFds {
            let names: Vec<_> = sockets.iter().map(Bound::name).collect();
            command.env("LISTEN_FDNAMES", names.join(":"));
        }
        command
    }

    /// The error of a failed execve(2), or of a failed step before it.
    pub(super) fn failed(&self, error: io::Error) -> Error {
        let remedy = match error.raw_os_error() {
            Some(libc::ENOENT) => {
                "install the interpreter of its #! line, or its dynamic linker: one of them is \
                 missing"
            }
            Some(libc::ENOEXEC) => "use a program for this machine, or a script with a #! line",
            Some(libc::EAGAIN) => {
                "raise the limit of processes: `ulimit -u` in a shell, TasksMax= in a unit"
            }
            Some(libc::ENOMEM) => "free some memory, or raise MemoryMax= of the unit",
            Some(libc::E2BIG) => "shorten its arguments or the environment",
            Some(libc::EMFILE | libc::ENFILE) => MORE_DESCRIPTORS,
            _ => "check that it is an executable file on a file system without noexec",
        };
        Error::new(ErrorKind::Exec, format!("run {}", self.program.display()))
            .because(error)
            .remedy(remedy)
    }
}

/// The `PATH` that the command will have.
fn search_path(environment: &[(OsString, Option<OsString>)]) -> OsString {
    /// The default of systemd and login(1).
    const DEFAULT: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    let set = environment.iter().rev().find(|(name, _)| name == "PATH");
    set.map_or_else(|| std::env::var_os("PATH"), |(_, path)| path.clone())
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
    Err(failed(errno).remedy("give its path, or a command that is in a directory of PATH"))
}

/// Checks that the path can be executed; an errno if not.
fn executable(path: &Path) -> Result<(), i32> {
    rustix::fs::access(path, Access::EXEC_OK).map_err(rustix::io::Errno::raw_os_error)?;
    // For a directory, the permission to execute means to search it.
    if path.is_dir() { Err(libc::EACCES) } else { Ok(()) }
}
