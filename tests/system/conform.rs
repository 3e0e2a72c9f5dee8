//! How engines pass sockets on: `conform` in front of each of them. What it finds is what
//! `conform/*.expect`, docs/matrix.md and docs/engines.md say.

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use serde_json::Value;

use crate::kit::{Bed, bed_script, not_run, run_bed, say};
use crate::{engines, matrix, podman, systemd};

const SOURCES: &str = env!("CARGO_MANIFEST_DIR");
/// On the machine of `systemd`, as its user.
const SOURCES_THERE: &str = ".";

/// An engine's command line, and how to try it.
pub(crate) struct Engine<'a> {
    /// The column of docs/matrix.md, and the section of docs/engines.md.
    pub(crate) name: &'a str,
    /// The file of known results, without `.expect`.
    pub(crate) file: &'a str,
    /// Prints its version.
    pub(crate) version: &'a str,
    /// What `conform` gets: its flags, and the command.
    pub(crate) arguments: &'a str,
}

/// A case, as the JSON has it.
pub(crate) struct Case(Value);

impl Case {
    pub(crate) fn get(&self, field: &str) -> &str {
        self.0[field].as_str().unwrap_or_default()
    }

    /// The word of docs/matrix.md.
    pub(crate) fn cell(&self) -> &'static str {
        match self.get("result") {
            "pass" => "yes",
            "fail" => "no",
            _ => matrix::UNSEEN,
        }
    }
}

impl Engine<'_> {
    /// A shell script that prints the version, and the JSON after it. `sources` is this package.
    fn script(&self, sources: &str) -> String {
        let Self { version, arguments, file, .. } = self;
        format!(
            "{{ {version}; }} | head -n 1
             socket-activate-echo conform --format json --expect {sources}/conform/{file}.expect \
                 {arguments} || [ $? = 1 ]"
        )
    }

    #[track_caller]
    pub(crate) fn run_in(&self, bed: &Bed, sources: &str) {
        let started = Instant::now();
        let output = bed.run(&self.script(sources)).ok();
        self.compare(&output.stdout, started);
    }

    /// On this machine itself.
    #[track_caller]
    fn run_here(&self, tool: &str) {
        let program = Path::new(env!("CARGO_BIN_EXE_socket-activate-echo"));
        let folder = program.parent().expect("it is in a folder").display();
        let path = format!("{folder}:{}", std::env::var("PATH").unwrap_or_default());
        let script = self.script(SOURCES);
        let started = Instant::now();
        let mut bed = bed_script("engine");
        match run_bed(bed.env("PATH", path).args([tool, "bash", "-c", &script])) {
            Ok(output) => self.compare(&output, started),
            Err(why) => not_run(self.name, &why),
        }
    }

    /// Compares what the script has printed with what is known.
    #[track_caller]
    fn compare(&self, output: &str, started: Instant) {
        let name = self.name;
        say(&format!("conform: {name} took {} s", started.elapsed().as_secs()));
        let (version, json) = output.split_at(output.find('{').unwrap_or(output.len()));
        let mut document: Value = serde_json::from_str(json)
            .unwrap_or_else(|error| panic!("{name}: no JSON: {error}\n{output}"));
        let cases: Vec<_> = match document["cases"].take() {
            Value::Array(cases) => cases.into_iter().map(Case).collect(),
            _ => panic!("{name}: no cases\n{output}"),
        };
        matrix::record(name, &cases);
        engines::record(name, version.trim(), &cases);
        let surprises: Vec<_> = cases.iter().filter(|case| case.0["expected"] != true).collect();
        let shown = |case: &&Case| {
            ["name", "result", "reason"].map(|field| case.get(field)).join(" ") + "\n"
        };
        let shown: String = surprises.iter().map(shown).collect();
        assert!(shown.is_empty(), "{name}: not as conform/{}.expect says:\n{shown}", self.file);
    }
}

/// The names of all cases, in their order.
pub(crate) fn names() -> Vec<String> {
    let mut program = Command::new(env!("CARGO_BIN_EXE_socket-activate-echo"));
    let list = program.args(["conform", "--list"]).output().expect("the program runs");
    let list = String::from_utf8(list.stdout).expect("the list is text");
    list.lines().filter(|line| !line.starts_with(' ')).map(str::to_owned).collect()
}

#[test]
fn the_program_itself() {
    let version = "socket-activate-echo --version";
    let arguments = "-- socket-activate-echo";
    Engine { name: "exec", file: "exec", version, arguments }.run_here("bash");
}

#[test]
fn our_own_activator() {
    let version = "socket-activate-echo --version";
    let arguments = "--timeout 5 -- socket-activate-echo activate --now -- socket-activate-echo";
    Engine { name: "activate", file: "activate", version, arguments }.run_here("bash");
}

const SYSTEMD_SOCKET_ACTIVATE: Engine<'_> = Engine {
    name: "systemd-socket-activate 252",
    file: "systemd-socket-activate",
    version: "systemd-socket-activate --version",
    arguments: "-- systemd-socket-activate socket-activate-echo",
};

#[test]
fn systemd_socket_activate_252() {
    SYSTEMD_SOCKET_ACTIVATE.run_here("systemd-socket-activate");
}

#[test]
fn systemd_socket_activate_257() {
    let Some(machine) = systemd::machine("systemd-socket-activate 257") else { return };
    let name = "systemd-socket-activate 257";
    Engine { name, ..SYSTEMD_SOCKET_ACTIVATE }.run_in(&machine, SOURCES_THERE);
}

#[test]
fn systemd_nspawn() {
    Engine {
        name: "systemd-nspawn",
        file: "systemd-nspawn",
        version: "systemd-nspawn --version",
        arguments: "-- systemd-nspawn --quiet --keep-unit --register=no --console=pipe \
                    --directory=/run/sae-root --bind-ro=/usr /socket-activate-echo",
    }
    .run_here("systemd-nspawn");
}

#[test]
fn bubblewrap() {
    Engine {
        name: "bubblewrap",
        file: "bubblewrap",
        version: "bwrap --version",
        arguments: "-- bwrap --dev-bind / / socket-activate-echo",
    }
    .run_here("bwrap");
}

/// As docs/engines.md recommends it.
#[test]
fn bubblewrap_with_a_shell() {
    Engine {
        name: "bubblewrap, sh",
        file: "bubblewrap-sh",
        version: "bwrap --version",
        arguments: "-- bwrap --die-with-parent --dev-bind / / sh -c \
                    'unset LISTEN_PIDFDID; [ -z \"$LISTEN_FDS\" ] || export LISTEN_PID=$$; \
                     exec \"$0\" \"$@\"' socket-activate-echo",
    }
    .run_here("bwrap");
}

/// It takes a listening socket as standard input, and nothing else.
#[test]
fn s6_ipcserverd() {
    Engine {
        name: "s6-ipcserverd",
        file: "s6-ipcserverd",
        version: "dpkg-query --show s6",
        arguments: "--case stdin.listening -- s6-ipcserverd socket-activate-echo",
    }
    .run_here("s6-ipcserverd");
}

/// The image goes by the name that the original's README runs.
fn podman(runtime: &str, name: &str, file: &str, run: impl FnOnce(&Engine<'_>)) {
    let version = format!(
        "echo $(podman --version), $(conmon --version | head -n 1), $({runtime} --version | head -n 1)"
    );
    let arguments = format!(
        "--timeout 15 -- podman --runtime {runtime} run --rm --network=none \
         ghcr.io/eriksjolund/socket-activate-echo /socket-activate-echo"
    );
    run(&Engine { name, file, version: &version, arguments: &arguments });
}

fn rootful(runtime: &str, name: &str, file: &str) {
    let Some((_guard, bed)) = podman::bed(runtime) else { return };
    podman(runtime, name, file, |engine| engine.run_in(&bed, SOURCES));
}

fn rootless(runtime: &str, name: &str, file: &str) {
    let Some(machine) = systemd::machine(name) else { return };
    podman(runtime, name, file, |engine| engine.run_in(&machine, SOURCES_THERE));
}

#[test]
fn rootful_podman_with_crun() {
    rootful("crun", "Podman rootful, crun", "podman-rootful-crun");
}

#[test]
fn rootful_podman_with_runc() {
    rootful("runc", "Podman rootful, runc", "podman-rootful-runc");
}

#[test]
fn rootless_podman_with_crun() {
    rootless("crun", "Podman rootless, crun", "podman-rootless-crun");
}

#[test]
fn rootless_podman_with_runc() {
    rootless("runc", "Podman rootless, runc", "podman-rootless-runc");
}
