//! The server's process, if it runs on this machine: who holds the socket, what it uses.

use std::collections::{BTreeMap, BTreeSet};

use super::settings::Settings;
use super::target::Target;
use crate::proc::{self, Fields, Process};

/// The processes that serve an address.
#[derive(Debug)]
pub(super) struct Server {
    pids: Vec<u32>,
}

/// CPU time, user and system together.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cpu {
    /// Nanoseconds on a CPU, of all threads and children that are still there.
    pub(super) nanoseconds: u64,
}

impl Cpu {
    /// What was used since `start`.
    pub(super) fn since(self, start: Self) -> Self {
        Self { nanoseconds: self.nanoseconds.saturating_sub(start.nanoseconds) }
    }
}

impl Server {
    /// The server of `target`: the process that `--server-pid` names, or whoever holds the socket
    /// as far as `/proc` shows it. `None` on another machine or without the permission to look.
    pub(super) fn find(target: &Target, settings: &Settings) -> Option<Self> {
        if let Some(pid) = settings.server_pid {
            return Some(Self { pids: vec![pid] });
        }
        let mut pids = proc::holders(&proc::serving(&target.address.to_client()));
        pids.retain(|pid| *pid != std::process::id());
        // A service manager keeps the socket that it hands over: only the last of a line of
        // processes that hold it serves it.
        let parents = |pid: &u32| proc::ancestry(*pid).into_iter().map(|process| process.parent);
        let parents: BTreeSet<u32> = pids.iter().flat_map(parents).collect();
        pids.retain(|pid| !parents.contains(pid));
        (!pids.is_empty()).then_some(Self { pids })
    }

    /// What its threads and the children that are still there have used so far.
    pub(super) fn cpu(&self) -> Option<Cpu> {
        let mut children = children();
        let mut nanoseconds = None;
        let mut rest = self.pids.clone();
        while let Some(pid) = rest.pop() {
            if let Some(used) = proc::cpu_nanoseconds(pid) {
                nanoseconds = Some(nanoseconds.unwrap_or(0) + used);
            }
            // Taken, so that numbers that were given anew while they were read make no circle.
            rest.extend(children.remove(&pid).into_iter().flatten());
        }
        nanoseconds.map(|nanoseconds| Cpu { nanoseconds })
    }

    /// Bytes of memory that are resident for it, and those of them that no file backs.
    pub(super) fn memory(&self) -> Option<(u64, u64)> {
        let mut sum = (0, 0);
        for pid in &self.pids {
            // The counters of /proc/PID/status lag behind by some pages for each CPU; this adds up
            // the page tables themselves.
            let memory = Fields::of(*pid, "smaps_rollup");
            sum.0 += memory.bytes("Rss")?;
            sum.1 += memory.bytes("Anonymous")?;
        }
        Some(sum)
    }
}

/// The processes that each process started.
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
