//! Addresses of sockets as the kernel writes them.

use socket2::{SockAddr, SockAddrStorage};

/// The `sockaddr` in `name`, as recvmsg(2) wrote it. Without a whole family, it is empty.
pub(crate) fn from_bytes(name: &[u8]) -> SockAddr {
    const SIZE: usize = size_of::<SockAddrStorage>();
    let mut storage = SockAddrStorage::zeroed();
    // SAFETY: the storage is as large as the array, and any bytes are valid for both.
    let bytes = unsafe { storage.view_as::<[u8; SIZE]>() };
    let len = if name.len() < size_of::<libc::sa_family_t>() { 0 } else { name.len().min(SIZE) };
    bytes[..len].copy_from_slice(&name[..len]);
    // SAFETY: the storage is initialised as a whole, and the length is that of what was written.
    unsafe { SockAddr::new(storage, len as libc::socklen_t) }
}

/// The bytes of an address, for the tests of what reads them.
#[cfg(test)]
pub(crate) fn to_bytes(addr: &SockAddr) -> Vec<u8> {
    // SAFETY: the pointer and the length are those of the address, which lives through the call.
    unsafe { std::slice::from_raw_parts(addr.as_ptr().cast::<u8>(), addr.len() as usize) }.to_vec()
}
