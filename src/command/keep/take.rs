//! Takes from the fd store what an earlier process has stored there.

use std::fs::File;
use std::io::{BufReader, Seek, SeekFrom};
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{SealFlags, fcntl_get_seals, fstat};
use rustix::net::{Shutdown, shutdown};

use super::ledger::{self, Ledger, LedgerError};
use super::{CANARY, CONNECTION, LEDGER, Role, answer_time_max, name};
use crate::error::{Error, Result};
use crate::notify::{Notifier, State};
use crate::server::{Kept, KeptConnection, KeptReplies};

/// What makes a memfd final.
pub(super) const SEALS: SealFlags =
    SealFlags::WRITE.union(SealFlags::GROW).union(SealFlags::SHRINK).union(SealFlags::SEAL);

/// Makes the manager give up all that is stored, and waits until it has. Until then nothing may be
/// exchanged: if this process were killed, the next one would find a ledger that is out of date.
pub(super) fn remove(notifier: &Notifier, count: usize) -> Result<()> {
    let time_max = answer_time_max(count);
    notifier.send(&[State::ExtendTimeout(time_max)])?;
    // Without the ledger, whatever else is left is worth nothing.
    for stored in [LEDGER, CONNECTION, CANARY] {
        notifier.remove_fds(&name(stored)?)?;
    }
    notifier.check_fd_store(&name(CANARY)?, time_max)
}

/// What to go on with, after [`remove`].
pub(super) fn go_on(stored: Vec<(Role, OwnedFd)>) -> Kept {
    let (connections, ledgers) = divide(stored);
    let count = connections.len();
    let ledger = match <[OwnedFd; 1]>::try_from(ledgers) {
        Ok([ledger]) => read(ledger).map_err(|error| format!("the ledger cannot be used: {error}")),
        Err(none) if none.is_empty() => {
            Err("there is no ledger: the process before did not finish storing them".to_owned())
        }
        Err(several) => Err(format!("there are {} ledgers, not one", several.len())),
    };
    match ledger {
        Ok(ledger) => join(connections, ledger),
        Err(why) => {
            if count > 0 {
                log::warn!("{count} kept connections are closed, because {why}");
            }
            Kept::default()
        }
    }
}

/// Ends all connections, because the manager may still have them.
pub(super) fn give_up(stored: Vec<(Role, OwnedFd)>, why: &Error) -> Kept {
    let (connections, _) = divide(stored);
    for fd in &connections {
        // A peer that has gone needs no end. A close alone would end nothing as long as the manager
        // has the connection.
        let _ = shutdown(fd, Shutdown::Both);
    }
    log::warn!(
        "{} kept connections are closed, because the service manager does not give them up: {why}",
        connections.len()
    );
    Kept::default()
}

fn divide(stored: Vec<(Role, OwnedFd)>) -> (Vec<OwnedFd>, Vec<OwnedFd>) {
    let (mut connections, mut ledgers) = (Vec::new(), Vec::new());
    for (role, fd) in stored {
        match role {
            Role::Connection => connections.push(fd),
            Role::Ledger => ledgers.push(fd),
            Role::Canary => {}
        }
    }
    (connections, ledgers)
}

fn read(ledger: OwnedFd) -> Result<Ledger, LedgerError> {
    let io = |errno: rustix::io::Errno| LedgerError::Io(errno.into());
    // What is not sealed could still change.
    if !fcntl_get_seals(&ledger).map_err(io)?.contains(SEALS) {
        return Err(LedgerError::NotSealed);
    }
    let len = u64::try_from(fstat(&ledger).map_err(io)?.st_size).unwrap_or_default();
    let mut file = File::from(ledger);
    // The position is the writer's.
    file.seek(SeekFrom::Start(0)).map_err(LedgerError::Io)?;
    ledger::read(&mut BufReader::new(file), len)
}

/// Each connection with what it is owed.
fn join(connections: Vec<OwnedFd>, mut ledger: Ledger) -> Kept {
    let (mut kept, mut unknown) = (Vec::with_capacity(connections.len()), 0);
    for fd in connections {
        let inode = fstat(fd.as_fd()).map(|stat| stat.st_ino);
        match inode.ok().and_then(|inode| ledger.connections.remove(&inode)) {
            Some(owed) => kept.push(KeptConnection { fd, owed }),
            None => unknown += 1,
        }
    }
    let missing = ledger.connections.len();
    if unknown + missing > 0 {
        log::warn!(
            "{unknown} kept connections are closed, because the ledger does not name them; \
             {missing} that it names are not in the fd store"
        );
    }
    let bytes: usize = kept.iter().flat_map(|kept| &kept.owed).map(Vec::len).sum();
    let count = kept.len();
    log::info!("going on with {count} kept connections, which are owed {bytes} bytes");
    let replies = ledger.replies.into_iter();
    let replies = replies.map(|(inode, bytes)| KeptReplies { inode, bytes }).collect();
    Kept { connections: kept, replies }
}
