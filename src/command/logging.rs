//! Where log messages go: standard error, with the priority that the journal reads. Nowhere if
//! standard error is the served socket, because a client would receive them.

use std::ffi::OsString;
use std::io::Write;
use std::sync::OnceLock;

use log::{Level, LevelFilter, Log, Metadata, Record};
use rustix::fs::{FileType, Stat};

use crate::activation::LISTEN_FDS_START;
use crate::error::Error;
use crate::sandbox;
use crate::text::Escaped;

/// The type of standard error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sink {
    /// A terminal, a file, a pipe: lines for people.
    Plain,
    /// The journal, which reads the priorities of sd-daemon(3).
    Journal,
    /// A socket whose peer is a client.
    Client,
}

static SINK: OnceLock<Sink> = OnceLock::new();

/// Finds out what standard error is. Call it before anything takes, and could close, the inherited
/// descriptors.
pub(super) fn look() {
    if sink() == Sink::Client {
        // A client would receive the message of a panic too.
        std::panic::set_hook(Box::new(|_| {}));
    }
}

/// Sends log messages to standard error. With `debug`, they include each receive and send.
pub(super) fn init(debug: bool) {
    // It fails if there is already a logger, which then gets the messages.
    if log::set_logger(&Stderr).is_ok() {
        log::set_max_level(if debug { LevelFilter::Debug } else { LevelFilter::Info });
    }
}

/// Reports the error that ends the program.
pub(super) fn report(error: &Error) {
    match sink() {
        Sink::Plain => write_line("socket-activate-echo: ", &error.to_string()),
        Sink::Journal => write_line("<3>", &error.to_string()),
        Sink::Client => {}
    }
}

/// Where the line about a forbidden system call goes.
pub(super) fn of_sandbox() -> sandbox::Log {
    match sink() {
        Sink::Plain => sandbox::Log::Plain,
        Sink::Journal => sandbox::Log::Journal,
        Sink::Client => sandbox::Log::Nowhere,
    }
}

struct Stderr;

impl Log for Stderr {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        sink() != Sink::Client
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            write_line(prefix(sink(), record.level()), &record.args().to_string());
        }
    }

    fn flush(&self) {}
}

fn prefix(sink: Sink, level: Level) -> &'static str {
    match (sink, level) {
        (Sink::Journal, Level::Error) => "<3>",
        (Sink::Journal, Level::Warn) => "<4>",
        (Sink::Journal, Level::Info) => "<6>",
        (Sink::Journal, _) => "<7>",
        (_, Level::Error) => "error: ",
        (_, Level::Warn) => "warning: ",
        (_, _) => "",
    }
}

/// One write for each line, so that lines of several processes do not mix. A failure cannot be
/// reported anywhere.
///
/// All messages pass here, so this escapes each one to a single printable line.
fn write_line(prefix: &str, message: &str) {
    let line = format!("{prefix}{}\n", Escaped::new(message));
    let _ = std::io::stderr().write_all(line.as_bytes());
}

fn sink() -> Sink {
    *SINK.get_or_init(find_sink)
}

/// systemd.exec(5) on `$JOURNAL_STREAM` says how to recognise the journal. The variable alone is
/// not enough, because children inherit it even if their output goes elsewhere.
fn find_sink() -> Sink {
    let Ok(stderr) = rustix::fs::fstat(rustix::stdio::stderr()) else { return Sink::Plain };
    if FileType::from_raw_mode(stderr.st_mode) != FileType::Socket {
        return Sink::Plain;
    }
    let stderr = file_id(&stderr);
    if std::env::var_os("JOURNAL_STREAM").is_some_and(|journal| journal == *stderr) {
        Sink::Journal
    } else if inherited(std::env::var_os("LISTEN_FDS")).any(|file| file == stderr) {
        Sink::Client
    } else {
        Sink::Plain
    }
}

/// Standard input and the descriptors that `LISTEN_FDS` announces, even if the rest of the
/// environment is wrong: the program is then about to report an error.
fn inherited(listen_fds: Option<OsString>) -> impl Iterator<Item = String> {
    /// More sockets than any socket unit has. It limits the search if the count is wrong.
    const COUNT_MAX: i32 = 4096;
    let count = listen_fds.and_then(|value| value.to_str()?.parse::<i32>().ok()).unwrap_or(0);
    let announced = LISTEN_FDS_START..LISTEN_FDS_START + count.clamp(0, COUNT_MAX);
    std::iter::once(0).chain(announced).filter_map(|number| {
        let stat = rustix::fs::stat(format!("/proc/self/fd/{number}")).ok()?;
        Some(file_id(&stat))
    })
}

/// The device and the inode number in the format of `$JOURNAL_STREAM`. They identify a file.
fn file_id(stat: &Stat) -> String {
    format!("{}:{}", stat.st_dev, stat.st_ino)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn priorities() {
        let levels = [Level::Error, Level::Warn, Level::Info, Level::Debug];
        assert_eq!(levels.map(|level| prefix(Sink::Journal, level)), ["<3>", "<4>", "<6>", "<7>"]);
        assert_eq!(
            levels.map(|level| prefix(Sink::Plain, level)),
            ["error: ", "warning: ", "", ""]
        );
    }

    #[test]
    fn a_wrong_count_does_not_search_for_ever() {
        for value in ["-1", "2147483647", "99999999999", "x"] {
            assert!(inherited(Some(value.into())).count() <= 4097, "{value}");
        }
    }
}
