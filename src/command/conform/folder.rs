//! The temporary folder.

use std::io;
use std::path::{Path, PathBuf};

use rustix::process::{Signal, getpid, kill_process};
use tempfile::TempDir;

use crate::sys;

/// For socket files and output. It is removed when it is dropped, and at SIGTERM or SIGINT.
pub(super) struct Folder {
    used: PathBuf,
    _whole: TempDir,
}

impl Folder {
    pub(super) fn new() -> io::Result<Self> {
        const SIGNALS: [libc::c_int; 2] = [libc::SIGTERM, libc::SIGINT];
        sys::signal::block(&SIGNALS)?;
        let whole = tempfile::Builder::new().prefix("socket-activate-echo-").tempdir()?;
        let used = whole.path().join("used");
        std::fs::create_dir(&used)?;
        let path = whole.path().to_owned();
        std::thread::Builder::new().spawn(move || {
            let signal = sys::signal::wait_for(&SIGNALS)?;
            // The other thread goes on. By the path that it knows, it makes no file any more.
            let _ = std::fs::rename(path.join("used"), path.join("ended"));
            let _ = std::fs::remove_dir_all(path);
            // What was started gets SIGTERM from the kernel.
            sys::handover::default_action(signal)?;
            sys::signal::unblock_all()?;
            let signal = Signal::from_named_raw(signal).expect("it is one of those above");
            kill_process(getpid(), signal).map_err(io::Error::from)
        })?;
        Ok(Self { used, _whole: whole })
    }

    pub(super) fn path(&self) -> &Path {
        &self.used
    }
}
