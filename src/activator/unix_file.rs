//! The file of a unix socket: bind(2) creates it, and the kernel never removes it.
//!
//! At any time, another file can appear at a path. So a file is identified by its device and inode
//! numbers. No system call removes a file only if it is the expected one: the file is renamed to a
//! name that nobody else knows, checked, and then removed.

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

/// The file of a socket that this process bound. Dropping this removes the file unless it is kept,
/// so that a failed start leaves no file.
#[derive(Debug, Default)]
pub(super) struct SocketFile(Option<(PathBuf, FileId)>);

impl SocketFile {
    /// The file that bind(2) has just created at `path`.
    pub(super) fn bound(path: &Path) -> Self {
        let file = std::fs::symlink_metadata(path).ok();
        Self(file.map(|file| (path.to_owned(), (file.dev(), file.ino()))))
    }

    /// Leaves the file in place, for the program that gets the socket.
    pub(super) fn keep(&mut self) {
        self.0 = None;
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if let Some((path, file)) = self.0.take() {
            // The start has already failed, and that error will be reported.
            let _ = remove(&path, file);
        }
    }
}

/// Removes the socket file at `path` if no process has its socket open any more. Returns whether
/// the path is free now.
///
/// # Errors
///
/// Those of rename(2) and unlink(2).
pub(super) fn remove_stale(path: &Path) -> io::Result<bool> {
    // The open descriptor keeps the inode number from being reused.
    let Some(stale) = stale(path) else { return Ok(false) };
    let file = stale.metadata()?;
    remove(path, (file.dev(), file.ino()))
}

/// The file at `path` if it is a socket that no process has open any more. It stays stale, because
/// bind(2) always makes a new file.
///
/// connect(2) from a datagram socket tells, without disturbing a server. The kernel looks up the
/// file before it compares types: any live socket of another type gives `EPROTOTYPE`, and a live
/// datagram socket notices nothing. Only `ECONNREFUSED` says that no process has the socket. A
/// stream socket would not do: its connection activates a listener, and a socket that is bound but
/// does not listen yet would look stale.
fn stale(path: &Path) -> Option<File> {
    let flags = libc::O_PATH | libc::O_NOFOLLOW;
    let file = File::options().read(true).custom_flags(flags).open(path).ok()?;
    let is_socket = file.metadata().is_ok_and(|file| file.file_type().is_socket());
    let socket = Socket::new(Domain::UNIX, Type::DGRAM, None).ok()?;
    // Through the descriptor, because the path may name another file by now.
    let this_file = SockAddr::unix(descriptor::path_in_proc(&file)).ok()?;
    let answer = socket.connect(&this_file).err().and_then(|error| error.raw_os_error());
    (is_socket && answer == Some(libc::ECONNREFUSED)).then_some(file)
}

/// Removes `file` if it is the one at `path`. Returns `false` if another file is there, and puts
/// that file back.
fn remove(path: &Path, file: FileId) -> io::Result<bool> {
    // Nobody can guess a name with 64 random bits.
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
        let _guard = crate::testing::without_other_processes();
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
        // A new file at the same path is another file.
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
