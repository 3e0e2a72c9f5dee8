//! Who started us: what turns "another process" into a name.

use std::fs;

use crate::text::Escaped;

/// A process as /proc tells it: its id, its parent's id and its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ancestor {
    /// The process id.
    pub pid: u32,
    /// The parent's process id; 0 if it is outside of our PID namespace.
    pub parent: u32,
    /// The name of the executable, cut to 15 bytes as proc_pid_comm(5) says. The process chooses it
    /// freely, so it is kept as [`Escaped`] shows it.
    pub name: String,
}

impl Ancestor {
    /// Reads /proc/PID/stat; `None` if there is no such process, or no /proc.
    pub fn of(pid: u32) -> Option<Self> {
        Self::parse(pid, &fs::read(format!("/proc/{pid}/stat")).ok()?)
    }

    // The name is in parentheses and may itself have some, so it ends at the last one.
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
pub fn ancestry(pid: u32) -> Vec<Ancestor> {
    /// Enough for any real chain, and an end if processes are replaced while we look.
    const DEPTH_MAX: usize = 64;
    let mut chain = Vec::new();
    let mut next = pid;
    while next != 0 && chain.len() < DEPTH_MAX {
        let Some(process) = Ancestor::of(next) else { break };
        next = process.parent;
        chain.push(process);
    }
    chain
}

/// The chain in one line, for example `7 (serve) < 5 (sh) < 1 (catatonit)`.
pub(super) fn describe(chain: &[Ancestor]) -> String {
    let links: Vec<_> =
        chain.iter().map(|process| format!("{} ({})", process.pid, process.name)).collect();
    links.join(" < ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_whatever_the_process_chose() {
        for (stat, name) in [
            (&b"7 (a) b (c) S 5 7 7 0 -1"[..], "a) b (c"),
            (b"7 (\x1b[31m\n) S 1 2) S 5 7 7 0 -1", r"\x1b[31m\x0a) S 1 2"),
            (b"7 (\xff\xe2\x80\xae) S 5 7 7 0 -1", r"\xff\xe2\x80\xae"),
            (b"7 () S 5 7 7 0 -1", ""),
        ] {
            let process = Ancestor::parse(7, stat).expect("parses");
            assert_eq!((process.parent, process.name.as_str()), (5, name));
        }
        assert_eq!(Ancestor::parse(7, b"7 )(  S 5"), None);
    }

    #[test]
    fn our_own_chain_starts_with_us_and_has_our_parent() {
        let chain = ancestry(std::process::id());
        assert_eq!(chain[0].pid, std::process::id());
        assert_eq!(chain[0].parent, std::os::unix::process::parent_id());
        assert!(describe(&chain).contains(" < "));
    }
}
