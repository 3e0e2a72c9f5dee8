//! How many processors this process may use.

use std::fs;
use std::path::Path;

use crate::proc::Cgroups;

/// How many processors this process may run on: sched_getaffinity(2).
pub(super) fn usable() -> u32 {
    rustix::thread::sched_getaffinity(None).map_or(1, |set| set.count())
}

/// Whether one processor may be kept busy all the time: there is another one for other processes,
/// and no quota forbids it. A file that cannot be read forbids nothing.
pub(super) fn one_may_be_busy() -> bool {
    let online = fs::read_to_string("/sys/devices/system/cpu/online");
    let is_only_one = online.is_ok_and(|online| !online.contains(['-', ',']));
    !is_only_one && quotas_allow_one()
}

fn quotas_allow_one() -> bool {
    let groups = Cgroups::own();
    let read = |group: &Path, file| fs::read_to_string(group.join(file)).unwrap_or_default();
    let unified = |group: &Path| allows_one(&read(group, "cpu.max"));
    // Version 1 has a separate file for each of the two numbers.
    let version_1 = |group: &Path| {
        allows_one(&(read(group, "cpu.cfs_quota_us") + &read(group, "cpu.cfs_period_us")))
    };
    all_allow(groups.unified(), "/sys/fs/cgroup", unified)
        && all_allow(groups.of_controller("cpu"), "/sys/fs/cgroup/cpu", version_1)
}

/// Whether a group and all its ancestors allow it, because each of them can have a limit. A
/// container sees its own group as the root.
fn all_allow(group: Option<&str>, root: &str, allows: impl Fn(&Path) -> bool) -> bool {
    let Some(group) = group else { return true };
    let path = Path::new(root).join(group.trim_start_matches('/'));
    path.ancestors().take_while(|group| group.starts_with(root)).all(allows)
}

/// Whether a quota and a period in microseconds allow at least one whole processor.
fn allows_one(quota: &str) -> bool {
    let mut fields = quota.split_whitespace().map(str::parse::<u64>);
    match (fields.next(), fields.next()) {
        (Some(Ok(quota)), Some(Ok(period))) => quota >= period,
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotas() {
        for (max, allows) in [
            ("max 100000\n", true),
            ("100000 100000\n", true),
            ("200000 100000\n", true),
            ("99999 100000\n", false),
            ("-1\n100000\n", true),
            ("50000\n100000\n", false),
            ("", true),
        ] {
            assert_eq!(allows_one(max), allows, "{max:?}");
        }
    }
}
