//! Where log messages go: standard error, with the priority that the journal reads. Nowhere if
//! standard error is the very socket that is served, because a client would receive them.

use std::ffi::OsString;
use std::io::Write;
use std::sync::OnceLock;

use log::{Level, LevelFilter, Log, Metadata, Record};
use rustix::fs::{FileType, Stat};

use crate::activation::LISTEN_FDS_START;
use crate::error::Error;
use crate::text::Escaped;

/// What standard error is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sink {
    /// A terminal, a file, a pipe: lines for people.
    Plain,
    /// The journal, which reads the priorities of sd-daemon(3).
    Journal,
    /// A socket that clients are at the other end of.
    Client,
}

static SINK: OnceLock<Sink> = OnceLock::new();

/// Looks at what standard error is. Call it before anything takes, and could close, the inherited
/// descriptors.
pub(super) fn look() {
    if sink() == Sink::Client {
        // A panic would be told to the client, too.
        std::panic::set_hook(Box::new(|_| {}));
    }
}

/// Sends log messages to standard error; each receive and send too if `debug`.
pub(super) fn init(debug: bool) {
    // It fails if there is a logger already, which is then the one to log to.
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

/// One write for one line, so that lines of several processes do not mix. Nobody is left to tell
/// if it fails.
///
/// Whatever the message has in it, it is one line and the terminal shows it: this is the last
/// place that it comes through.
fn write_line(prefix: &str, message: &str) {
    let line = format!("{prefix}{}\n", Escaped::new(message));
    let _ = std::io::stderr().write_all(line.as_bytes());
}

fn sink() -> Sink {
    *SINK.get_or_init(find_sink)
}

/// systemd.exec(5) on `$JOURNAL_STREAM` says how to recognise the journal. The variable alone does
/// not tell, because children inherit it even if their output goes elsewhere.
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

/// Standard input and the descriptors that `LISTEN_FDS` announces, whether or not the rest of the
/// environment is right: where it is wrong, an error is about to be reported.
fn inherited(listen_fds: Option<OsString>) -> impl Iterator<Item = String> {
    /// More sockets than a socket unit has; it bounds the search for a count that is wrong.
    const COUNT_MAX: i32 = 4096;
    let count = listen_fds.and_then(|value| value.to_str()?.parse::<i32>().ok()).unwrap_or(0);
    let announced = LISTEN_FDS_START..LISTEN_FDS_START + count.clamp(0, COUNT_MAX);
    std::iter::once(0).chain(announced).filter_map(|number| {
        let stat = rustix::fs::stat(format!("/proc/self/fd/{number}")).ok()?;
        Some(file_id(&stat))
    })
}

/// The device and the inode number, as `$JOURNAL_STREAM` has them: what has the same is the same
/// file.
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
