//! How engines pass sockets on: `conform` in front of each of them. What it finds is what
//! `conform/*.expect`, docs/matrix.md and docs/engines.md say.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::kit::{Output, bed_script, not_run, run_bed, say};
use crate::{matrix, podman, systemd, vm};

const SOURCES: &str = env!("CARGO_MANIFEST_DIR");
const PROGRAM: &str = env!("CARGO_BIN_EXE_socket-activate-echo");

/// Where an engine is tried.
enum Place {
    /// On this machine itself, if it has this tool.
    Here(&'static str),
    /// In the bed of rootful Podman, with this OCI runtime.
    Rootful(&'static str),
    /// By the user of the machine with systemd 257, with this OCI runtime of rootless Podman.
    Machine(&'static str),
    Vm,
}

/// An engine: the column of docs/matrix.md, the place, the file of known results, a command that
/// prints the version, and what follows `conform`. RUNTIME is the place's OCI runtime.
type Engine = (&'static str, Place, &'static str, &'static str, &'static str);

const OURS: &str = "socket-activate-echo --version";
const SOCKET_ACTIVATE: &str = "systemd-socket-activate --version | head -n 1";
const PODMAN: &str = "for tool in podman conmon RUNTIME; do $tool --version; done | grep version";
const PODMAN_RUN: &str = "--timeout 15 -- podman --runtime RUNTIME run --rm --network=none \
    ghcr.io/eriksjolund/socket-activate-echo /socket-activate-echo";

macro_rules! engines {
    ($($test:ident: $column:literal, $place:expr, $file:literal, $version:expr, $run:expr;)*) => {
        /// In the order of docs/matrix.md.
        pub(crate) const COLUMNS: &[&str] = &[$($column),*];

        $(#[test]
        fn $test() {
            check(&($column, $place, $file, $version, $run));
        })*
    };
}

// Podman runs the image by the name that the original's README has.
engines! {
    the_program: "exec", Place::Here("bash"), "exec", OURS, "-- socket-activate-echo";
    our_activator: "activate", Place::Here("bash"), "activate", OURS,
        "--timeout 5 -- socket-activate-echo activate --now -- socket-activate-echo";
    systemd_socket_activate: "systemd-socket-activate 252",
        Place::Here("systemd-socket-activate"), "systemd-socket-activate", SOCKET_ACTIVATE,
        "-- systemd-socket-activate socket-activate-echo";
    systemd_socket_activate_257: "systemd-socket-activate 257", Place::Machine(""),
        "systemd-socket-activate", SOCKET_ACTIVATE,
        "-- systemd-socket-activate socket-activate-echo";
    rootful_podman_with_crun: "Podman rootful, crun", Place::Rootful("crun"),
        "podman-rootful-crun", PODMAN, PODMAN_RUN;
    rootful_podman_with_runc: "Podman rootful, runc", Place::Rootful("runc"),
        "podman-rootful-runc", PODMAN, PODMAN_RUN;
    rootless_podman_with_crun: "Podman rootless, crun", Place::Machine("crun"),
        "podman-rootless-crun", PODMAN, PODMAN_RUN;
    rootless_podman_with_runc: "Podman rootless, runc", Place::Machine("runc"),
        "podman-rootless-runc", PODMAN, PODMAN_RUN;
    systemd_nspawn: "systemd-nspawn", Place::Here("systemd-nspawn"), "systemd-nspawn",
        "systemd-nspawn --version | head -n 1",
        "-- systemd-nspawn --quiet --keep-unit --register=no --console=pipe \
         --directory=/run/sae-root --bind-ro=/usr /socket-activate-echo";
    bubblewrap: "bubblewrap", Place::Here("bwrap"), "bubblewrap", "bwrap --version",
        "-- bwrap --dev-bind / / socket-activate-echo";
    // As docs/engines.md recommends it.
    bubblewrap_with_a_shell: "bubblewrap, sh", Place::Here("bwrap"), "bubblewrap-sh",
        "bwrap --version",
        "-- bwrap --die-with-parent --dev-bind / / sh -c \
         'unset LISTEN_PIDFDID; [ -z \"$LISTEN_FDS\" ] || export LISTEN_PID=$$; exec \"$0\" \"$@\"' \
         socket-activate-echo";
    // It takes a listening socket as standard input, and nothing else.
    s6_ipcserverd: "s6-ipcserverd", Place::Here("s6-ipcserverd"), "s6-ipcserverd",
        "dpkg-query --show s6", "--case stdin.listening -- s6-ipcserverd socket-activate-echo";
    // It has the kinds of sockets that a test machine may lack.
    the_vm: "VM", Place::Vm, "exec", OURS, "--case 'type.*' -- socket-activate-echo";
}

/// A case, as the JSON has it.
pub(crate) struct Case(Value);

impl Case {
    pub(crate) fn get(&self, field: &str) -> &str {
        self.0[field].as_str().unwrap_or_default()
    }
}

/// Runs `conform`, and compares what it finds with what is known.
#[track_caller]
fn check(engine: &Engine) {
    let (column, _, file, ..) = engine;
    let known = std::fs::read_to_string(format!("{SOURCES}/conform/{file}.expect"));
    let known = known.expect("what is known is in the sources");
    let Some(output) = run(engine, &known) else { return };
    let (version, json) = output.split_at(output.find('{').unwrap_or(output.len()));
    let mut document: Value = serde_json::from_str(json)
        .unwrap_or_else(|error| panic!("{column}: no JSON: {error}\n{output}"));
    let Value::Array(cases) = document["cases"].take() else { panic!("no cases\n{output}") };
    let mut cases: Vec<_> = cases.into_iter().map(Case).collect();
    let times = cases.iter().filter_map(|case| case.0["duration_ms"].as_u64());
    say(&format!("conform: {column} took {} s", times.sum::<u64>() / 1000));
    // A race of the engine is not what this run happens to show.
    let races: Vec<_> = known.lines().filter_map(|line| line.strip_suffix(" any")).collect();
    for case in &mut cases {
        if races.iter().any(|race| race.trim() == case.get("name")) {
            case.0["result"] = "any".into();
        }
    }
    let surprises = cases.iter().filter(|case| case.0["expected"] != true);
    let shown = |case: &Case| ["name", "result", "reason"].map(|field| case.get(field)).join(" ");
    let surprises: Vec<_> = surprises.map(shown).collect();
    assert!(surprises.is_empty(), "{column} × conform/{file}.expect: {surprises:#?}");
    matrix::record(column, &version.trim().replace('\n', ", "), &cases);
}

/// The version, and the JSON after it.
fn run((column, place, _, version, arguments): &Engine, known: &str) -> Option<String> {
    // 1 says that something else was found.
    let script = |runtime| {
        format!(
            "{version}
             socket-activate-echo conform --format json --expect /dev/stdin {arguments} \
                 <<'END' || [ $? = 1 ]\n{known}END\n"
        )
        .replace("RUNTIME", runtime)
    };
    let text = |output: Output| output.ok().stdout;
    match place {
        Place::Here(tool) => {
            let folder = Path::new(PROGRAM).parent().expect("it is in a folder").display();
            let path = format!("{folder}:{}", std::env::var("PATH").unwrap_or_default());
            let mut bed = bed_script("engine");
            run_bed(bed.env("PATH", path).args([tool, "bash", "-c", &script("")]))
                .map_err(|why| not_run(column, &why))
                .ok()
        }
        Place::Rootful(runtime) => {
            podman::bed(runtime).map(|(_guard, bed)| text(bed.run(&script(runtime))))
        }
        Place::Machine(runtime) => {
            systemd::machine(column).map(|bed| text(bed.run(&script(runtime))))
        }
        Place::Vm => vm::vm(column).map(|vm| text(vm.bed.run(&script("")))),
    }
}

/// The names of all cases, in their order.
pub(crate) fn names() -> Vec<String> {
    let list = Command::new(PROGRAM).args(["conform", "--list"]).output();
    let list = String::from_utf8(list.expect("the program runs").stdout).expect("text");
    list.lines().filter(|line| !line.starts_with(' ')).map(str::to_owned).collect()
}
