//! The echo of tokio's documentation: a task for each connection, on one thread; with `--multi` on
//! one for each CPU.

use std::os::fd::{FromRawFd, OwnedFd};

use echo_peers::{BUFFER, Served, check, raise_descriptor_limit, served};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UdpSocket, UnixDatagram, UnixListener};

fn main() -> std::io::Result<()> {
    raise_descriptor_limit();
    let served = served();
    let multi = std::env::args().any(|argument| argument == "--multi");
    let mut builder = if multi {
        tokio::runtime::Builder::new_multi_thread()
    } else {
        tokio::runtime::Builder::new_current_thread()
    };
    let runtime = builder.enable_io().build()?;
    let (Served::Listener(fd) | Served::Datagrams(fd)) = served;
    // SAFETY: no pointers.
    check(unsafe { libc::fcntl(fd, libc::F_SETFL, libc::O_RDWR | libc::O_NONBLOCK) });
    let is_unix = family(fd) == libc::AF_UNIX;
    // SAFETY: `served` gives the descriptor away.
    let socket = unsafe { OwnedFd::from_raw_fd(fd) };
    runtime.block_on(async move {
        match (served, is_unix) {
            (Served::Listener(_), false) => tcp(TcpListener::from_std(socket.into())?).await,
            (Served::Listener(_), true) => unix(UnixListener::from_std(socket.into())?).await,
            (Served::Datagrams(_), false) => udp(UdpSocket::from_std(socket.into())?).await,
            (Served::Datagrams(_), true) => {
                unix_datagrams(UnixDatagram::from_std(socket.into())?).await
            }
        }
    })
}

fn family(fd: i32) -> i32 {
    let mut family: libc::c_int = 0;
    let mut size = std::mem::size_of_val(&family) as libc::socklen_t;
    // SAFETY: both pointers are to values of this function, of the sizes that the call expects.
    check(unsafe {
        libc::getsockopt(
            fd,
            libc::SOL_SOCKET,
            libc::SO_DOMAIN,
            (&raw mut family).cast(),
            &raw mut size,
        )
    });
    family
}

async fn tcp(listener: TcpListener) -> std::io::Result<()> {
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        tokio::spawn(echo(stream));
    }
}

async fn unix(listener: UnixListener) -> std::io::Result<()> {
    loop {
        let (stream, _) = listener.accept().await?;
        tokio::spawn(echo(stream));
    }
}

async fn echo(mut stream: impl AsyncReadExt + AsyncWriteExt + Unpin) -> std::io::Result<()> {
    let mut buffer = vec![0; BUFFER];
    loop {
        let count = stream.read(&mut buffer).await?;
        if count == 0 {
            return Ok(());
        }
        stream.write_all(&buffer[..count]).await?;
    }
}

async fn udp(socket: UdpSocket) -> std::io::Result<()> {
    let mut buffer = vec![0; BUFFER];
    loop {
        let (count, sender) = socket.recv_from(&mut buffer).await?;
        socket.send_to(&buffer[..count], sender).await?;
    }
}

async fn unix_datagrams(socket: UnixDatagram) -> std::io::Result<()> {
    let mut buffer = vec![0; 256 * 1024];
    loop {
        let (count, sender) = socket.recv_from(&mut buffer).await?;
        if let Some(path) = sender.as_pathname() {
            socket.send_to(&buffer[..count], path).await?;
        }
    }
}
