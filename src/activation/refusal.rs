//! Why a daemon cannot use a descriptor, and what to change. It is not known who handed it over: a
//! unit, or `activate`, which a unit can also start. So a remedy for units says that it is for
//! units.

use super::kind::{Family, FileKind, Kind, Role, SocketKind};
use super::{InheritedFd, Origin};
use crate::error::{Error, ErrorKind};
use crate::text::Escaped;

impl InheritedFd {
    /// The error for a descriptor that a daemon cannot use: its number, its name, what it is, where
    /// it comes from and what to change.
    pub fn refusal(&self) -> Error {
        let (what, remedy) = match &self.kind {
            Kind::Closed => (
                "is not open".to_owned(),
                "something between the activator and this program closed it, or LISTEN_FDS is left \
                 over from a parent process: `unset LISTEN_FDS LISTEN_PID` clears it",
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
        FileKind::Fifo => {
            "in a unit, use ListenStream= instead of ListenFIFO=; elsewhere, leave no pipe on this \
             descriptor"
        }
        FileKind::MessageQueue => "in the unit, use ListenDatagram= instead of ListenMessageQueue=",
        FileKind::UsbFunction => "in the unit, use ListenStream= instead of ListenUSBFunction=",
        FileKind::CharacterDevice | FileKind::BlockDevice => {
            "in a unit, use ListenStream= instead of ListenSpecial= or OpenFile=; elsewhere, leave no \
             device on this descriptor"
        }
        FileKind::RegularFile => {
            "in a unit, remove OpenFile= or ListenSpecial=, or the descriptor that FDSTORE=1 stored; \
             elsewhere, leave no file open on this descriptor"
        }
        FileKind::Directory | FileKind::Other => {
            "in a unit, remove OpenFile= or the descriptor that FDSTORE=1 stored; elsewhere, find \
             which parent process left it open"
        }
    }
}

fn socket_remedy(socket: &SocketKind) -> &'static str {
    match (socket.family, socket.role) {
        (Family::Netlink, _) => {
            "in the unit, use ListenStream= or ListenDatagram= instead of ListenNetlink="
        }
        (family, Role::Unconnected) if family.is_known() && socket.r#type != socket2::Type::RAW => {
            "pass a socket that listens or is connected: listen(2) was not called on this one"
        }
        _ => {
            "pass a stream, datagram or seqpacket socket of unix, IP or vsock: with `activate \
             -l`, or in a unit with ListenStream=, ListenDatagram= or ListenSequentialPacket="
        }
    }
}

impl std::fmt::Display for InheritedFd {
    /// The form of a descriptor in every message: `fd 3 (echo.socket)`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.origin {
            Origin::ListenFds => {
                write!(f, "fd {} ({})", self.number, Escaped::new(&self.name))
            }
            Origin::StandardInput => write!(f, "fd 0 (standard input)"),
        }
    }
}
