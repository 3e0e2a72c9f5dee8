//! Every command of the README is run by a test, and every link of the pages has a target.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::page::readme_steps;

/// Commands that a script of the tests runs, and how the line there begins.
const RUN_BY_SCRIPT: &[(&str, &str, &str)] = &[
    ("tests/run", ".ci/run", "exec tests/run"),
    ("podman build -t socket-activate-echo .", "tests/beds/images", "podman build "),
    ("vm/build", "tests/beds/vm", "download \"$REPO/vm/build\" "),
    ("vm/run", "tests/beds/vm", "\"$REPO/vm/run\" "),
];

/// Commands that no test of ours can run, and why.
const NOT_RUN: &[(&str, &str)] = &[
    ("cargo install --path .", "it would change the machine; the image is built the same way"),
    ("STREAM=next", "Fedora CoreOS cannot be downloaded in a test"),
    ("CID=20", "a variable of the commands beside it"),
    ("sudo dnf install -y qemu butane coreos-installer", "a part of Fedora CoreOS's recipe"),
    ("mkdir -p ~/.local/share/libvirt/images/", "a part of Fedora CoreOS's recipe"),
    (
        "file=$(coreos-installer download -s \"${STREAM}\" -p qemu -f qcow2.xz --decompress \
         -C ~/.local/share/libvirt/images/)",
        "Fedora CoreOS cannot be downloaded in a test",
    ),
    (
        "cat vm/echo.butane | butane --strict --pretty --files-dir systemd > file.ign",
        "tests/system/butane.rs does what butane would do",
    ),
    (
        "qemu-kvm -m 2048 -device \"vhost-vsock-pci,id=vhost-vsock-pci0,guest-cid=$CID\" -cpu host \
         -nographic -snapshot -drive \"if=virtio,file=$file\" -fw_cfg \
         name=opt/com.coreos/config,file=file.ign -nic \"user,model=virtio\"",
        "it needs the kernel's vhost-vsock; the Debian VM takes the same path through vhost-user",
    ),
    (
        "echo hello | socat -t 30 - VSOCK-CONNECT:$CID:3000",
        "from the host it needs the kernel's vhost-vsock; probe vsock-mux: is tested in its place",
    ),
    ("socket-activate-echo probe vsock:$CID:3000", "as above"),
    ("socat readline udp4:127.0.0.1:3000", "it needs a person; probe --interactive is tested"),
];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The commands that the tests ask `page::readme` for, in order to run them.
fn asked_for() -> BTreeSet<String> {
    let mut commands = BTreeSet::new();
    for folder in ["tests/it", "tests/it/probe", "tests/system"] {
        for entry in fs::read_dir(root().join(folder)).expect("a folder of tests").flatten() {
            let path = entry.path();
            if path.extension().is_some_and(|end| end == "rs") && !path.ends_with("readme.rs") {
                let text = read(path);
                let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
                let code = code.collect::<Vec<_>>().join("\n");
                commands.extend(code.split("readme").skip(1).filter_map(literal));
            }
        }
    }
    commands
}

/// The first argument of `readme` or `readme_as`, whose call goes on like this, if it is a string.
fn literal(call: &str) -> Option<String> {
    let arguments = call.strip_prefix("_as").unwrap_or(call).strip_prefix('(')?;
    let mut text = String::new();
    let mut rest = arguments.trim_start().strip_prefix('"')?.chars();
    loop {
        match rest.next()? {
            '"' => return Some(text),
            '\\' => match rest.next()? {
                '\n' => rest = rest.as_str().trim_start().chars(),
                escaped => text.push(escaped),
            },
            char => text.push(char),
        }
    }
}

#[test]
fn every_command_of_the_readme_is_run_by_a_test() {
    let readme: BTreeSet<_> = readme_steps().into_iter().map(|step| step.command).collect();
    let mut known = asked_for();
    known.extend(RUN_BY_SCRIPT.iter().map(|row| row.0.to_owned()));
    known.extend(NOT_RUN.iter().map(|row| row.0.to_owned()));
    let unknown: Vec<_> = readme.difference(&known).collect();
    assert!(unknown.is_empty(), "no test runs {unknown:#?}");
    let gone: Vec<_> = known.difference(&readme).collect();
    assert!(gone.is_empty(), "the README no longer has {gone:#?}");
    for (command, script, start) in RUN_BY_SCRIPT {
        let runs = read(script).lines().any(|line| line.trim_start().starts_with(start));
        assert!(runs, "{script} no longer runs `{command}`");
    }
}

#[test]
fn every_link_of_the_pages_leads_to_a_file() {
    let mut pages: Vec<PathBuf> =
        ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md"]
            .map(PathBuf::from)
            .to_vec();
    let docs = fs::read_dir(root().join("docs")).expect("docs");
    pages.extend(docs.map(|entry| entry.expect("entry").path()));
    for page in pages.iter().filter(|page| page.extension().is_some_and(|end| end == "md")) {
        let text = read(page);
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let target = link.split('#').next().unwrap_or(link);
            if target.is_empty() || target.contains("://") || target.contains(' ') {
                continue;
            }
            let path = root().join(page).parent().expect("a page is in a folder").join(target);
            assert!(path.exists(), "{}: {link} leads nowhere", page.display());
        }
    }
}
