//! Where log messages go: standard error, with the priority that the journal reads.

use std::io::Write;

use log::{Level, LevelFilter, Log, Metadata, Record};

struct Stderr {
    /// Whether standard error is the journal, which reads the prefixes of sd-daemon(3).
    journal: bool,
}

impl Log for Stderr {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= log::max_level()
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let prefix = match (self.journal, record.level()) {
            (true, Level::Error) => "<3>",
            (true, Level::Warn) => "<4>",
            (true, Level::Info) => "<6>",
            (true, Level::Debug | Level::Trace) => "<7>",
            (false, Level::Error) => "error: ",
            (false, Level::Warn) => "warning: ",
            (false, _) => "",
        };
        // One write for one line, so that lines of several processes do not mix.
        let line = format!("{prefix}{}\n", record.args());
        let _ = std::io::stderr().write_all(line.as_bytes());
    }

    fn flush(&self) {}
}

/// Sends log messages to standard error; each receive and send too if `debug`.
pub(super) fn init(debug: bool) {
    let level = if debug { LevelFilter::Debug } else { LevelFilter::Info };
    let journal = std::env::var_os("JOURNAL_STREAM").is_some();
    if log::set_boxed_logger(Box::new(Stderr { journal })).is_ok() {
        log::set_max_level(level);
    }
}
