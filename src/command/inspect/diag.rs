//! The accept queue of a listening unix socket, which only sock_diag(7) tells.

use std::os::fd::BorrowedFd;

use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink};

use crate::sys::query::AcceptQueue;

/// `SOCK_DIAG_BY_FAMILY` of linux/sock_diag.h.
const SOCK_DIAG_BY_FAMILY: u16 = 20;
/// `UDIAG_SHOW_RQLEN` of linux/unix_diag.h: show the lengths of the queues.
const UDIAG_SHOW_RQLEN: u32 = 0x10;
/// `UNIX_DIAG_RQLEN` of linux/unix_diag.h: the attribute that has them.
const UNIX_DIAG_RQLEN: u16 = 4;
/// The size of a `nlmsghdr` and of a `unix_diag_msg`, which are in front of the attributes.
const HEADERS: usize = 16 + 16;

/// The queue; `None` if the kernel or a sandbox does not let us ask.
pub(super) fn accept_queue(fd: BorrowedFd<'_>) -> Option<AcceptQueue> {
    let inode = u32::try_from(rustix::fs::fstat(fd).ok()?.st_ino).ok()?;
    let socket = rustix::net::socket_with(
        AddressFamily::NETLINK,
        SocketType::RAW,
        SocketFlags::CLOEXEC,
        Some(netlink::SOCK_DIAG),
    )
    .ok()?;
    rustix::net::send(&socket, &request(inode), SendFlags::empty()).ok()?;
    let mut reply = [0; 256];
    // The kernel answers before send(2) returns.
    let (len, _) = rustix::net::recv(&socket, &mut reply[..], RecvFlags::DONTWAIT).ok()?;
    parse(&reply[..len])
}

/// A `nlmsghdr` with a `unix_diag_req`: the socket of this inode number, whatever its state and
/// its cookie.
fn request(inode: u32) -> Vec<u8> {
    let family_protocol_padding = [libc::AF_UNIX as u8, 0, 0, 0];
    let body: Vec<u8> = [
        family_protocol_padding,
        u32::MAX.to_ne_bytes(),
        inode.to_ne_bytes(),
        UDIAG_SHOW_RQLEN.to_ne_bytes(),
        u32::MAX.to_ne_bytes(),
        u32::MAX.to_ne_bytes(),
    ]
    .concat();
    let len = 16 + body.len() as u32;
    let (sequence, sender) = (0u32, 0u32);
    let mut request = len.to_ne_bytes().to_vec();
    request.extend(SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    request.extend((libc::NLM_F_REQUEST as u16).to_ne_bytes());
    request.extend(sequence.to_ne_bytes());
    request.extend(sender.to_ne_bytes());
    request.extend(body);
    request
}

fn parse(reply: &[u8]) -> Option<AcceptQueue> {
    if u16_at(reply, 4)? != SOCK_DIAG_BY_FAMILY {
        return None;
    }
    let mut rest = reply.get(HEADERS..)?;
    loop {
        let (len, kind) = (usize::from(u16_at(rest, 0)?), u16_at(rest, 2)?);
        if kind == UNIX_DIAG_RQLEN {
            return Some(AcceptQueue { waiting: u32_at(rest, 4)?, backlog: u32_at(rest, 8)? });
        }
        // Each attribute begins at a multiple of four, and has at least its own header.
        rest = rest.get(len.max(4).next_multiple_of(4)..)?;
    }
}

fn u16_at(bytes: &[u8], start: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(start..start + 2)?.try_into().ok()?))
}

fn u32_at(bytes: &[u8], start: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(start..start + 4)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_reply_is_none() {
        for reply in [&[][..], &[0; 16], &[0; 64], &[0xff; 64]] {
            assert!(parse(reply).is_none(), "{reply:?}");
        }
        let mut reply = vec![0; HEADERS];
        reply[4..6].copy_from_slice(&SOCK_DIAG_BY_FAMILY.to_ne_bytes());
        assert!(parse(&reply).is_none(), "no attributes");
        reply.extend([0; 40]);
        assert!(parse(&reply).is_none(), "attributes of no length");
    }
}
