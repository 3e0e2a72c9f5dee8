//! The file of `--plot`. A run takes minutes, so the file is checked before the run. An old picture
//! stays until the new one is complete.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::error::{Error, ErrorKind, Result};

/// The only supported format.
const SUFFIX: &str = "svg";

/// A file that can be written or replaced.
pub(super) struct Picture {
    path: PathBuf,
    /// In the same directory, because rename(2) does not cross file systems. Its name has a fixed
    /// length, because the name of the picture may already be as long as the file system permits.
    draft: PathBuf,
}

impl Picture {
    /// Checks that `path` can be written, and changes nothing.
    pub(super) fn at(path: &Path) -> Result<Self> {
        if !path.extension().is_some_and(|suffix| suffix.eq_ignore_ascii_case(SUFFIX)) {
            let message = format!("--plot {}: the picture is an SVG file", path.display());
            return Err(Error::new(ErrorKind::Usage, message)
                .remedy("give a file name that ends with .svg"));
        }
        let draft = path.with_file_name(format!(".bench-{}.svg.tmp", std::process::id()));
        let picture = Self { path: path.to_owned(), draft };
        picture.check().map_err(|error| picture.not_written(error))?;
        Ok(picture)
    }

    fn check(&self) -> io::Result<()> {
        match fs::symlink_metadata(&self.path) {
            // A link may lead to a file that somebody else chose, and a FIFO would wait for a
            // reader.
            Ok(file) if !file.is_file() => return Err(io::Error::other("not a regular file")),
            // rename(2) replaces a file without permission to write to it.
            // By now it may be another one.
            Ok(_) => {
                let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
                drop(OpenOptions::new().write(true).custom_flags(flags).open(&self.path)?);
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        self.create().and_then(|_| fs::remove_file(&self.draft))
    }

    /// Never follows a link, and never overwrites a file.
    fn create(&self) -> io::Result<File> {
        File::create_new(&self.draft)
    }

    /// Writes the picture and puts it in place.
    pub(super) fn write(&self, svg: &str) -> Result<()> {
        let mut file = self.create().map_err(|error| self.not_written(error))?;
        let written = file.write_all(svg.as_bytes());
        written.and_then(|()| fs::rename(&self.draft, &self.path)).map_err(|error| {
            let _ = fs::remove_file(&self.draft);
            self.not_written(error)
        })
    }

    fn not_written(&self, error: io::Error) -> Error {
        let message = format!("write the picture to {}", self.path.display());
        Error::new(ErrorKind::Other, message)
            .because(error)
            .remedy("choose a file in a folder that exists and that you may write to")
    }
}
