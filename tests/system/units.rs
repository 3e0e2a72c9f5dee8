//! Every shipped unit file, read by the programs that use it.

use std::path::{Path, PathBuf};

use crate::systemd::machine;

fn unit_files(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).expect("the folder of units is there") {
        let path = entry.expect("an entry can be read").path();
        if path.is_dir() {
            unit_files(&path, found);
        } else if path.extension().is_some_and(|kind| kind == "socket" || kind == "service") {
            found.push(path);
        }
    }
}

/// `systemd-analyze verify` prints a line for whatever it would ignore or cannot find, so the
/// test asks for silence and not for the exit status alone.
#[test]
fn systemd_has_nothing_to_say_about_any_unit() {
    let Some(machine) = machine("systemd-analyze verify") else { return };
    let sources = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    for dir in ["systemd", "quadlet"] {
        unit_files(&sources.join(dir), &mut files);
    }
    assert!(files.len() > 10, "{files:?}");
    // Installed together: a socket is looked up with its service.
    machine
        .run(
            "set -e
             mkdir -p ~/.config/systemd/user ~/.config/containers/systemd
             cp -r systemd/* ~/.config/systemd/user
             cp systemd/plain/* ~/.config/systemd/user
             rm -r ~/.config/systemd/user/plain
             cp quadlet/*.socket ~/.config/systemd/user
             cp quadlet/*.container ~/.config/containers/systemd
             systemctl --user daemon-reload",
        )
        .ok();
    for file in files {
        let name = file.file_name().expect("a file has a name").to_string_lossy().into_owned();
        let manager = if name.starts_with("echo-hardened") { "--system" } else { "--user" };
        let output = machine.run(&format!(
            "cd ~/.config/systemd/user && SYSTEMD_UNIT_PATH=$PWD:$XDG_RUNTIME_DIR/systemd/generator: \
             systemd-analyze {manager} verify --man=no --instance=3000 {name}"
        ));
        let said = format!("{}{}", output.stdout, output.stderr);
        assert!(output.succeeded() && said.is_empty(), "{name}\n{output}");
    }
}

/// Quadlet's own reading of the template, without installing anything.
#[test]
fn quadlet_makes_a_service_of_the_container_template() {
    let Some(machine) = machine("Quadlet's dry run") else { return };
    let output = machine
        .run("QUADLET_UNIT_DIRS=$PWD/quadlet /usr/lib/systemd/user-generators/podman-user-generator --user --dryrun")
        .ok()
        .said("---echo-quadlet@.service---");
    for option in [
        "--sdnotify=container",
        "--network none",
        "--read-only ",
        "--cap-drop all",
        "--security-opt=no-new-privileges",
        "Type=notify",
    ] {
        assert!(output.stdout.contains(option), "no {option}\n{output}");
    }
    assert!(!output.stdout.contains("After=network-online"), "it waits for the network\n{output}");
}
