//! A daemon that answers in capitals, and whose connections outlive a restart: its unit has
//! `Type=notify` and `FileDescriptorStoreMax=1024`, its socket unit `ListenStream=4000`.
//!
//! Between two requests no peer is owed anything, so the sockets are all that the next process
//! needs. It exchanges nothing before the service manager has given them up: otherwise, if it were
//! killed later, a third process would go on with connections of which it has missed a part.

use std::{io::Read, io::Write, net::TcpStream, os::fd::AsFd, time::Duration};

use rustix::event::{PollFd, PollFlags, poll};
use socket_activate_echo::activation::{Inherited, InheritedFd};
use socket_activate_echo::error::{Context, Error, ErrorKind, Result};
use socket_activate_echo::notify::{FdName, Notifier, State};
use socket_activate_echo::server::Shutdown;

const TIMEOUT: Duration = Duration::from_secs(10);

fn main() -> Result<()> {
    let missing = |what| Error::new(ErrorKind::Environment, what);
    let name = |name| FdName::new(name).ok_or_else(|| missing("a name has no colon"));
    let (peer, check) = (name("peer")?, name("check")?);
    let shutdown = Shutdown::on_signals()?; // Before anything, so that SIGTERM always stores.
    let notifier = Notifier::from_env()?.ok_or_else(|| missing("NOTIFY_SOCKET is not set"))?;
    let is_stored = |fd: &InheritedFd| fd.name == "peer";
    let (stored, fds): (Vec<_>, _) = Inherited::take()?.fds.into_iter().partition(is_stored);
    let listener = Inherited { fds }.into_sockets()?.pop().ok_or_else(|| missing("no socket"))?;
    let listener = listener.into_tcp_listener()?;
    let mut peers: Vec<_> = stored.into_iter().flat_map(|fd| fd.fd.map(TcpStream::from)).collect();
    if !peers.is_empty() {
        notifier.remove_fds(&peer)?;
        notifier.check_fd_store(&check, TIMEOUT)?;
    }
    notifier.send(&[State::Ready])?;
    loop {
        let mut fds = vec![PollFd::new(&shutdown, PollFlags::IN)];
        fds.push(PollFd::new(&listener, PollFlags::IN));
        fds.extend(peers.iter().map(|peer| PollFd::new(peer, PollFlags::IN)));
        poll(&mut fds, None).context("wait for a request")?;
        let ready: Vec<_> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
        if ready[0] {
            break;
        }
        let mut is_ready = ready[2..].iter();
        peers.retain(|peer| is_ready.next() == Some(&false) || answer(peer));
        if ready[1] {
            peers.push(listener.accept().context("accept")?.0);
        }
    }
    let fds: Vec<_> = peers.iter().map(AsFd::as_fd).collect();
    fds.chunks(Notifier::FDS_MAX).try_for_each(|fds| notifier.store_fds(&peer, fds, false))?;
    notifier.check_fd_store(&check, TIMEOUT) // A full store would close them silently.
}

/// Answers a request, and tells whether the peer is still there. It waits for one that reads slowly.
fn answer(mut peer: &TcpStream) -> bool {
    let mut request = [0; 1024];
    let count = peer.read(&mut request).unwrap_or(0);
    count > 0 && peer.write_all(&request[..count].to_ascii_uppercase()).is_ok()
}
