//! The file of a unix socket: bind(2) creates it and nobody removes it for us.
//!
//! A path is not an identity: what is there may be another file at each look. So a file is recognized by
//! its device and inode numbers, and removed only after it was renamed to a name that nobody else
//! knows: no system call removes a file on the condition that it is still the one that was meant.

use std::fs::File;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags, renameat_with};
use socket2::{Domain, SockAddr, Socket, Type};

use crate::sys::descriptor;
use crate::text::Escaped;

/// The device and inode numbers of a file.
type FileId = (u64, u64);

/// The file of a socket that this process bound. It is removed when this goes out of scope, unless
/// it was kept, so that a start that fails leaves nothing behind.
#[derive(Debug, Default)]
pub(super) struct SocketFile(Option<(PathBuf, FileId)>);

impl SocketFile {
    /// What bind(2) has just created at `path`.
    pub(super) fn bound(path: &Path) -> Self {
        let file = std::fs::symlink_metadata(path).ok();
        Self(file.map(|file| (path.to_owned(), (file.dev(), file.ino()))))
    }

    /// Leaves the file where it is, for those that the socket was handed over to.
    pub(super) fn keep(&mut self) {
        self.0 = None;
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if let Some((path, file)) = self.0.take() {
            // The start has failed already, and that is what will be reported.
            let _ = remove(&path, file);
        }
    }
}

/// Removes the socket file at `path` if no process has its socket any more; whether the path is
/// free now.
///
/// # Errors
///
/// Those of rename(2) and unlink(2).
pub(super) fn remove_stale(path: &Path) -> io::Result<bool> {
    // The descriptor holds the file that is looked at, so that its number is not used again.
    let Some(stale) = stale(path) else { return Ok(false) };
    let file = stale.metadata()?;
    remove(path, (file.dev(), file.ino()))
}

/// The file at `path` if it is a socket that no process has any more. It stays one: bind(2) makes
/// a new file each time.
///
/// connect(2) tells, and without disturbing a server that is alive: a datagram socket looks the
/// file up before it compares types, so that every living socket of another type answers
/// `EPROTOTYPE`, and a datagram socket is connected to without a trace on its side. Only
/// `ECONNREFUSED` says that the file is left over. A stream socket would not do: a connection
/// activates what listens, and one that is bound but does not listen yet would look stale.
fn stale(path: &Path) -> Option<File> {
    let flags = libc::O_PATH | libc::O_NOFOLLOW;
    let file = File::options().read(true).custom_flags(flags).open(path).ok()?;
    let is_socket = file.metadata().is_ok_and(|file| file.file_type().is_socket());
    let socket = Socket::new(Domain::UNIX, Type::DGRAM, None).ok()?;
    // Through the descriptor, because the path may lead to another file by now.
    let this_file = SockAddr::unix(descriptor::path_in_proc(&file)).ok()?;
    let answer = socket.connect(&this_file).err().and_then(|error| error.raw_os_error());
    (is_socket && answer == Some(libc::ECONNREFUSED)).then_some(file)
}

/// Removes `file` if it is the one at `path`; `false` if another one is there. That one is put back,
/// if it came there in the meantime.
fn remove(path: &Path, file: FileId) -> io::Result<bool> {
    // With 64 random bits, nobody else has the name.
    let random = RandomState::new().build_hasher().finish();
    let taken = path.with_file_name(format!(".socket-activate-echo-{random:016x}"));
    match std::fs::rename(path, &taken) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(true),
        renamed => renamed?,
    }
    let found = std::fs::symlink_metadata(&taken)?;
    if (found.dev(), found.ino()) == file {
        std::fs::remove_file(&taken)?;
        return Ok(true);
    }
    renameat_with(CWD, &taken, CWD, path, RenameFlags::NOREPLACE).inspect_err(|_| {
        let taken = Escaped::new(&taken);
        log::warn!(
            "the socket file of another process is now called {taken}, and could not be renamed \
             back to {}",
            Escaped::new(path)
        );
    })?;
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_socket_without_a_process_is_stale() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("s");
        assert!(stale(&path).is_none(), "no file");
        for r#type in [Type::STREAM, Type::DGRAM, Type::SEQPACKET] {
            let socket = Socket::new(Domain::UNIX, r#type, None).expect("a socket");
            socket.bind(&SockAddr::unix(&path).expect("an address")).expect("bind");
            assert!(stale(&path).is_none(), "bound: {type:?}");
            if r#type != Type::DGRAM {
                socket.listen(1).expect("listen");
                assert!(stale(&path).is_none(), "listening: {type:?}");
            }
            assert!(!remove_stale(&path).expect("it looks"), "{type:?}");
            drop(socket);
            assert!(stale(&path).is_some(), "left over: {type:?}");
            assert!(remove_stale(&path).expect("remove"), "{type:?}");
            assert!(!path.exists());
        }
        std::fs::write(&path, "").expect("write");
        assert!(stale(&path).is_none(), "a regular file");
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(&path, &link).expect("symlink");
        assert!(stale(&link).is_none(), "a symbolic link");
    }

    #[test]
    fn only_the_file_that_was_meant_is_removed() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let (path, moved) = (dir.path().join("s"), dir.path().join("moved"));
        let names = || {
            let entries = std::fs::read_dir(dir.path()).expect("read").flatten();
            let mut names: Vec<_> = entries.map(|entry| entry.file_name()).collect();
            names.sort();
            names
        };
        let bind = || std::os::unix::net::UnixListener::bind(&path).expect("bind");
        // What came in its place is another file, although it has the same name.
        let _first = bind();
        let file = SocketFile::bound(&path);
        std::fs::rename(&path, &moved).expect("rename");
        let _second = bind();
        drop(file);
        assert_eq!(names(), ["moved", "s"]);
        // It is gone already.
        let file = SocketFile::bound(&moved);
        std::fs::remove_file(&moved).expect("remove");
        drop(file);
        assert_eq!(names(), ["s"]);
        let mut file = SocketFile::bound(&path);
        file.keep();
        drop(file);
        assert_eq!(names(), ["s"]);
        drop(SocketFile::bound(&path));
        assert!(names().is_empty());
    }
}
