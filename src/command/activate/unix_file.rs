//! What is at the path of a unix socket: bind(2) creates the file and nobody removes it for us.

use std::os::unix::fs::FileTypeExt;
use std::path::Path;

use socket2::{Domain, SockAddr, Socket, Type};

/// Whether the file is a socket that no process has any more, so that it may be replaced.
///
/// connect(2) tells, and without disturbing a server that is alive: a datagram socket looks the
/// file up before it compares types, so that every living socket of another type answers
/// `EPROTOTYPE`, and a datagram socket is connected to without a trace on its side. Only
/// `ECONNREFUSED` says that the file is left over. A stream socket would not do: a connection
/// activates what listens, and one that is bound but does not listen yet would look stale.
pub(super) fn is_stale(path: &Path) -> bool {
    let is_socket = std::fs::symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket());
    is_socket && answer(path) == Some(libc::ECONNREFUSED)
}

fn answer(path: &Path) -> Option<i32> {
    let socket = Socket::new(Domain::UNIX, Type::DGRAM, None).ok()?;
    let connected = socket.connect(&SockAddr::unix(path).ok()?);
    connected.err().and_then(|error| error.raw_os_error())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_socket_without_a_process_is_stale() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("s");
        assert!(!is_stale(&path), "no file");
        for r#type in [Type::STREAM, Type::DGRAM, Type::SEQPACKET] {
            let socket = Socket::new(Domain::UNIX, r#type, None).expect("a socket");
            socket.bind(&SockAddr::unix(&path).expect("an address")).expect("bind");
            assert!(!is_stale(&path), "bound: {type:?}");
            if r#type != Type::DGRAM {
                socket.listen(1).expect("listen");
                assert!(!is_stale(&path), "listening: {type:?}");
            }
            drop(socket);
            assert!(is_stale(&path), "left over: {type:?}");
            std::fs::remove_file(&path).expect("remove");
        }
        std::fs::write(&path, "").expect("write");
        assert!(!is_stale(&path), "a regular file");
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(&path, &link).expect("symlink");
        assert!(!is_stale(&link), "a symbolic link");
    }
}
