//! Processes: their names, parents, descriptors and resource use.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::str::FromStr;

use super::Socket;
use crate::text::Escaped;

/// A process: its id, its parent's id and its name.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "cli", derive(serde::Serialize))]
pub struct Process {
    /// The process id.
    pub pid: u32,
    /// The parent's process id; 0 if it is outside of our PID namespace.
    pub parent: u32,
    /// The name of the executable, cut to 15 bytes as proc_pid_comm(5) says. The process chooses it
    /// freely, so it is kept as [`Escaped`] shows it.
    pub name: String,
}

impl Process {
    /// Reads /proc/PID/stat; `None` if there is no such process, or no /proc.
    pub fn of(pid: u32) -> Option<Self> {
        Self::parse(pid, &fs::read(format!("/proc/{pid}/stat")).ok()?)
    }

    /// The name is in parentheses and may contain parentheses, so it ends at the last one.
    fn parse(pid: u32, stat: &[u8]) -> Option<Self> {
        let start = stat.iter().position(|&byte| byte == b'(')? + 1;
        let end = stat.iter().rposition(|&byte| byte == b')')?;
        let name = Escaped::of_bytes(stat.get(start..end)?).to_string();
        let after = std::str::from_utf8(&stat[end + 1..]).ok()?;
        let parent = after.split_ascii_whitespace().nth(1)?.parse().ok()?;
        Some(Self { pid, parent, name })
    }
}

/// The chain of processes from `pid` up to the first one, `pid` first.
pub fn ancestry(pid: u32) -> Vec<Process> {
    /// More than any real chain has; it ends the search if process ids are reused meanwhile.
    const DEPTH_MAX: usize = 64;
    let parent = |process: &Process| Process::of(process.parent);
    std::iter::successors(Process::of(pid), parent).take(DEPTH_MAX).collect()
}

/// An argument of the process's command line; 0 is the program. The process can change them.
pub fn argument(pid: u32, index: usize) -> Option<Vec<u8>> {
    let arguments = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    arguments.split(|&byte| byte == 0).nth(index).map(<[u8]>::to_vec)
}

/// A variable of the environment with which the process was started.
pub fn variable(pid: u32, name: &str) -> Option<String> {
    let environment = lossy(&format!("/proc/{pid}/environ"));
    let mut variables = environment.split('\0');
    variables.find_map(|one| Some(one.strip_prefix(name)?.strip_prefix('=')?.to_owned()))
}

/// Which process has the id `pid`: `process 7 is sh`, or that there is none.
pub(crate) fn describe(pid: u32) -> String {
    match Process::of(pid) {
        Some(process) => format!("process {pid} is {}", process.name),
        None => format!("there is no process {pid}"),
    }
}

/// The chain in one line, for example `7 (serve) < 5 (sh) < 1 (catatonit)`.
pub(crate) fn describe_chain(chain: &[Process]) -> String {
    let links: Vec<_> = chain.iter().map(|one| format!("{} ({})", one.pid, one.name)).collect();
    links.join(" < ")
}

/// The ids of all processes of our PID namespace.
pub fn processes() -> impl Iterator<Item = u32> {
    numbers("/proc".to_owned())
}

/// The entries of a directory that are numbers; none if it cannot be read.
fn numbers<N: FromStr>(directory: String) -> impl Iterator<Item = N> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// The descriptors that this process has open, including the one that lists them.
pub fn own_descriptors() -> Vec<i32> {
    numbers("/proc/self/fd".to_owned()).collect()
}

/// The target of a descriptor's link in /proc/self/fd: a path, or a type and an inode number.
pub fn own_descriptor_target(number: i32) -> Option<PathBuf> {
    fs::read_link(format!("/proc/self/fd/{number}")).ok()
}

/// How many descriptors a process has open; `None` if there is no such process, or this user may not
/// see them: proc_pid_fd(5).
#[cfg(feature = "cli")]
pub(crate) fn descriptors(pid: u32) -> Option<usize> {
    Some(fs::read_dir(format!("/proc/{pid}/fd")).ok()?.flatten().count())
}

/// The processes that have one of the sockets open. Only root sees the descriptors of other users.
pub fn holders(sockets: &[Socket]) -> Vec<u32> {
    let link = |socket: &Socket| format!("socket:[{}]", socket.inode);
    let links: BTreeSet<_> = sockets.iter().map(link).collect();
    let is_wanted = |pid: u32, fd: u32| {
        let link = fs::read_link(format!("/proc/{pid}/fd/{fd}"));
        link.is_ok_and(|link| link.to_str().is_some_and(|link| links.contains(link)))
    };
    let holds = |&pid: &u32| numbers(format!("/proc/{pid}/fd")).any(|fd| is_wanted(pid, fd));
    if links.is_empty() { Vec::new() } else { processes().filter(holds).collect() }
}

/// The CPU time of a process in nanoseconds: user and system time of its present threads.
/// /proc/PID/stat counts only in ticks of 10 ms.
pub fn cpu_nanoseconds(pid: u32) -> Option<u64> {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).ok()?;
    let used = threads.flatten().filter_map(|thread| {
        let text = fs::read_to_string(thread.path().join("schedstat")).ok()?;
        text.split_whitespace().next()?.parse::<u64>().ok()
    });
    Some(used.sum())
}

/// A file of lines `Name: value`, such as /proc/PID/status. The kernel escapes the newlines of a
/// process name there.
#[derive(Debug, Clone, Default)]
pub struct Fields(String);

impl Fields {
    /// Reads /proc/PID/`file`; empty if it cannot be read.
    pub fn of(pid: u32, file: &str) -> Self {
        Self(lossy(&format!("/proc/{pid}/{file}")))
    }

    /// The status of this process, also where /proc is that of another PID namespace.
    pub fn own_status() -> Self {
        Self(lossy("/proc/self/status"))
    }

    /// The value of a field, without the white space around it.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.lines().find_map(|line| Some(line.strip_prefix(name)?.strip_prefix(':')?.trim()))
    }

    /// The value of a field with the unit `kB`, in bytes.
    pub fn bytes(&self, name: &str) -> Option<u64> {
        let kilobytes: u64 = self.get(name)?.strip_suffix("kB")?.trim().parse().ok()?;
        kilobytes.checked_mul(1024)
    }
}

/// The control groups of a process: cgroups(7). The kernel allows no newline in their names.
#[derive(Debug, Clone, Default)]
pub struct Cgroups(String);

impl Cgroups {
    /// The control groups of this process; none without /proc.
    pub fn own() -> Self {
        Self(lossy("/proc/self/cgroup"))
    }

    /// The path in the unified hierarchy (version 2).
    pub fn unified(&self) -> Option<&str> {
        self.0.lines().find_map(|line| line.strip_prefix("0::"))
    }

    /// The path in the version 1 hierarchy of a controller.
    pub fn of_controller(&self, name: &str) -> Option<&str> {
        self.0.lines().find_map(|line| {
            let (_, rest) = line.split_once(':')?;
            let (controllers, path) = rest.split_once(':')?;
            controllers.split(',').any(|controller| controller == name).then_some(path)
        })
    }

    /// The path that ends with the unit's name under systemd. A container with its own cgroup
    /// namespace sees only the root.
    pub fn of_unit(&self) -> Option<&str> {
        let systemd = || self.0.lines().find_map(|line| line.split_once(":name=systemd:"));
        match self.unified() {
            None | Some("/") => systemd().map(|(_, path)| path),
            found => found,
        }
    }
}

/// The security label of this process (proc_pid_attr(5)), if a security module gave it one.
pub fn security_label() -> Option<String> {
    let label = lossy("/proc/self/attr/current");
    let label = label.trim_end_matches(['\0', '\n']);
    (!label.is_empty()).then(|| label.to_owned())
}

/// A setting of the kernel, by its path below /proc/sys.
pub fn sysctl(path: &str) -> Option<String> {
    Some(fs::read_to_string(format!("/proc/sys/{path}")).ok()?.trim().to_owned())
}

fn lossy(path: &str) -> String {
    String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_process_may_have_any_name(name: Vec<u8>, pid: u32, parent: u32) {
            let stat = [b"7 (", &name[..], format!(") S {parent} 7 7 0 -1").as_bytes()].concat();
            let name = Escaped::of_bytes(&name).to_string();
            prop_assert_eq!(Process::parse(pid, &stat), Some(Process { pid, parent, name }));
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(bytes: Vec<u8>) {
            let _ = Process::parse(7, &bytes);
            let text = String::from_utf8_lossy(&bytes).into_owned();
            let _ = Fields(format!("{text}:{text}")).bytes(&text);
            let _ = Cgroups(text).of_unit();
        }
    }

    #[test]
    fn our_own_process() {
        let chain = ancestry(std::process::id());
        assert_eq!(chain[0].pid, std::process::id());
        assert_eq!(chain[0].parent, std::os::unix::process::parent_id());
        assert!(chain.len() > 1);
        assert_eq!(Process::parse(7, b"7 )(  S 5"), None);
        assert!(cpu_nanoseconds(std::process::id()) > Some(0));
        let program = argument(std::process::id(), 0).expect("it has a command line");
        assert!(String::from_utf8_lossy(&program).contains("socket_activate_echo"));
        assert_eq!(argument(std::process::id(), 9999), None);
    }

    #[test]
    fn control_groups() {
        for (text, unified, of_unit) in [
            ("0::/a.slice/e.service\n", Some("/a.slice/e.service"), Some("/a.slice/e.service")),
            ("3:cpu:/x\n1:name=systemd:/user.slice\n0::/\n", Some("/"), Some("/user.slice")),
            ("3:cpu:/a\n", None, None),
            ("", None, None),
        ] {
            let groups = Cgroups(text.to_owned());
            assert_eq!((groups.unified(), groups.of_unit()), (unified, of_unit), "{text}");
        }
        let groups = Cgroups("4:cpu,cpuacct:/a:b\n3:cpuset:/c\n0::/d\n".to_owned());
        for (controller, path) in
            [("cpu", Some("/a:b")), ("cpuacct", Some("/a:b")), ("cpuset", Some("/c")), ("io", None)]
        {
            assert_eq!(groups.of_controller(controller), path, "{controller}");
        }
    }

    #[test]
    fn fields_of_status() {
        let status =
            Fields("Name:\tx\nSeccomp:\t2\nSeccomp_filters:\t1\nVmRSS:\t  12 kB\n".to_owned());
        assert_eq!(status.get("Seccomp"), Some("2"));
        assert_eq!(status.get("CapEff"), None);
        assert_eq!((status.bytes("VmRSS"), status.bytes("Seccomp")), (Some(12 << 10), None));
    }
}
