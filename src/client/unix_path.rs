//! Why a client cannot reach the path of a unix socket: which mode denies access, or what else is
//! there.

use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{Access, AtFlags, CWD, accessat};
use rustix::io::Errno;

use crate::text::Escaped;

/// The first file or directory on the way to the socket at `path` whose mode denies access to this
/// process, in words. `None` if all modes allow it: then for example a security module denies it.
pub(super) fn obstacle(path: &Path) -> Option<String> {
    let absolute = std::path::absolute(path).ok()?;
    let what = if not_a_socket(path).is_some() { "" } else { "socket " };
    let steps = directories(&absolute)
        .into_iter()
        .map(|directory| (directory, Access::EXEC_OK, "search permission on directory "))
        .chain([(absolute, Access::WRITE_OK, "write permission on ")]);
    for (step, access, permission) in steps {
        // As for connect(2), the effective ids count. Only EACCES is a denial: a sandbox that does
        // not know the system call may fail it with another error.
        if accessat(CWD, &step, access, AtFlags::EACCESS) != Err(Errno::ACCESS) {
            continue;
        }
        let metadata = std::fs::symlink_metadata(&step).ok()?;
        return Some(format!(
            "{permission}{}{} is denied to uid {} (mode {:04o}, owner {}:{})",
            if access == Access::WRITE_OK { what } else { "" },
            Escaped::new(&step),
            rustix::process::geteuid().as_raw(),
            metadata.permissions().mode() & 0o7777,
            metadata.uid(),
            metadata.gid(),
        ));
    }
    None
}

/// What is at `path` if it is not a socket, and what to do. `None` also if nothing is there, or
/// this process has no access.
pub(super) fn not_a_socket(path: &Path) -> Option<String> {
    let file = std::fs::metadata(path).or_else(|_| std::fs::symlink_metadata(path)).ok()?;
    // Nobody should remove a directory or /dev/null for a socket.
    let (what, is_removable) = match file.file_type() {
        file if file.is_socket() => return None,
        file if file.is_file() => ("a regular file", true),
        file if file.is_fifo() => ("a FIFO", true),
        file if file.is_symlink() => ("a symbolic link that leads to no file", true),
        file if file.is_dir() => ("a directory", false),
        _ => ("a device", false),
    };
    let remove = if is_removable { ", or remove it" } else { "" };
    Some(format!("{what} is there, not a socket: use another path{remove}"))
}

/// The first directory on the way to `path` that does not exist or is not a directory, in words.
pub(super) fn missing_directory(path: &Path) -> Option<String> {
    directories(&std::path::absolute(path).ok()?).iter().find_map(|directory| {
        let name = Escaped::new(directory);
        match std::fs::metadata(directory) {
            Ok(file) if !file.is_dir() => Some(format!("{name} is not a directory")),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Some(format!("the directory {name} does not exist"))
            }
            _ => None,
        }
    })
}

/// The directories that lead to an absolute path, from the root on.
fn directories(path: &Path) -> Vec<PathBuf> {
    let mut directories: Vec<_> = path.ancestors().skip(1).map(Path::to_owned).collect();
    directories.reverse();
    directories
}
