//! Every command of the README is run by a test, and every link of the pages leads somewhere.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Each command, the test file that runs it, and what it looks like there.
const RUN_BY: &[(&str, &str, &str)] = &[
    ("cargo run --release -- activate", PROBE, DEMO_SET),
    ("cargo run --release -- probe", PROBE, DEMO_SET),
    ("tests/run", ".ci/run", "exec tests/run"),
    ("podman build -t socket-activate-echo .", "tests/beds/images", "podman build"),
    ("mkdir -p ~/.config/systemd/user", SYSTEMD, "mkdir -p ~/.config/systemd/user"),
    (
        "cp -r socket-activate-echo/systemd/echo* ~/.config/systemd/user",
        SYSTEMD,
        "cp -r socket-activate-echo/systemd/echo* ~/.config/systemd/user",
    ),
    ("systemctl --user daemon-reload", SYSTEMD, "systemctl --user daemon-reload"),
    ("systemctl --user start echo@demo.socket", SYSTEMD, "systemctl --user start echo@demo.socket"),
    ("echo hello | socat - tcp4:127.0.0.1:3000", SYSTEMD, "tcp4:127.0.0.1:3000"),
    ("echo hello | socat - tcp6:[::1]:3000", SYSTEMD, "tcp6:[::1]:3000"),
    ("echo hello | socat - udp4:127.0.0.1:3000", SYSTEMD, "udp4:127.0.0.1:3000"),
    ("echo hello | socat - udp6:[::1]:3000", SYSTEMD, "udp6:[::1]:3000"),
    (
        "echo hello | socat - unix:$HOME/echo_stream_sock.demo",
        SYSTEMD,
        "unix:$HOME/echo_stream_sock.demo",
    ),
    ("echo hello | socat - VSOCK-CONNECT:1:3000", VM, "VSOCK-CONNECT:1:3000"),
    ("socket-activate-echo probe", SYSTEMD, "socket-activate-echo probe"),
    (
        "podman exec -t echo-demo curl https://podman.io",
        SYSTEMD,
        "podman exec -t echo-demo curl https://podman.io",
    ),
    (
        "systemd-socket-activate -l /tmp/stream.sock -l 4000 -l vsock:4294967295:4000 podman run \
         --rm --name echo2 --network=none localhost/socket-activate-echo",
        PODMAN,
        "exec systemd-socket-activate -l /tmp/stream.sock",
    ),
    ("echo hello | socat - unix:/tmp/stream.sock", PODMAN, "unix:/tmp/stream.sock"),
    ("echo hello | socat - tcp4:127.0.0.1:4000", PODMAN, "tcp4:127.0.0.1:4000"),
    ("echo hello | socat - tcp6:[::1]:4000", PODMAN, "tcp6:[::1]:4000"),
    ("echo hello | socat - VSOCK-CONNECT:1:4000", VM, "VSOCK-CONNECT:1:4000"),
    ("podman exec -t echo2 curl https://podman.io", PODMAN, "nothing_gets_out(&bed, \"echo2\")"),
    (
        "socket-activate-echo activate -l unix:/tmp/stream.sock -l tcp:[::]:4000 \
         -l udp:[::]:4000 -- podman run --rm --name echo2 --network=none \
         localhost/socket-activate-echo",
        PODMAN,
        "socket-activate-echo activate",
    ),
    (
        "systemd-socket-activate --datagram -l 5000 podman run --rm --name echo3 --network=none \
         localhost/socket-activate-echo",
        PODMAN,
        "exec systemd-socket-activate --datagram -l 5000",
    ),
    ("echo hello | socat - udp4:127.0.0.1:5000", PODMAN, "udp4:127.0.0.1:5000"),
    ("echo hello | socat - udp6:[::1]:5000", PODMAN, "udp6:[::1]:5000"),
    ("podman exec -t echo3 curl https://podman.io", PODMAN, "nothing_gets_out(&bed, \"echo3\")"),
    ("vm/build", "tests/beds/vm", "vm/build"),
    ("vm/run", "tests/beds/vm", "vm/run"),
    ("socket-activate-echo probe vsock:$CID:3000", VM, "vsock-mux:"),
    ("echo hello | socat -t 30 - udp4:127.0.0.1:3000", VM, "socat -t 30"),
    (
        "journalctl -xe --user -u echo@demo.service",
        SYSTEMD,
        "journalctl -xe --user -u echo@demo.service",
    ),
];

const PROBE: &str = "tests/it/probe/mod.rs";
const DEMO_SET: &str = "the_demo_set_of_activate_is_the_one_that_is_probed";
const SYSTEMD: &str = "tests/system/systemd.rs";
const PODMAN: &str = "tests/system/podman.rs";
const VM: &str = "tests/system/vm.rs";

/// Commands that no test of ours can run, and why.
const NOT_RUN: &[(&str, &str)] = &[
    ("cargo install --path .", "it would change the machine; the image is built the same way"),
    ("STREAM=next", "Fedora CoreOS cannot be downloaded in a test"),
    ("CID=20", "a variable of the commands beside it"),
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
    ("socat readline udp4:127.0.0.1:3000", "it needs a person; probe --interactive is tested"),
];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The commands in the code blocks of a page. In a block with prompts these are the commands and
/// the rest is what they print; a block that says that it is text has none.
fn commands(page: &str) -> BTreeSet<String> {
    let mut commands = BTreeSet::new();
    for block in blocks(page) {
        let joined = block.replace("\\\n", " ");
        let has_prompts = joined.lines().any(|line| line.trim_start().starts_with("$ "));
        for line in joined.lines() {
            let words: Vec<_> = line.split_whitespace().collect();
            let words = match words.as_slice() {
                ["$", rest @ ..] => rest,
                _ if has_prompts => continue,
                words => words,
            };
            // What follows a # is said to the reader.
            let end = words.iter().position(|&word| word == "#").unwrap_or(words.len());
            if end > 0 {
                commands.insert(words[..end].join(" "));
            }
        }
    }
    commands
}

fn blocks(page: &str) -> Vec<String> {
    let mut blocks = Vec::new();
    let mut fence: Option<(bool, String)> = None;
    let mut indented = String::new();
    for line in page.lines() {
        let is_fence = line.trim_start().starts_with("```");
        match (&mut fence, is_fence) {
            (Some(_), true) => {
                if let Some((true, block)) = fence.take() {
                    blocks.push(block);
                }
            }
            (Some((_, block)), false) => *block += &format!("{line}\n"),
            (None, true) => fence = Some((!line.trim().ends_with("text"), String::new())),
            (None, false) if line.starts_with("    ") => indented += &format!("{line}\n"),
            (None, false) => {}
        }
        if !line.starts_with("    ") && !indented.is_empty() {
            blocks.push(std::mem::take(&mut indented));
        }
    }
    blocks
}

#[test]
fn every_command_of_the_readme_is_run_by_a_test() {
    let mut problems = Vec::new();
    let readme = commands(&read("README.md"));
    let known: BTreeSet<_> =
        RUN_BY.iter().map(|row| row.0).chain(NOT_RUN.iter().map(|row| row.0)).collect();
    for command in &readme {
        if !known.contains(command.as_str()) {
            problems.push(format!("no test runs `{command}`"));
        }
    }
    for command in known {
        if !readme.contains(command) {
            problems.push(format!("the README no longer has `{command}`"));
        }
    }
    for (command, file, needle) in RUN_BY {
        if !read(file).contains(needle) {
            problems.push(format!("{file} no longer runs `{command}`: it has no `{needle}`"));
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
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
