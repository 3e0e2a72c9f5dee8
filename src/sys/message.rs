//! recvmmsg(2) and sendmmsg(2): many datagrams with one call, and replies from the same buffers.

#![allow(clippy::unnecessary_cast, reason = "the width of a length differs between C libraries")]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;

use super::checked;
use super::control::{CREDENTIALS_SPACE, REPLY_CONTROL_MAX};

/// Room for any `sockaddr`: the size of `sockaddr_storage`.
pub(crate) const NAME_MAX: usize = 128;

/// Where a reply goes.
#[derive(Debug, Clone, Copy)]
pub(crate) enum ReplyTo<'a> {
    /// To the peer that the socket is connected to.
    Peer,
    /// To the sender that the kernel named.
    Sender,
    /// To this `sockaddr`, of at most [`NAME_MAX`] bytes.
    Name(&'a [u8]),
}

/// Slots for datagrams, and the replies that are sent from these slots.
///
/// A slot uses no memory until a datagram is written to it: the kernel allocates zeroed pages on
/// the first write. All buffers have their final size from the start, so the pointers in the
/// headers stay valid for the life of the batch, even if it moves.
pub(crate) struct Batch {
    slot_size: usize,
    control_size: usize,
    data: Vec<u8>,
    names: Vec<u8>,
    controls: Vec<u8>,
    _iovecs: Vec<libc::iovec>,
    headers: Vec<libc::mmsghdr>,
    reply_iovecs: Vec<libc::iovec>,
    reply_names: Vec<u8>,
    reply_controls: Vec<u8>,
    replies: Vec<libc::mmsghdr>,
    // How many headers the last receive has changed.
    used: usize,
}

impl Batch {
    /// A batch of `slots` datagrams of up to `slot_size` bytes, each with up to `control_size`
    /// bytes of ancillary data. With room only for credentials ([`CREDENTIALS_SPACE`]), a file
    /// descriptor that a peer passes does not fit, so the kernel closes it.
    pub(crate) fn new(slots: usize, slot_size: usize, control_size: usize) -> Self {
        let mut data = vec![0; slots * slot_size];
        let mut names = vec![0; slots * NAME_MAX];
        let mut controls = vec![0; slots * control_size];
        let mut iovecs: Vec<_> = data
            .chunks_exact_mut(slot_size)
            .map(|slot| libc::iovec { iov_base: slot.as_mut_ptr().cast(), iov_len: slot_size })
            .collect();
        let headers = (0..slots)
            .map(|slot| {
                let mut header = empty_header();
                header.msg_hdr.msg_name = names[slot * NAME_MAX..].as_mut_ptr().cast();
                header.msg_hdr.msg_namelen = NAME_MAX as libc::socklen_t;
                header.msg_hdr.msg_iov = &raw mut iovecs[slot];
                header.msg_hdr.msg_iovlen = 1;
                header.msg_hdr.msg_control = controls[slot * control_size..].as_mut_ptr().cast();
                header
            })
            .collect();
        Self {
            slot_size,
            control_size,
            data,
            names,
            controls,
            _iovecs: iovecs,
            headers,
            reply_iovecs: Vec::with_capacity(slots),
            reply_names: vec![0; slots * NAME_MAX],
            reply_controls: vec![0; slots * REPLY_CONTROL_MAX],
            replies: Vec::with_capacity(slots),
            used: slots,
        }
    }

    /// How many datagrams one receive can take.
    pub(crate) fn slots(&self) -> usize {
        self.headers.len()
    }

    /// Receives up to `most` datagrams without waiting. Returns how many there were.
    ///
    /// # Errors
    ///
    /// Those of recvmmsg(2): `EAGAIN` if there is none.
    pub(crate) fn receive(&mut self, fd: BorrowedFd<'_>, most: usize) -> io::Result<usize> {
        for header in &mut self.headers[..self.used] {
            header.msg_hdr.msg_namelen = NAME_MAX as libc::socklen_t;
            header.msg_hdr.msg_controllen = self.control_size as _;
        }
        self.used = 0;
        let most = most.min(self.headers.len());
        // SAFETY: each of the first `most` headers points at a name, a control buffer and an
        // iovec of this batch, of the sizes that it says.
        let count = unsafe {
            libc::recvmmsg(
                fd.as_raw_fd(),
                self.headers.as_mut_ptr(),
                most as libc::c_uint,
                (libc::MSG_DONTWAIT | libc::MSG_CMSG_CLOEXEC) as _,
                ptr::null_mut(),
            )
        };
        self.used = checked(count)? as usize;
        Ok(self.used)
    }

    /// The bytes of the datagram in `slot` of the last receive.
    pub(crate) fn data(&self, slot: usize) -> &[u8] {
        let start = slot * self.slot_size;
        &self.data[start..start + self.len(slot)]
    }

    fn len(&self, slot: usize) -> usize {
        (self.headers[slot].msg_len as usize).min(self.slot_size)
    }

    /// Whether the datagram in `slot` was longer than the slot.
    pub(crate) fn is_truncated(&self, slot: usize) -> bool {
        self.headers[slot].msg_hdr.msg_flags & libc::MSG_TRUNC != 0
    }

    /// The sender's `sockaddr`; empty if it has none.
    pub(crate) fn name(&self, slot: usize) -> &[u8] {
        let len = self.headers[slot].msg_hdr.msg_namelen as usize;
        &self.names[slot * NAME_MAX..][..len.min(NAME_MAX)]
    }

    /// The ancillary data of the datagram in `slot`, as cmsg(3) lays it out.
    pub(crate) fn control(&self, slot: usize) -> &[u8] {
        let len = self.headers[slot].msg_hdr.msg_controllen as usize;
        &self.controls[slot * self.control_size..][..len.min(self.control_size)]
    }

    /// Removes all replies.
    pub(crate) fn clear_replies(&mut self) {
        self.replies.clear();
        self.reply_iovecs.clear();
    }

    /// Adds one reply to the datagrams in the `count` slots from `first` on, which have the same
    /// sender: their bytes in order, with the ancillary data that `control` writes.
    pub(crate) fn push_reply(
        &mut self,
        first: usize,
        count: usize,
        to: ReplyTo<'_>,
        control: impl FnOnce(&mut [u8]) -> usize,
    ) {
        // The vectors must never move: the headers point into them.
        assert!(first + count <= self.used && self.replies.len() < self.replies.capacity());
        assert!(self.reply_iovecs.len() + count <= self.reply_iovecs.capacity());
        let iovecs_start = self.reply_iovecs.len();
        for slot in first..first + count {
            let start = slot * self.slot_size;
            let len = self.len(slot);
            let data = &mut self.data[start..start + len];
            self.reply_iovecs
                .push(libc::iovec { iov_base: data.as_mut_ptr().cast(), iov_len: len });
        }
        let start = self.replies.len() * REPLY_CONTROL_MAX;
        let reply_control = &mut self.reply_controls[start..start + REPLY_CONTROL_MAX];
        let control_len = control(reply_control);
        let (name, name_len) = match to {
            ReplyTo::Peer => (ptr::null_mut(), 0),
            ReplyTo::Sender => {
                let len = self.headers[first].msg_hdr.msg_namelen as usize;
                (self.names[first * NAME_MAX..].as_mut_ptr(), len.min(NAME_MAX))
            }
            ReplyTo::Name(name) => {
                let start = self.replies.len() * NAME_MAX;
                let room = &mut self.reply_names[start..start + name.len()];
                room.copy_from_slice(name);
                (room.as_mut_ptr(), name.len())
            }
        };
        // The kernel reads no pointer whose length is zero.
        let mut header = empty_header();
        header.msg_hdr.msg_name = name.cast();
        header.msg_hdr.msg_namelen = name_len as libc::socklen_t;
        header.msg_hdr.msg_iov = &raw mut self.reply_iovecs[iovecs_start];
        header.msg_hdr.msg_iovlen = count as _;
        header.msg_hdr.msg_control = reply_control.as_mut_ptr().cast();
        header.msg_hdr.msg_controllen = control_len.min(REPLY_CONTROL_MAX) as _;
        self.replies.push(header);
    }

    /// Sends `count` replies from `first` on without waiting. Returns how many the kernel accepted.
    /// If it is fewer, the next one failed, and the next call reports the error.
    ///
    /// # Errors
    ///
    /// Those of sendmmsg(2), for the first reply of the call.
    pub(crate) fn send(
        &mut self,
        fd: BorrowedFd<'_>,
        first: usize,
        count: usize,
    ) -> io::Result<usize> {
        let replies = &mut self.replies[first..first + count];
        // SAFETY: each header points at names, iovecs and control data of this batch that
        // `push_reply` filled, of the sizes that it says, and none of them has moved since.
        let count = unsafe {
            libc::sendmmsg(
                fd.as_raw_fd(),
                replies.as_mut_ptr(),
                replies.len() as libc::c_uint,
                (libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL) as _,
            )
        };
        checked(count).map(|count| count as usize)
    }
}

/// Sends one message without waiting: `data` to the `sockaddr` in `name` (empty: to the peer that
/// the socket is connected to) with the ancillary data in `control`. It is a batch of one: a server
/// with datagrams needs no other system call to send.
pub(crate) fn send(fd: BorrowedFd<'_>, name: &[u8], control: &[u8], data: &[u8]) -> io::Result<()> {
    let mut iovec = libc::iovec { iov_base: data.as_ptr().cast_mut().cast(), iov_len: data.len() };
    let mut message = empty_header();
    let header = &mut message.msg_hdr;
    // An empty slice has a dangling pointer. For ancillary data, QEMU's user emulation follows it.
    let address = |bytes: &[u8]| match bytes {
        [] => ptr::null_mut(),
        bytes => bytes.as_ptr().cast_mut().cast(),
    };
    header.msg_name = address(name);
    header.msg_namelen = name.len() as libc::socklen_t;
    header.msg_iov = &raw mut iovec;
    header.msg_iovlen = 1;
    header.msg_control = address(control);
    header.msg_controllen = control.len() as _;
    let flags = (libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL) as _;
    // SAFETY: the header points at slices that live through the call, and sendmmsg(2) only reads
    // them.
    let sent = unsafe { libc::sendmmsg(fd.as_raw_fd(), &raw mut message, 1, flags) };
    checked(sent).map(drop)
}

/// One message of a seqpacket connection.
pub(crate) struct Packet {
    /// Its full length, even if the buffer was shorter.
    pub(crate) len: usize,
    /// Whether it came with ancillary data.
    pub(crate) has_control: bool,
}

/// Room for one cmsg(3) header and a `ucred`, with the kernel's alignment.
#[repr(C, align(8))]
struct Credentials([u8; CREDENTIALS_SPACE]);

/// Receives one message with these flags, and returns whether it came with ancillary data, which is
/// dropped. `rustix` has the call too, but requires that the process id in credentials is not 0. It
/// is 0 for a sender outside of our PID namespace.
pub(crate) fn receive_packet(
    fd: BorrowedFd<'_>,
    buffer: &mut [u8],
    flags: i32,
) -> io::Result<Packet> {
    let mut control = Credentials([0; CREDENTIALS_SPACE]);
    let mut iovec = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    let mut header = empty_header().msg_hdr;
    header.msg_iov = &raw mut iovec;
    header.msg_iovlen = 1;
    header.msg_control = control.0.as_mut_ptr().cast();
    // Room for the credentials alone: a descriptor that a peer passes does not fit, so the kernel
    // closes it.
    header.msg_controllen = CREDENTIALS_SPACE as _;
    let flags = flags | libc::MSG_TRUNC | libc::MSG_CMSG_CLOEXEC;
    // SAFETY: the header points at a control buffer and an iovec that live through the call.
    let len = unsafe { libc::recvmsg(fd.as_raw_fd(), &raw mut header, flags) };
    Ok(Packet { len: checked(len)? as usize, has_control: header.msg_controllen as usize > 0 })
}

fn empty_header() -> libc::mmsghdr {
    // SAFETY: a header of null pointers and zero lengths is a valid one; some targets have private
    // padding in it, so it cannot be written out.
    unsafe { std::mem::zeroed() }
}
