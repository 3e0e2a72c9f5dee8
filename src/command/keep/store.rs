//! Stores at the end what the server has not finished.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::BufWriter;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use rustix::fs::{MemfdFlags, fcntl_add_seals, fstat, memfd_create};
use rustix::io::Errno;

use super::take::SEALS;
use super::{CANARY, CONNECTION, LEDGER, answer_time_max, ledger, name};
use crate::activation::LISTEN_FDS_MAX;
use crate::error::{Context, Error, ErrorKind, Result};
use crate::notify::{Notifier, State};
use crate::sandbox::Sandbox;
use crate::server::{self, Config, Ended, Kept, KeptConnection, Shutdown, Statistics};

/// How often the manager is told that storing takes longer.
const EXTENSION_INTERVAL: Duration = Duration::from_secs(1);

/// What is needed to store. It is open from the start: later, the process may not be allowed to
/// open anything.
#[derive(Debug)]
pub(crate) struct Store {
    notifier: Notifier,
    ledger: File,
    connections_max: usize,
    /// How long the manager may take for an answer.
    time_max: Duration,
    extended: Option<Instant>,
}

/// Where storing failed.
enum Failure {
    /// The next process will not go on with anything, so this one has to.
    Before(Error),
    /// The next process may go on with everything, so this one must not.
    AtTheEnd(Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Before(error)
    }
}

/// How many descriptors the fd store takes, if the manager says so (systemd 254).
pub(super) fn fds_max() -> Option<usize> {
    std::env::var_os("FDSTORE")?.to_str()?.parse().ok()
}

/// Stores what the server has not finished. If that fails, drains it.
///
/// # Errors
///
/// Those of [`server::run`].
pub(crate) fn finish(
    store: Option<Store>,
    ended: Ended,
    config: Config,
    shutdown: &Shutdown,
) -> Result<Statistics> {
    let Ended { mut statistics, kept, datagram_sockets } = ended;
    let Some(mut store) = store else { return Ok(statistics) };
    if kept.connections.is_empty() && kept.replies.is_empty() {
        return Ok(statistics);
    }
    let what = in_words(&kept);
    match store.store(&kept) {
        Ok(()) => log::info!("kept {what} for the next process"),
        Err(Failure::AtTheEnd(error)) => {
            log::warn!("whether {what} are kept for the next process is not known: {error}");
        }
        Err(Failure::Before(error)) => {
            log::warn!("{what} cannot be kept, so they are drained: {error}");
            store.take_back();
            // This thread is confined already, and perhaps no other can be started any more.
            let config = Config {
                keeps_connections: false,
                exit_idle_time: None,
                sandbox: Sandbox::default(),
                workers: 1,
                ..config
            };
            let drained = server::run(datagram_sockets, kept, &config, shutdown, &mut ())?;
            statistics += drained.statistics;
            store.wait();
        }
    }
    Ok(statistics)
}

impl Store {
    /// # Errors
    ///
    /// Those of memfd_create(2).
    pub(super) fn new(notifier: Notifier, names_len: usize) -> Result<Self> {
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        // Before Linux 6.3 there is no such flag; from then on one may be required.
        let ledger = match memfd_create(LEDGER, flags | MemfdFlags::NOEXEC_SEAL) {
            Err(Errno::INVAL) => memfd_create(LEDGER, flags),
            result => result,
        };
        let ledger = File::from(ledger.context("create a memfd for the ledger")?);
        let connections_max = connections_max(names_len, rustix::param::page_size());
        Ok(Self { notifier, ledger, connections_max, time_max: answer_time_max(0), extended: None })
    }

    fn store(&mut self, kept: &Kept) -> Result<(), Failure> {
        self.time_max = answer_time_max(kept.connections.len());
        self.extend()?;
        self.has_room(kept.connections.len())?;
        self.write(kept)?;
        let connection = name(CONNECTION)?;
        let fds: Vec<_> = kept.connections.iter().map(|kept| kept.fd.as_fd()).collect();
        for (index, fds) in fds.chunks(Notifier::FDS_MAX).enumerate() {
            // One message at a time: the kernel limits how many descriptors are on their way.
            if index > 0 {
                self.notifier.barrier(self.time_max)?;
                self.extend()?;
            }
            self.notifier.store_fds(&connection, fds, false)?;
        }
        // A full store stays full. So if it has this, it has all connections, and room for the
        // ledger after it has given this up.
        self.notifier.check_fd_store(&name(CANARY)?, self.time_max)?;
        self.extend()?;
        self.notifier.store_fds(&name(LEDGER)?, &[self.ledger.as_fd()], false)?;
        self.notifier.barrier(self.time_max).map_err(Failure::AtTheEnd)
    }

    /// Asks for more time, again after each second.
    fn extend(&mut self) -> Result<()> {
        if self.extended.is_some_and(|at| at.elapsed() < EXTENSION_INTERVAL) {
            return Ok(());
        }
        self.extended = Some(Instant::now());
        self.notifier.send(&[State::ExtendTimeout(2 * self.time_max)])
    }

    /// Checks the limits that the manager would notice too late: the service could not be started
    /// again.
    fn has_room(&self, connections: usize) -> Result<()> {
        let error = |message| Error::new(ErrorKind::Other, message);
        let needed = connections + 2;
        if let Some(max) = fds_max().filter(|max| *max < needed) {
            let message = format!("the fd store takes {max} descriptors, and {needed} are needed");
            return Err(error(message).remedy(format!("set FileDescriptorStoreMax={needed}")));
        }
        let most = self.connections_max;
        if connections > most {
            let message = format!("a process can be started with at most {most} connections");
            return Err(error(message).remedy("use a lower --connections-max"));
        }
        Ok(())
    }

    fn write(&mut self, kept: &Kept) -> Result<()> {
        let mut connections = Vec::with_capacity(kept.connections.len());
        for KeptConnection { fd, owed } in &kept.connections {
            let stat = fstat(fd).context("ask for the inode number of a connection")?;
            connections.push((stat.st_ino, owed.as_deref()));
        }
        let distinct: BTreeSet<_> = connections.iter().map(|(inode, _)| inode).collect();
        if distinct.len() < connections.len() {
            return Err(Error::new(ErrorKind::Other, "two sockets have the same inode number"));
        }
        let replies = kept.replies.iter();
        let replies: Vec<_> =
            replies.map(|replies| (replies.inode, Some(replies.bytes.as_slice()))).collect();
        let mut out = BufWriter::new(&self.ledger);
        ledger::write(&mut out, &connections, &replies).context("write the ledger to a memfd")?;
        fcntl_add_seals(&self.ledger, SEALS).context("seal the memfd of the ledger")
    }

    /// Makes the manager give up the connections again. It need not be waited for: without a ledger
    /// they are worth nothing.
    fn take_back(&self) {
        for stored in [CONNECTION, CANARY] {
            let removed = name(stored).and_then(|name| self.notifier.remove_fds(&name));
            removed.unwrap_or_else(|error| log::warn!("{error}"));
        }
    }

    /// Waits until the manager has processed all messages: it may ignore those of a process that
    /// has ended.
    fn wait(&self) {
        let passed = self.notifier.barrier(self.time_max);
        passed.unwrap_or_else(|error| log::debug!("{error}"));
    }
}

/// For example `2 connections and the replies of 1 datagram socket`.
fn in_words(kept: &Kept) -> String {
    let count = |number: usize, what: &str| {
        format!("{number} {what}{}", if number == 1 { "" } else { "s" })
    };
    let connections = count(kept.connections.len(), "connection");
    match kept.replies.len() {
        0 => connections,
        number => format!("{connections} and the replies of {}", count(number, "datagram socket")),
    }
}

/// How many connections fit into `LISTEN_FDNAMES` beside names of this length: the kernel takes no
/// longer variable than 32 pages (execve(2), `MAX_ARG_STRLEN`).
fn connections_max(names_len: usize, page_size: usize) -> usize {
    let others = "LISTEN_FDNAMES=".len() + names_len + LEDGER.len() + 1;
    let fitting = (32 * page_size).saturating_sub(others) / (CONNECTION.len() + 1);
    // More descriptors than sockets and a ledger are not taken either.
    fitting.min(LISTEN_FDS_MAX / 2)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    /// The longest variable that the kernel takes, and one byte more.
    #[test]
    fn as_many_connections_as_a_process_can_be_started_with() {
        let names = "echo.socket:";
        let count = connections_max(names.len(), rustix::param::page_size());
        let started = |count: usize| {
            let value = format!("{names}{}{LEDGER}", format!("{CONNECTION}:").repeat(count));
            crate::testing::output(Command::new("true").env("LISTEN_FDNAMES", value))
        };
        assert!(count >= 10_000, "{count}");
        assert!(started(count).expect("it is started").status.success());
        started(count + 1).expect_err("an argument is too long");
    }
}
