//! What denies a client the way to a unix socket: a directory, or the socket file itself.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use rustix::fs::{Access, AtFlags, CWD, accessat};

use crate::text::Escaped;

/// The first thing on the way to the socket at `path` whose mode denies it to this process, in
/// words. `None` if the modes allow it, so that something else does not: a security module.
pub(super) fn obstacle(path: &Path) -> Option<String> {
    let absolute = std::path::absolute(path).ok()?;
    let mut directories: Vec<_> = absolute.ancestors().skip(1).collect();
    directories.reverse();
    let steps = directories
        .into_iter()
        .map(|directory| (directory, Access::EXEC_OK, "search permission on directory"))
        .chain([(absolute.as_path(), Access::WRITE_OK, "write permission on socket")]);
    for (step, access, permission) in steps {
        // The effective ids count, as they do for connect(2).
        if accessat(CWD, step, access, AtFlags::EACCESS).is_ok() {
            continue;
        }
        let metadata = std::fs::symlink_metadata(step).ok()?;
        return Some(format!(
            "{permission} {} is denied to uid {} (mode {:04o}, owner {}:{})",
            Escaped::new(step),
            rustix::process::geteuid().as_raw(),
            metadata.permissions().mode() & 0o7777,
            metadata.uid(),
            metadata.gid(),
        ));
    }
    None
}
