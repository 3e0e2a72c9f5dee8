//! How much memory this process may use.

use std::fs;
use std::path::Path;

use super::Cgroups;

/// The bytes of memory that this process may use: all of the machine's, or the least that its
/// control group or an ancestor is limited to (MemoryMax= and MemoryHigh= of
/// systemd.resource-control(5)). A container sees its own group as the root. A file that cannot be
/// read limits nothing.
pub fn memory_max() -> u64 {
    let machine = rustix::system::sysinfo();
    let machine = (machine.totalram as u64).saturating_mul(u64::from(machine.mem_unit));
    let groups = Cgroups::own();
    let unified = ["memory.max", "memory.high"];
    let limits = limits(groups.unified(), "/sys/fs/cgroup", &unified).chain(limits(
        groups.of_controller("memory"),
        "/sys/fs/cgroup/memory",
        &VERSION_1,
    ));
    limits.fold(machine, u64::min)
}

const VERSION_1: [&str; 1] = ["memory.limit_in_bytes"];

/// The limits of a group and of all its ancestors below `root`.
fn limits<'a>(
    group: Option<&str>,
    root: &'a str,
    files: &'a [&str],
) -> impl Iterator<Item = u64> + use<'a> {
    let path = group.map(|group| Path::new(root).join(group.trim_start_matches('/')));
    let mut groups = Vec::new();
    if let Some(path) = &path {
        let below = path.ancestors().take_while(|group| group.starts_with(root));
        groups.extend(below.map(Path::to_owned));
    }
    groups
        .into_iter()
        .flat_map(|group| files.iter().filter_map(move |file| limit(&group.join(file))))
}

/// The number in a file; `None` for `max`, which is no limit.
fn limit(path: &Path) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_limit_of_a_group_and_its_ancestors_counts() {
        let root = tempfile::tempdir().expect("a directory");
        let root = root.path().to_str().expect("a plain name");
        for (path, content) in [
            ("", "max\n"),
            ("/system.slice", "max\n"),
            ("/system.slice/echo.service", "500000\n"),
            ("/user.slice", "7\n"),
            ("/user.slice/a", "9\n"),
        ] {
            fs::create_dir_all(format!("{root}{path}")).expect("a directory");
            fs::write(format!("{root}{path}/memory.max"), content).expect("write");
        }
        fs::write(format!("{root}/system.slice/memory.high"), "300000\n").expect("write");
        for (group, least) in [
            (None, None),
            (Some("/"), None),
            (Some("/system.slice/echo.service"), Some(300_000)),
            (Some("/user.slice/a"), Some(7)),
            (Some("/user.slice/gone"), Some(7)),
            (Some("/../outside"), None),
        ] {
            let files = ["memory.max", "memory.high"];
            assert_eq!(limits(group, root, &files).min(), least, "{group:?}");
        }
        assert!(memory_max() > 0);
    }
}
