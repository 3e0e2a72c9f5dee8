//! What a process of a test uses, and which children it has: proc(5).

use std::time::{Duration, Instant};

use rustix::process::Pid;

use crate::kit::{DEADLINE, Process};

impl Process {
    /// A line of /proc/PID/status in KiB, for example `VmHWM`, the most memory that was resident.
    pub(crate) fn memory_kib(&self, line: &str) -> u64 {
        let pid = self.pid().as_raw_nonzero();
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
        let value = status.lines().find_map(|status| status.strip_prefix(line)?.strip_prefix(':'));
        let kib = value.and_then(|value| value.trim().strip_suffix(" kB"));
        kib.and_then(|kib| kib.parse().ok()).unwrap_or_else(|| panic!("no {line}:\n{status}"))
    }

    /// The memory that is its own: what it has allocated and written to. The kernel counts it page
    /// by page here, and only roughly in /proc/PID/status.
    pub(crate) fn anonymous_kib(&self) -> u64 {
        let pid = self.pid().as_raw_nonzero();
        let rollup = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).expect("it runs");
        let value = rollup.lines().find_map(|line| line.strip_prefix("Anonymous:"));
        let kib = value.and_then(|value| value.trim().strip_suffix(" kB"));
        kib.and_then(|kib| kib.parse().ok()).unwrap_or_else(|| panic!("{rollup}"))
    }

    /// The time that all of its threads were on a processor, in the scheduler's nanoseconds:
    /// /proc/PID/stat counts ticks of 10 ms.
    pub(crate) fn cpu_time(&self) -> Duration {
        Duration::from_nanos(self.schedstat(0))
    }

    /// How often its threads were put on a processor: 0 times in a while in which all of them sleep,
    /// however busy the machine is.
    pub(crate) fn times_run(&self) -> u64 {
        self.schedstat(2)
    }

    /// Waits for a while, as long as `window`, in which its threads are put on a processor so often at
    /// most.
    #[track_caller]
    pub(crate) fn expect_rest(&self, window: Duration, most: u64) {
        let end = Instant::now() + DEADLINE;
        loop {
            let before = self.times_run();
            std::thread::sleep(window);
            let runs = self.times_run() - before;
            if runs <= most {
                return;
            }
            assert!(Instant::now() < end, "{runs} times in {window:?}: {}", self.describe());
        }
    }

    /// The sum of a field of /proc/PID/task/TID/schedstat over all threads.
    fn schedstat(&self, field: usize) -> u64 {
        let pid = self.pid().as_raw_nonzero();
        let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).expect("it runs").flatten();
        let values = tasks.map(|task| {
            let schedstat = std::fs::read_to_string(task.path().join("schedstat"));
            let schedstat = schedstat.expect("a kernel with scheduler statistics");
            let value =
                schedstat.split_whitespace().nth(field).and_then(|value| value.parse().ok());
            value.unwrap_or(0)
        });
        values.sum()
    }

    pub(crate) fn children(&self) -> Vec<Pid> {
        children(self.pid())
    }
}

pub(crate) fn children(of: Pid) -> Vec<Pid> {
    let pid = of.as_raw_nonzero();
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
    let children = children.expect("the kernel lists children");
    children.split_whitespace().filter_map(|pid| Pid::from_raw(pid.parse().ok()?)).collect()
}
