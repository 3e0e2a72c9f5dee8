//! The plain blocking loop: a thread for each connection that receives and sends; one loop of
//! recvfrom(2) and sendto(2) for datagrams.

use echo_peers::{BUFFER, Served, check, echo_datagram, raise_descriptor_limit, served, set};

fn main() {
    match served() {
        Served::Datagrams(fd) => {
            let mut buffer = vec![0; BUFFER];
            loop {
                echo_datagram(fd, &mut buffer);
            }
        }
        Served::Listener(fd) => accept(fd),
    }
}

fn accept(listener: i32) {
    raise_descriptor_limit();
    loop {
        // SAFETY: null pointers are allowed where the peer's address is not wanted.
        let fd = check(unsafe {
            libc::accept4(listener, std::ptr::null_mut(), std::ptr::null_mut(), libc::SOCK_CLOEXEC)
        });
        set(fd, libc::IPPROTO_TCP, libc::TCP_NODELAY, 1);
        let thread = std::thread::Builder::new().stack_size(256 * 1024);
        thread.spawn(move || echo(fd)).expect("a thread");
    }
}

fn echo(fd: i32) {
    let mut buffer = vec![0_u8; BUFFER];
    loop {
        // SAFETY: the buffer is writable for its length.
        let count = unsafe { libc::recv(fd, buffer.as_mut_ptr().cast(), buffer.len(), 0) };
        let Ok(count @ 1..) = usize::try_from(count) else { break };
        let mut sent = 0;
        while sent < count {
            let rest = &buffer[sent..count];
            // SAFETY: `rest` is readable for its length.
            let more =
                unsafe { libc::send(fd, rest.as_ptr().cast(), rest.len(), libc::MSG_NOSIGNAL) };
            let Ok(more) = usize::try_from(more) else { break };
            sent += more;
        }
        if sent < count {
            break;
        }
    }
    // SAFETY: the descriptor is this thread's own.
    unsafe { libc::close(fd) };
}
