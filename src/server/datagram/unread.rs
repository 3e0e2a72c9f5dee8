//! How much of a unix datagram socket's send buffer the clients of each user hold by not reading.
//!
//! Unread datagrams are charged to the send buffer of the socket that sent them, and all clients
//! share that buffer (unix(7); `sock_alloc_send_pskb` of Linux). So a client that never reads could
//! block the replies to all others. The kernel reports only how much is unread in total. It is
//! accounted for by user, because one user can have any number of names.

use std::os::fd::BorrowedFd;

use rustix::net::sockopt;

use crate::sys::option;

/// The unread bytes by user.
#[derive(Debug, Default)]
pub(super) struct Unread {
    accounts: Vec<(Option<u32>, usize)>,
    total: usize,
    /// The size of the send buffer, once it is known.
    buffer: usize,
}

impl Unread {
    /// Whether `len` more bytes may be sent to `uid`: one user may hold at most half of what nobody
    /// else holds. If so, adds them to the user's account.
    pub(super) fn admit(&mut self, fd: BorrowedFd<'_>, uid: Option<u32>, len: usize) -> bool {
        let charge = charge(len);
        if self.buffer == 0 {
            self.buffer = sockopt::socket_send_buffer_size(fd).unwrap_or(0);
        }
        if self.buffer == 0 {
            // The size is unknown: let the kernel decide whether there is room.
            return true;
        }
        let mut admits = self.has_share(uid, charge);
        if !admits {
            // Some clients may have read since. The kernel is asked only when it matters.
            self.settle(option::unsent(fd).unwrap_or(self.total));
            admits = self.has_share(uid, charge);
        }
        if !admits && self.enlarge(fd, charge) {
            admits = self.has_share(uid, charge);
        }
        if admits {
            self.book(uid, charge);
        }
        admits
    }

    #[cfg(test)]
    pub(super) fn total(&self) -> usize {
        self.total
    }

    fn has_share(&self, uid: Option<u32>, charge: usize) -> bool {
        let own = self.account(uid);
        own + charge <= self.buffer.saturating_sub(self.total - own) / 2
    }

    fn account(&self, uid: Option<u32>) -> usize {
        self.accounts.iter().find(|account| account.0 == uid).map_or(0, |account| account.1)
    }

    fn book(&mut self, uid: Option<u32>, charge: usize) {
        self.total += charge;
        match self.accounts.iter_mut().find(|account| account.0 == uid) {
            Some(account) => account.1 += charge,
            None => self.accounts.push((uid, charge)),
        }
    }

    /// Removes what was admitted and not sent. Otherwise it would seem read later, and be
    /// subtracted from another account.
    pub(super) fn cancel(&mut self, uid: Option<u32>, len: usize) {
        let account = self.accounts.iter_mut().find(|account| account.0 == uid);
        if let Some(account) = account {
            let charge = charge(len).min(account.1);
            account.1 -= charge;
            self.total -= charge;
        }
    }

    /// Takes the kernel's total `unread`. What was read is subtracted from the smallest accounts
    /// first. So reading by others never makes the largest account smaller than what its user
    /// holds, and users who read have empty accounts.
    fn settle(&mut self, unread: usize) {
        let mut read = self.total.saturating_sub(unread);
        self.total -= read;
        self.accounts.sort_unstable_by_key(|account| account.1);
        for account in &mut self.accounts {
            let part = read.min(account.1);
            account.1 -= part;
            read -= part;
        }
        self.accounts.retain(|account| account.1 > 0);
    }

    /// Enlarges the buffer so that `charge` is at most half of it, up to `wmem_max` (socket(7)).
    /// Returns whether it has grown.
    fn enlarge(&mut self, fd: BorrowedFd<'_>, charge: usize) -> bool {
        let wanted = (charge * 2).max(self.buffer * 2).min(BUFFER_MAX.max(charge * 2));
        if wanted <= self.buffer {
            return false;
        }
        // The kernel doubles the requested size.
        let _ = sockopt::set_socket_send_buffer_size(fd, wanted / 2);
        let before = self.buffer;
        self.buffer = sockopt::socket_send_buffer_size(fd).unwrap_or(before);
        self.buffer > before
    }
}

/// The maximum size of the send buffer for many clients; one long message can make it larger.
const BUFFER_MAX: usize = 1024 * 1024;

/// The most that the kernel charges for a datagram of `len` bytes. It is allocated in one piece,
/// whose size is a power of two, and beyond 16 KiB partly in pages: `unix_dgram_sendmsg` of Linux.
fn charge(len: usize) -> usize {
    const ONE_PIECE_MAX: usize = 16 * 1024 - 512;
    const PAGES_MAX: usize = 17;
    const HEADERS: usize = 512;
    let page = rustix::param::page_size();
    let in_pages = len.saturating_sub(ONE_PIECE_MAX).next_multiple_of(page).min(PAGES_MAX * page);
    let in_one_piece = len.saturating_sub(in_pages) + HEADERS;
    in_one_piece.next_power_of_two() + in_pages + HEADERS
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixDatagram;

    use super::*;

    const A: Option<u32> = Some(1);
    const B: Option<u32> = Some(2);

    fn with_buffer(buffer: usize) -> Unread {
        Unread { buffer, ..Unread::default() }
    }

    #[test]
    fn reading_is_put_down_to_those_who_hold_least() {
        let mut unread = with_buffer(1000);
        for (uid, bytes) in [(A, 400), (B, 100)] {
            assert!(unread.has_share(uid, bytes));
            unread.book(uid, bytes);
        }
        // A still holds the same amount; B has read.
        unread.settle(400);
        assert_eq!((unread.account(A), unread.account(B), unread.total), (400, 0, 400));
        assert!(!unread.has_share(A, 101) && unread.has_share(A, 100));
        assert!(!unread.has_share(B, 301) && unread.has_share(B, 300));
        unread.settle(0);
        assert_eq!((unread.account(A), unread.total), (0, 0));
    }

    #[test]
    fn what_the_kernel_charges_is_not_more_than_what_is_put_to_an_account() {
        let (ours, peer) = UnixDatagram::pair().expect("socketpair(2)");
        for len in [0, 1, 64, 1000, 1025, 2000, 4000, 9000, 16_384, 16_385, 40_000, 65_507, 150_000]
        {
            ours.send(&vec![0; len]).expect("send");
            let charged = option::unsent(ours.as_fd()).expect("SIOCOUTQ");
            assert!(charged <= charge(len), "{len}: {charged} of {}", charge(len));
            peer.recv(&mut [0]).expect("receive");
            assert_eq!(option::unsent(ours.as_fd()).expect("SIOCOUTQ"), 0);
        }
    }

    #[test]
    fn one_user_who_never_reads_leaves_room_for_the_others() {
        let dir = tempfile::tempdir().expect("a directory");
        let bind = |name: &str| UnixDatagram::bind(dir.path().join(name)).expect("bind");
        let (ours, deaf, other) = (bind("s"), bind("a"), bind("b"));
        // The queue of a connected peer has no limit.
        deaf.connect(dir.path().join("s")).expect("connect");
        let mut unread = Unread::default();
        let mut send = |uid, name: &str, len| {
            let admits = unread.admit(ours.as_fd(), uid, len);
            if admits {
                ours.send_to(&vec![0; len], dir.path().join(name)).expect("there is room");
            }
            admits
        };
        while send(A, "a", 60_000) {}
        while send(A, "a", 8) {}
        for _ in 0..1000 {
            assert!(send(B, "b", 1000), "somebody who reads is answered");
            assert_eq!(other.recv(&mut [0; 1000]).expect("receive"), 1000);
        }
    }
}
