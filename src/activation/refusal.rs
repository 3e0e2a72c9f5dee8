//! Why a descriptor cannot be served, and which unit directive handed it over.

use super::kind::{Family, FileKind, Kind, Role, SocketKind};
use super::{InheritedFd, Origin};
use crate::error::{Error, ErrorKind};
use crate::text::Escaped;

impl InheritedFd {
    /// The error that refuses this descriptor: its number, its name, what it is, where it comes
    /// from and what to change.
    pub fn refusal(&self) -> Error {
        let (what, remedy) = match &self.kind {
            Kind::Closed => (
                "is not open".to_owned(),
                "something between the service manager and this program closed it, or LISTEN_FDS \
                 is stale: `unset LISTEN_FDS LISTEN_PID` clears it",
            ),
            Kind::File(file) => (format!("is a {file}, not a socket,"), file_remedy(*file)),
            Kind::Socket(socket) => {
                let article = if socket.role == Role::Unconnected { "an" } else { "a" };
                (format!("is {article} {}", self.kind), socket_remedy(socket))
            }
        };
        Error::new(ErrorKind::Descriptor, format!("{self} {what} and cannot be served"))
            .remedy(remedy)
    }
}

fn file_remedy(file: FileKind) -> &'static str {
    match file {
        FileKind::Fifo => "use ListenStream= instead of ListenFIFO=, or no pipe on this descriptor",
        FileKind::MessageQueue => "use ListenDatagram= instead of ListenMessageQueue=",
        FileKind::UsbFunction => "use ListenStream= instead of ListenUSBFunction=",
        FileKind::CharacterDevice | FileKind::BlockDevice => {
            "use ListenStream= instead of ListenSpecial= or OpenFile="
        }
        FileKind::RegularFile => {
            "remove OpenFile= or ListenSpecial= from the unit, or the descriptor that was stored \
             with FDSTORE=1"
        }
        FileKind::Directory | FileKind::Other => {
            "remove what put it there: OpenFile=, a stored descriptor, or a runtime that leaks \
             one of its own"
        }
    }
}

fn socket_remedy(socket: &SocketKind) -> &'static str {
    match (socket.family, socket.role) {
        (Family::Netlink, _) => "use ListenStream= or ListenDatagram= instead of ListenNetlink=",
        (family, Role::Unconnected) if family.is_known() && socket.r#type != socket2::Type::RAW => {
            "hand over a socket that listens or is connected: listen(2) was not called on it"
        }
        _ => "use ListenStream=, ListenDatagram= or ListenSequentialPacket= over unix, IP or vsock",
    }
}

impl std::fmt::Display for InheritedFd {
    /// `fd 3 (echo.socket)`, as every message names a descriptor.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.origin {
            Origin::ListenFds => {
                write!(f, "fd {} ({})", self.number, Escaped::new(&self.name))
            }
            Origin::StandardInput => write!(f, "fd 0 (standard input)"),
        }
    }
}
