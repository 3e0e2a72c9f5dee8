//! How much of the machine this process may use.

use std::fs;
use std::path::Path;

use crate::proc::Cgroups;

/// How many processors this process may run on: sched_getaffinity(2).
pub(super) fn usable() -> u32 {
    rustix::thread::sched_getaffinity(None).map_or(1, |set| set.count())
}

/// Whether one processor may be kept busy all the time: there is another one for everybody else,
/// and no quota is in the way. What cannot be read is not in the way.
pub(super) fn one_may_be_busy() -> bool {
    let online = fs::read_to_string("/sys/devices/system/cpu/online");
    let is_only_one = online.is_ok_and(|online| !online.contains(['-', ',']));
    !is_only_one && quotas_allow_one()
}

fn quotas_allow_one() -> bool {
    let groups = Cgroups::own();
    let Some(path) = groups.unified() else { return true };
    // A limit of any ancestor counts. A container sees its own group as the root.
    let root = Path::new("/sys/fs/cgroup");
    let group = root.join(path.trim_start_matches('/'));
    group
        .ancestors()
        .take_while(|group| group.starts_with(root))
        .all(|group| fs::read_to_string(group.join("cpu.max")).map_or(true, |max| allows_one(&max)))
}

/// Whether `cpu.max`, a quota and a period in microseconds, is at least one whole processor.
fn allows_one(max: &str) -> bool {
    let mut fields = max.split_whitespace().map(str::parse::<u64>);
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
            ("", true),
        ] {
            assert_eq!(allows_one(max), allows, "{max:?}");
        }
    }
}
