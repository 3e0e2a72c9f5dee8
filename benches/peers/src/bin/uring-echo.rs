//! The minimal io_uring loop: one receive or one send in flight for each connection, submitted and
//! reaped with one system call for all that is ready.

use echo_peers::{BUFFER, Name, Served, raise_descriptor_limit, served, set};
use io_uring::{IoUring, cqueue, opcode, squeue, types};

const ENTRIES: u32 = 1024;
/// The operation of a completion, beside the number of its connection.
const ACCEPT: u64 = 0;
const RECEIVE: u64 = 1;
const SEND: u64 = 2;

struct Connection {
    buffer: Box<[u8]>,
    filled: usize,
    sent: usize,
}

fn main() -> std::io::Result<()> {
    let mut ring = IoUring::builder()
        .setup_single_issuer()
        .setup_defer_taskrun()
        .setup_cqsize(16 * ENTRIES)
        .build(ENTRIES)?;
    match served() {
        Served::Listener(fd) => streams(&mut ring, fd),
        Served::Datagrams(fd) => datagrams(&mut ring, fd),
    }
}

fn push(ring: &mut IoUring, entry: &squeue::Entry) {
    // SAFETY: what the entries point to lives in the connections, which outlive their operations.
    while unsafe { ring.submission().push(entry) }.is_err() {
        ring.submit().expect("io_uring_enter");
    }
}

fn streams(ring: &mut IoUring, listener: i32) -> std::io::Result<()> {
    raise_descriptor_limit();
    let mut connections: Vec<Option<Connection>> = Vec::new();
    let accept = opcode::AcceptMulti::new(types::Fd(listener)).build().user_data(ACCEPT);
    push(ring, &accept);
    let mut batch: Vec<cqueue::Entry> = Vec::with_capacity(16 * ENTRIES as usize);
    loop {
        ring.submit_and_wait(1)?;
        batch.extend(ring.completion());
        for completion in batch.drain(..) {
            let (operation, result) = (completion.user_data() & 3, completion.result());
            if operation == ACCEPT {
                if result >= 0 {
                    set(result, libc::IPPROTO_TCP, libc::TCP_NODELAY, 1);
                    begin(ring, &mut connections, result);
                }
                if !cqueue::more(completion.flags()) {
                    push(ring, &accept);
                }
                continue;
            }
            let fd = (completion.user_data() >> 2) as i32;
            let connection = connections[fd as usize].as_mut().expect("an open connection");
            if result <= 0 {
                connections[fd as usize] = None;
                // SAFETY: nothing of it is in flight any more.
                unsafe { libc::close(fd) };
                continue;
            }
            if operation == RECEIVE {
                (connection.filled, connection.sent) = (result as usize, 0);
            } else {
                connection.sent += result as usize;
            }
            go_on(ring, connection, fd);
        }
    }
}

fn begin(ring: &mut IoUring, connections: &mut Vec<Option<Connection>>, fd: i32) {
    if connections.len() <= fd as usize {
        connections.resize_with(fd as usize + 1, || None);
    }
    let buffer = vec![0; BUFFER].into_boxed_slice();
    let connection = connections[fd as usize].insert(Connection { buffer, filled: 0, sent: 0 });
    go_on(ring, connection, fd);
}

/// Sends what was received or, if all is sent, receives.
fn go_on(ring: &mut IoUring, connection: &mut Connection, fd: i32) {
    let number = (fd as u64) << 2;
    let entry = if connection.sent < connection.filled {
        let rest = &connection.buffer[connection.sent..connection.filled];
        opcode::Send::new(types::Fd(fd), rest.as_ptr(), rest.len() as u32)
            .flags(libc::MSG_NOSIGNAL)
            .build()
            .user_data(number | SEND)
    } else {
        let buffer = &mut connection.buffer;
        opcode::Recv::new(types::Fd(fd), buffer.as_mut_ptr(), buffer.len() as u32)
            .build()
            .user_data(number | RECEIVE)
    };
    push(ring, &entry);
}

/// One datagram in flight in each of some slots.
fn datagrams(ring: &mut IoUring, fd: i32) -> std::io::Result<()> {
    const SLOTS: usize = 32;
    let mut buffers = vec![vec![0_u8; BUFFER]; SLOTS];
    let mut names = vec![Name::empty(); SLOTS];
    let mut vectors: Vec<libc::iovec> = buffers
        .iter_mut()
        .map(|buffer| libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: BUFFER })
        .collect();
    // SAFETY: all zeroes is a msghdr.
    let mut headers: Vec<libc::msghdr> = vec![unsafe { std::mem::zeroed() }; SLOTS];
    for slot in 0..SLOTS {
        headers[slot].msg_name = (&raw mut names[slot].storage).cast();
        headers[slot].msg_iov = &raw mut vectors[slot];
        headers[slot].msg_iovlen = 1;
        receive(ring, fd, &mut headers, &mut vectors, slot);
    }
    let mut batch: Vec<cqueue::Entry> = Vec::with_capacity(16 * ENTRIES as usize);
    loop {
        ring.submit_and_wait(1)?;
        batch.extend(ring.completion());
        for completion in batch.drain(..) {
            let (operation, slot) =
                (completion.user_data() & 3, (completion.user_data() >> 2) as usize);
            if operation == RECEIVE && completion.result() >= 0 {
                vectors[slot].iov_len = completion.result() as usize;
                let entry = opcode::SendMsg::new(types::Fd(fd), &raw const headers[slot])
                    .build()
                    .user_data((slot as u64) << 2 | SEND);
                push(ring, &entry);
            } else {
                receive(ring, fd, &mut headers, &mut vectors, slot);
            }
        }
    }
}

fn receive(
    ring: &mut IoUring,
    fd: i32,
    headers: &mut [libc::msghdr],
    vectors: &mut [libc::iovec],
    slot: usize,
) {
    vectors[slot].iov_len = BUFFER;
    headers[slot].msg_namelen = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
    let entry = opcode::RecvMsg::new(types::Fd(fd), &raw mut headers[slot])
        .build()
        .user_data((slot as u64) << 2 | RECEIVE);
    push(ring, &entry);
}
