//! The processes that an engine has started.

use std::sync::OnceLock;

use rustix::process::{Pid, Signal, kill_process};

use super::case::Miss;
use crate::proc::{self, Process};

/// The processes that were started by this one, and by those.
pub(super) fn descendants() -> Vec<Process> {
    proc::processes().filter_map(Process::of).filter(is_descendant).collect()
}

fn is_descendant(process: &Process) -> bool {
    let own = std::process::id();
    proc::ancestry(process.parent).iter().any(|above| above.pid == own)
}

/// Whether it has the name of this program. The kernel cuts names to 15 bytes.
pub(super) fn is_program(process: &Process) -> bool {
    static OWN: OnceLock<Option<String>> = OnceLock::new();
    let own = OWN.get_or_init(|| Process::of(std::process::id()).map(|own| own.name));
    own.as_ref() == Some(&process.name)
}

/// The id that a process has in its innermost PID namespace: proc_pid_status(5).
pub(super) fn inner_pid(pid: u32) -> Option<u32> {
    let status = proc::Fields::of(pid, "status");
    status.get("NSpid")?.split_whitespace().next_back()?.parse().ok()
}

/// Ends what an engine has left of the program, as a service manager does with what remains in a
/// control group: systemd.kill(5). Helpers of the engine may have work to do, and go on.
pub(super) fn end_programs() {
    let programs = proc::processes().filter_map(Process::of).filter(is_program);
    for process in programs.filter(is_descendant) {
        if let Some(pid) = i32::try_from(process.pid).ok().and_then(Pid::from_raw) {
            let _ = kill_process(pid, Signal::KILL);
        }
    }
}

/// The process of the program, by the id that it has inside.
pub(super) fn program(inside: u32) -> Result<u32, Miss> {
    let mut found = descendants().into_iter().filter(is_program);
    let is_it = |process: &Process| inner_pid(process.pid) == Some(inside);
    let program = found.find(is_it).map(|process| process.pid);
    program.ok_or_else(|| Miss::Skip("the process of the program is not visible here".to_owned()))
}
