//! The process of the server, if it runs on this machine: its CPU time and its memory.

use std::collections::{BTreeMap, BTreeSet};

use super::settings::Settings;
use super::target::Target;
use crate::proc::{self, Fields, Process};

/// The processes that serve an address.
#[derive(Debug)]
pub(super) struct Server {
    pids: Vec<u32>,
}

/// The user and system CPU time.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cpu {
    /// Nanoseconds of CPU time of all threads and children that still exist.
    pub(super) nanoseconds: u64,
}

impl Cpu {
    /// The CPU time since `start`.
    pub(super) fn since(self, start: Self) -> Self {
        Self { nanoseconds: self.nanoseconds.saturating_sub(start.nanoseconds) }
    }
}

impl Server {
    /// The server of `target`: the process of `--server-pid`, or the process that `/proc` shows as
    /// the holder of the socket. `None` on another machine, or without permission.
    pub(super) fn find(target: &Target, settings: &Settings) -> Option<Self> {
        if let Some(pid) = settings.server_pid {
            return Some(Self { pids: vec![pid] });
        }
        let mut pids = proc::holders(&proc::serving(&target.address.to_client()));
        pids.retain(|pid| *pid != std::process::id());
        // A service manager keeps the socket that it hands over. So in a chain of processes that
        // hold it, the last one serves it.
        let parents = |pid: &u32| proc::ancestry(*pid).into_iter().map(|process| process.parent);
        let parents: BTreeSet<u32> = pids.iter().flat_map(parents).collect();
        pids.retain(|pid| !parents.contains(pid));
        (!pids.is_empty()).then_some(Self { pids })
    }

    /// The CPU time of its threads and existing children so far.
    pub(super) fn cpu(&self) -> Option<Cpu> {
        let mut children = children();
        let mut nanoseconds = None;
        let mut rest = self.pids.clone();
        while let Some(pid) = rest.pop() {
            if let Some(used) = proc::cpu_nanoseconds(pid) {
                nanoseconds = Some(nanoseconds.unwrap_or(0) + used);
            }
            // Removed from the map, so that process ids that were reused meanwhile cannot form a
            // cycle.
            rest.extend(children.remove(&pid).into_iter().flatten());
        }
        nanoseconds.map(|nanoseconds| Cpu { nanoseconds })
    }

    /// Its resident bytes of memory, and how many of these have no file behind them.
    pub(super) fn memory(&self) -> Option<(u64, u64)> {
        let mut sum = (0, 0);
        for pid in &self.pids {
            // The counters of /proc/PID/status lag by some pages for each CPU. This file sums up
            // the page tables.
            let memory = Fields::of(*pid, "smaps_rollup");
            sum.0 += memory.bytes("Rss")?;
            sum.1 += memory.bytes("Anonymous")?;
        }
        Some(sum)
    }
}

/// The children of each process.
fn children() -> BTreeMap<u32, Vec<u32>> {
    let mut children = BTreeMap::<u32, Vec<u32>>::new();
    for process in proc::processes().filter_map(Process::of) {
        children.entry(process.parent).or_default().push(process.pid);
    }
    children
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_cpu_time_and_memory_can_be_seen() {
        let this = Server { pids: vec![std::process::id()] };
        assert!(this.cpu().unwrap().nanoseconds > 0);
        let (resident, anonymous) = this.memory().unwrap();
        assert!(resident >= anonymous && anonymous > 0);
    }
}
