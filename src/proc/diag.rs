//! Asks sock_diag(7) for the names and accept queues of unix sockets. netlink(7) has the format.

use std::ffi::OsString;
use std::io::ErrorKind;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::MetadataExt;

use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink};

use super::Socket;
use crate::address::{Style, UnixName};
#[cfg(feature = "cli")]
use crate::sys::option::AcceptQueue;

/// `SOCK_DIAG_BY_FAMILY` of linux/sock_diag.h.
const SOCK_DIAG_BY_FAMILY: u16 = 20;
/// `UDIAG_SHOW_NAME` and `UNIX_DIAG_NAME` of linux/unix_diag.h: a flag that asks for an attribute,
/// and the attribute.
const SHOW_NAME: u32 = 1;
const NAME: u16 = 0;
/// `UDIAG_SHOW_VFS` and `UNIX_DIAG_VFS`: the file of a path.
const SHOW_VFS: u32 = 2;
const VFS: u16 = 1;
/// `UDIAG_SHOW_RQLEN` and `UNIX_DIAG_RQLEN`: the lengths of the queues.
#[cfg(feature = "cli")]
const SHOW_RQLEN: u32 = 0x10;
#[cfg(feature = "cli")]
const RQLEN: u16 = 4;
/// `TCP_LISTEN` of net/tcp_states.h, which unix sockets use too.
const LISTENING: u8 = 10;
/// The sizes of a `nlmsghdr`, and of a `nlmsghdr` with the `unix_diag_msg` before the attributes.
const HEADER: usize = 16;
const HEADERS: usize = HEADER + 16;

/// A unix socket that has a name.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Named {
    name: UnixName,
    /// The file that it is bound to, if its name is a path.
    file: Option<FileId>,
    style: Style,
    socket: Socket,
}

/// The inode and device numbers of a file. In our mount namespace, its path may differ from the
/// name of the socket.
type FileId = (u32, u32);

/// The sockets of this network namespace that have one of the names, of any type, each with that
/// name. `None` if the kernel or a sandbox refuses sock_diag(7).
pub(super) fn sockets_of(names: &[UnixName]) -> Option<Vec<(&UnixName, Style, Socket)>> {
    let all = ask(None, SHOW_NAME | SHOW_VFS, named)?;
    let mut found = Vec::new();
    for name in names {
        let sockets = sockets_at(name, &all).into_iter();
        found.extend(sockets.map(|socket| (name, socket.style, socket.socket)));
    }
    Some(found)
}

/// A path leads to those of its file. Others keep the name that they were bound to when their file
/// is removed or replaced, or is one of another mount namespace. The name tells only where the
/// file's numbers do not: btrfs and overlayfs show another device than the kernel has.
fn sockets_at<'a>(name: &UnixName, all: &'a [Named]) -> Vec<&'a Named> {
    let file = match name {
        UnixName::Abstract(_) => None,
        UnixName::Path(path) => match std::fs::metadata(path) {
            Ok(file) => Some(file_id(&file)),
            Err(error) if error.kind() == ErrorKind::NotFound => return Vec::new(),
            Err(_) => None,
        },
    };
    let by_file: Vec<_> =
        all.iter().filter(|socket| file.is_some() && socket.file == file).collect();
    if !by_file.is_empty() {
        return by_file;
    }
    let device = |file: Option<FileId>| file.map(|(_, device)| device);
    let is_other = |socket: &Named| file.is_some() && device(socket.file) == device(file);
    all.iter().filter(|socket| socket.name == *name && !is_other(socket)).collect()
}

fn file_id(file: &std::fs::Metadata) -> FileId {
    // `MKDEV` of linux/kdev_t.h: 20 bits of the minor number, below the major number.
    let device = rustix::fs::major(file.dev()) << 20 | rustix::fs::minor(file.dev());
    (file.ino() as u32, device)
}

fn named(message: &[u8]) -> Option<Named> {
    let [_family, r#type, state, _padding] = *message.get(HEADER..)?.first_chunk()?;
    let inode = u32_at(message, HEADER + 4)?.into();
    let styles = [Style::Stream, Style::Datagram, Style::Seqpacket];
    let style = styles.into_iter().find(|style| style.socket_type() == i32::from(r#type).into())?;
    let name = match attribute(message, NAME)? {
        [0, name @ ..] => UnixName::Abstract(name.to_vec()),
        // The kernel counts the NUL that ends a path.
        [path @ .., 0] | path => UnixName::Path(OsString::from_vec(path.to_vec()).into()),
    };
    let file = attribute(message, VFS).and_then(|file| Some((u32_at(file, 0)?, u32_at(file, 4)?)));
    let serves = state == LISTENING || style == Style::Datagram;
    Some(Named { name, file, style, socket: Socket { serves, inode } })
}

/// The accept queue of a listening socket; `None` if the kernel or a sandbox refuses sock_diag(7).
#[cfg(feature = "cli")]
pub(crate) fn accept_queue(fd: std::os::fd::BorrowedFd<'_>) -> Option<AcceptQueue> {
    let inode = u32::try_from(rustix::fs::fstat(fd).ok()?.st_ino).ok()?;
    ask(Some(inode), SHOW_RQLEN, queue)?.pop()
}

#[cfg(feature = "cli")]
fn queue(message: &[u8]) -> Option<AcceptQueue> {
    let lengths = attribute(message, RQLEN)?;
    Some(AcceptQueue { waiting: u32_at(lengths, 0)?, backlog: u32_at(lengths, 4)? })
}

/// Asks about the socket with this inode number, or about all sockets, and parses each answer.
fn ask<T>(inode: Option<u32>, show: u32, parse: impl Fn(&[u8]) -> Option<T>) -> Option<Vec<T>> {
    /// The kernel sends at most 32 KiB at once.
    const ANSWER_MAX: usize = 64 * 1024;
    let socket = rustix::net::socket_with(
        AddressFamily::NETLINK,
        SocketType::RAW,
        SocketFlags::CLOEXEC,
        Some(netlink::SOCK_DIAG),
    )
    .ok()?;
    rustix::net::send(&socket, &request(inode, show), SendFlags::empty()).ok()?;
    let (mut found, mut answer) = (Vec::new(), vec![0; ANSWER_MAX]);
    loop {
        // The answer is queued before send(2) returns, and its next part before recv(2) returns.
        let (len, _) = rustix::net::recv(&socket, &mut answer[..], RecvFlags::DONTWAIT).ok()?;
        for message in messages(&answer[..len]) {
            // A message of another type is an error, or the end of an answer in parts.
            let is_answer = u16_at(message, 4) == Some(SOCK_DIAG_BY_FAMILY);
            found.extend(parse(message).filter(|_| is_answer));
            if !is_answer || i32::from(u16_at(message, 6)?) & libc::NLM_F_MULTI == 0 {
                return Some(found);
            }
        }
    }
}

/// A `nlmsghdr` with a `unix_diag_req`: sockets of any state and cookie.
fn request(inode: Option<u32>, show: u32) -> Vec<u8> {
    const ANY: u32 = u32::MAX;
    let flags = libc::NLM_F_REQUEST | if inode.is_none() { libc::NLM_F_DUMP } else { 0 };
    let kind = [SOCK_DIAG_BY_FAMILY.to_ne_bytes(), (flags as u16).to_ne_bytes()].concat();
    let family = [libc::AF_UNIX as u8, 0, 0, 0];
    let words = [ANY, inode.unwrap_or(0), show, ANY, ANY].map(u32::to_ne_bytes).concat();
    let len = (HEADER + family.len() + words.len()) as u32;
    let sequence_and_sender = [0; 8];
    [&len.to_ne_bytes(), &kind[..], &sequence_and_sender, &family, &words].concat()
}

fn messages(answer: &[u8]) -> impl Iterator<Item = &[u8]> {
    split(answer, HEADER, |message| u32_at(message, 0)?.try_into().ok())
}

/// The value of an attribute (`struct rtattr`).
fn attribute(message: &[u8], kind: u16) -> Option<&[u8]> {
    let mut attributes =
        split(message.get(HEADERS..)?, 4, |attribute| u16_at(attribute, 0).map(usize::from));
    attributes.find(|attribute| u16_at(attribute, 2) == Some(kind)).map(|attribute| &attribute[4..])
}

/// Splits into parts. Each part begins with its own length, at a multiple of four bytes.
fn split(
    mut rest: &[u8],
    header: usize,
    len: impl Fn(&[u8]) -> Option<usize>,
) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let len = len(rest).filter(|&len| len >= header)?;
        let part = rest.get(..len)?;
        rest = rest.get(len.next_multiple_of(4)..).unwrap_or_default();
        Some(part)
    })
}

fn u16_at(bytes: &[u8], start: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(*bytes.get(start..)?.first_chunk()?))
}

fn u32_at(bytes: &[u8], start: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(*bytes.get(start..)?.first_chunk()?))
}

#[cfg(all(test, feature = "cli"))]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A `unix_diag_msg` with attributes, as the kernel sends it.
    fn message(r#type: u8, state: u8, inode: u32, attributes: &[(u16, Vec<u8>)]) -> Vec<u8> {
        let mut message = vec![0; HEADERS];
        message[4..6].copy_from_slice(&SOCK_DIAG_BY_FAMILY.to_ne_bytes());
        message[HEADER..HEADER + 4].copy_from_slice(&[1, r#type, state, 0]);
        message[HEADER + 4..HEADER + 8].copy_from_slice(&inode.to_ne_bytes());
        for (kind, value) in attributes {
            message.extend((4 + value.len() as u16).to_ne_bytes());
            message.extend(kind.to_ne_bytes());
            message.extend(value);
            message.resize(message.len().next_multiple_of(4), 0);
        }
        let len = message.len() as u32;
        message[..4].copy_from_slice(&len.to_ne_bytes());
        message
    }

    proptest! {
        #[test]
        fn any_name_is_read_as_it_is(
            name: Vec<u8>,
            inode: u32,
            file: FileId,
            queue: [u32; 2],
            listens: bool,
        ) {
            let lengths = [queue[0].to_ne_bytes(), queue[1].to_ne_bytes()].concat();
            let vfs = [file.0.to_ne_bytes(), file.1.to_ne_bytes()].concat();
            let sun_path = [&[0], &name[..]].concat();
            let state = if listens { LISTENING } else { 7 };
            let one = message(1, state, inode, &[(RQLEN, lengths), (NAME, sun_path), (VFS, vfs)]);
            let answer = [&one[..], &message(1, 1, 0, &[]), &one].concat();
            let found: Vec<_> = messages(&answer).filter_map(named).collect();
            let socket = Socket { serves: listens, inode: inode.into() };
            let (name, style) = (UnixName::Abstract(name), Style::Stream);
            let named = Named { name, file: Some(file), style, socket };
            prop_assert_eq!(found, [named.clone(), named]);
            let found = super::queue(&one).map(|found| [found.waiting, found.backlog]);
            prop_assert_eq!(found, Some(queue));
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(bytes: Vec<u8>) {
            for message in messages(&bytes).chain([&bytes[..]]) {
                let _ = (named(message), super::queue(message));
            }
        }
    }
}
