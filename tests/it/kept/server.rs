//! A server in a thread of this process, and the sockets that its manager holds.

use std::os::fd::{AsFd, OwnedFd};
use std::thread::JoinHandle;
use std::time::Duration;

use socket_activate_echo::activator::Bound;
use socket_activate_echo::address::Address;
use socket_activate_echo::error::Result;
use socket_activate_echo::server::{
    self, Config, Ended, Kept, Limits, Shutdown, Statistics, Trigger,
};

use crate::kit::{DEADLINE, Dir};
use crate::workers::inherited;

#[derive(Clone, Copy)]
pub(super) struct Options {
    pub(super) workers: usize,
    pub(super) stream_buffer_bytes: usize,
    pub(super) connections_max: u32,
}

impl Default for Options {
    fn default() -> Self {
        Self { workers: 1, stream_buffer_bytes: 256 * 1024, connections_max: u32::MAX }
    }
}

pub(super) struct Server {
    bound: Vec<Bound>,
    options: Options,
    running: Option<(Trigger, JoinHandle<Result<Ended>>)>,
    /// What those that have ended have counted.
    pub(super) total: Statistics,
}

impl Server {
    /// A server for these addresses, with files in `dir`.
    pub(super) fn start(addresses: &[&str], dir: &Dir, options: Options) -> Self {
        let dir = dir.path("").display().to_string();
        let address = |text: &&str| text.replace("DIR/", &dir).parse().expect("an address");
        let bind = |address: Address| Bound::new(&address, 128, "test").expect("bind");
        let bound = addresses.iter().map(address).map(bind).collect();
        let mut server = Self { bound, options, running: None, total: Statistics::default() };
        server.go_on(Kept::default());
        server
    }

    /// A server for these sockets, which nobody else holds.
    pub(super) fn with(sockets: Vec<OwnedFd>, options: Options) -> Self {
        let total = Statistics::default();
        let mut server = Self { bound: Vec::new(), options, running: None, total };
        server.run(sockets, Kept::default());
        server
    }

    pub(super) fn address(&self, number: usize) -> &Address {
        self.bound[number].address().expect("an address")
    }

    /// The next process.
    pub(super) fn go_on(&mut self, kept: Kept) {
        let sockets = self.bound.iter().map(|bound| bound.as_fd().try_clone_to_owned());
        let sockets = sockets.collect::<std::io::Result<_>>().expect("dup");
        self.run(sockets, kept);
    }

    fn run(&mut self, sockets: Vec<OwnedFd>, kept: Kept) {
        let (trigger, shutdown) = Shutdown::on_trigger().expect("eventfd");
        let config = config(self.options, true);
        let sockets = sockets.into_iter().map(inherited).collect();
        let thread =
            std::thread::spawn(move || server::run(sockets, kept, &config, &shutdown, &mut ()));
        self.running = Some((trigger, thread));
    }

    /// Stops it, and returns what it keeps.
    pub(super) fn stop(&mut self) -> Ended {
        let (trigger, thread) = self.running.take().expect("it runs");
        trigger.pull();
        let ended = thread.join().expect("no panic").expect("it ends well");
        self.total += ended.statistics;
        ended
    }

    /// Stops it, looks at what it keeps, and goes on with that.
    pub(super) fn restart<T>(&mut self, look: impl FnOnce(&Ended) -> T) -> T {
        let ended = self.stop();
        let seen = look(&ended);
        self.go_on(ended.kept);
        seen
    }

    /// Stops it, and drains what it keeps, as if nobody had taken it. Returns what all of them have
    /// counted.
    pub(super) fn drain(mut self) -> Statistics {
        let ended = self.stop();
        self.drain_kept(ended);
        self.total
    }

    /// Drains what nobody has taken.
    pub(super) fn drain_kept(&mut self, ended: Ended) {
        let (trigger, shutdown) = Shutdown::on_trigger().expect("eventfd");
        trigger.pull();
        let config = config(self.options, false);
        let sockets = ended.datagram_sockets;
        let drained = server::run(sockets, ended.kept, &config, &shutdown, &mut ());
        let drained = drained.expect("it ends well");
        assert!(drained.kept.connections.is_empty() && drained.kept.replies.is_empty());
        self.total += drained.statistics;
    }
}

fn config(options: Options, keeps_connections: bool) -> Config {
    let Options { workers, stream_buffer_bytes, connections_max } = options;
    let limits = Limits {
        stream_buffer_bytes,
        connections_max,
        deferred_reply_age_max: Duration::from_secs(3600),
        drain_time_max: DEADLINE,
        ..Limits::default()
    };
    Config { limits, workers, keeps_connections, ..Config::default() }
}
