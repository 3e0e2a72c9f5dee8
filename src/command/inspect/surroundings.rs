//! What seems to have started this process, and what may forbid its system calls.

use std::fs;

use super::report::{Activator, Confinement, Sandbox};
use crate::activation::{Environment, Inherited, ancestry};
use crate::proc::{Cgroups, Fields, security_label};
use crate::sandbox::Available;

pub(super) fn activator(environment: &Environment, inherited: Option<&Inherited>) -> Activator {
    let pid = std::process::id();
    let chain = ancestry(pid);
    let clues = Clues {
        pid,
        container: container(),
        systemd_exec_pid: text("SYSTEMD_EXEC_PID").and_then(|pid| pid.parse().ok()),
        invocation: text("INVOCATION_ID").is_some(),
        listen_pid: environment.listen_pid.is_some() && inherited.is_some(),
        is_standard_input: inherited.is_some_and(Inherited::is_standard_input),
        is_wrong: environment.is_set() && inherited.is_none(),
        parent: chain.get(1).map(|parent| parent.name.clone()),
    };
    Activator {
        guess: clues.guess(),
        cgroup: Cgroups::own().of_unit().map(str::to_owned),
        ancestry: chain,
    }
}

fn text(variable: &str) -> Option<String> {
    std::env::var_os(variable).map(|value| value.to_string_lossy().into_owned())
}

/// The container engine of this process: the variable of systemd's container interface, or the file
/// that Podman and Docker create in each container.
pub(in crate::command) fn container() -> Option<String> {
    text("container")
        .or_else(|| fs::read_to_string("/run/.containerenv").ok().map(|file| engine(&file)))
        .or_else(|| fs::exists("/.dockerenv").ok()?.then(|| "docker".to_owned()))
}

/// The engine in the containerenv file of podman-run(1); for an unprivileged container, the file is
/// empty.
fn engine(containerenv: &str) -> String {
    let named = containerenv.lines().find_map(|line| line.strip_prefix("engine="));
    named.map_or("podman", |name| name.trim_matches('"')).to_owned()
}

/// What the environment and /proc show.
struct Clues {
    pid: u32,
    container: Option<String>,
    systemd_exec_pid: Option<u32>,
    invocation: bool,
    /// `LISTEN_FDS` handed over descriptors.
    listen_pid: bool,
    /// Standard input is a socket that was handed over.
    is_standard_input: bool,
    /// Variables announce descriptors, but are wrong.
    is_wrong: bool,
    parent: Option<String>,
}

impl Clues {
    fn guess(&self) -> String {
        let parent = self.parent.as_deref().unwrap_or("a process outside of this PID namespace");
        let Self { pid, .. } = self;
        // An engine hands descriptors to the first process of the container. An activator that runs
        // inside has another process id.
        if let (Some(container), 1, true) = (&self.container, *pid, self.listen_pid) {
            return format!("{container}, which passes on what it received");
        }
        match self.systemd_exec_pid {
            Some(exec) if exec == *pid => return "systemd, as a process of a unit".to_owned(),
            Some(exec) if self.invocation && !self.listen_pid => {
                return format!("{parent}, below process {exec}, which systemd started for a unit");
            }
            _ => {}
        }
        if self.is_standard_input {
            return "inetd, systemd with StandardInput=socket, or an activator with --inetd"
                .to_owned();
        }
        if self.listen_pid {
            return "an activator such as systemd-socket-activate or `socket-activate-echo activate`"
                .to_owned();
        }
        match &self.container {
            _ if self.is_wrong => {
                format!(
                    "unknown: the parent is {parent}, and the LISTEN_ variables are not valid for this process"
                )
            }
            Some(container) => format!(
                "none: {parent} started this process without sockets; {container} received none, \
                 or does not pass them on"
            ),
            None => format!("none: {parent} started this process without sockets"),
        }
    }
}

pub(super) fn confinement() -> Confinement {
    let status = Fields::own_status();
    let Available { no_new_privileges, landlock_abi, seccomp } = Available::here();
    Confinement {
        uid: rustix::process::geteuid().as_raw(),
        gid: rustix::process::getegid().as_raw(),
        container: container(),
        security_label: security_label(),
        seccomp: status.get("Seccomp").and_then(|mode| match mode {
            "0" => Some("off"),
            "1" => Some("strict"),
            "2" => Some("filter"),
            _ => None,
        }),
        no_new_privileges: status.get("NoNewPrivs").map(|value| value == "1"),
        capabilities: status.get("CapEff").map(str::to_owned),
        sandbox: Sandbox { no_new_privileges, landlock_abi, seccomp },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clues() -> Clues {
        Clues {
            pid: 7,
            container: None,
            systemd_exec_pid: None,
            invocation: false,
            listen_pid: false,
            is_standard_input: false,
            is_wrong: false,
            parent: Some("bash".into()),
        }
    }

    #[test]
    fn guesses() {
        for (clues, guess) in [
            (clues(), "none: bash started this process"),
            (Clues { parent: None, ..clues() }, "outside of this PID namespace"),
            (Clues { listen_pid: true, ..clues() }, "an activator such as"),
            (Clues { is_wrong: true, ..clues() }, "unknown: the parent is bash"),
            (Clues { is_standard_input: true, ..clues() }, "StandardInput=socket"),
            (Clues { systemd_exec_pid: Some(7), ..clues() }, "systemd, as a process of a unit"),
            (
                Clues { systemd_exec_pid: Some(5), invocation: true, ..clues() },
                "bash, below process 5, which systemd",
            ),
            (
                Clues { container: Some("podman".into()), pid: 1, listen_pid: true, ..clues() },
                "podman, which passes on",
            ),
            (
                Clues { container: Some("podman".into()), listen_pid: true, ..clues() },
                "an activator such as",
            ),
            (
                Clues { container: Some("podman".into()), ..clues() },
                "bash started this process without sockets; podman received none",
            ),
        ] {
            assert!(clues.guess().contains(guess), "{guess}: {}", clues.guess());
        }
    }

    #[test]
    fn engines() {
        assert_eq!(engine(""), "podman");
        assert_eq!(engine("engine=\"podman-5.4.2\"\nname=\"x\"\n"), "podman-5.4.2");
    }
}
