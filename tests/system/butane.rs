//! `vm/echo.butane`, translated to Ignition's form and applied: Debian's Ignition sets up a root
//! file system as on Fedora CoreOS.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use crate::kit::{Why, bed_script, not_run, run, run_bed};

/// Uid and gid of the first user that `useradd` makes.
const DEMO: (u32, u32) = (1000, 1000);

#[test]
fn ignition_sets_up_what_the_butane_file_says() {
    let directory = tempfile::tempdir().expect("a temporary directory can be made");
    if let Err(why) = run_bed(bed_script("ignition").arg(directory.path())) {
        return not_run("vm/echo.butane under Ignition", &why);
    }
    let root = directory.path().join("root");
    let user_units = Path::new("home/demo/.config/systemd/user");

    // The units are those of systemd/, byte for byte, and belong to the user.
    for unit in ["echo@.socket", "echo@.service", "echo@demo.socket.d/override.conf"] {
        let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("systemd").join(unit);
        let installed = root.join(user_units).join(unit);
        assert_eq!(
            fs::read_to_string(shipped).expect("the unit is shipped"),
            fs::read_to_string(&installed).expect("the unit is installed"),
            "{unit}"
        );
        for path in installed.ancestors().take_while(|path| !path.ends_with("home")) {
            let owner = fs::metadata(path).map(|metadata| (metadata.uid(), metadata.gid()));
            assert_eq!(owner.expect("it exists"), DEMO, "the owner of {}", path.display());
        }
    }

    // The socket is started at boot, with the user manager.
    let wanted = root.join(user_units).join("sockets.target.wants/echo@demo.socket");
    let unit = fs::canonicalize(&wanted).expect("the link leads to the unit");
    assert!(unit.ends_with(user_units.join("echo@.socket")), "{}", unit.display());
    assert!(root.join("var/lib/systemd/linger/demo").exists(), "the user does not linger");
}

#[test]
fn a_missing_unit_is_noticed() {
    let output = run(std::process::Command::new("bash").args([
        "-c",
        &format!("cd {} && tests/beds/butane quadlet < vm/echo.butane", env!("CARGO_MANIFEST_DIR")),
    ]));
    if output.stderr.contains("No module named") {
        let why = Why::NotHere("python3-yaml is not installed".to_owned());
        return not_run("the check of the Butane file", &why);
    }
    output.refused().said("there is no file quadlet/echo@.socket");
}
