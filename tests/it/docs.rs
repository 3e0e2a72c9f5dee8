//! The documents show commands and their output. Each block with the mark `console` is run in its
//! own network namespace, and every line that it shows must be printed.

use std::path::Path;
use std::process::Command;

use crate::kit::{self, Dir};
use crate::page::{Block, blocks, shows};

/// Brings up the loopback interface, and takes along what runs in the background.
const PROLOGUE: &str = "ip link set lo up || exit\n\
                        trap 'kill $(jobs -p) 2>/dev/null; wait' EXIT\n\
                        exec 2>&1\n";

#[test]
fn activation() {
    check("docs/activation.md", 8);
}

#[test]
fn conform() {
    check("docs/conform.md", 1);
}

#[test]
fn info() {
    if kit::has_tool("curl", "docs/info.md") {
        check("docs/info.md", 1);
    }
}

#[test]
fn lifecycle() {
    check("docs/lifecycle.md", 2);
}

#[test]
fn troubleshooting() {
    check("docs/troubleshooting.md", 11);
}

fn check(document: &str, blocks_min: usize) {
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(document));
    let mut blocks = blocks(&text.expect("the document"));
    blocks.retain(|block| block.kind == "console");
    assert!(blocks.len() >= blocks_min, "{document} has {} blocks to run", blocks.len());
    let tools = ["bash", "ss", "socat", "systemd-socket-activate"];
    for block in blocks {
        let Some(command) = kit::unshare_net(&tools, document) else { return };
        run(document, &block, command);
    }
}

fn run(document: &str, block: &Block, mut command: Command) {
    let dir = Dir::new();
    let tmp = dir.path("").display().to_string();
    let commands = block.steps.iter().map(|step| step.command.as_str());
    let commands = commands.collect::<Vec<_>>().join("\n").replace("/tmp/", &tmp);
    let program = Path::new(kit::program_path()).parent().expect("a folder").display();
    let path = format!("{program}:{}", std::env::var("PATH").expect("PATH"));
    command.args(["bash", "-c", &format!("{PROLOGUE}{commands}")]);
    let finished = kit::run(command.env("PATH", path).env("HOME", &tmp));
    for expected in block.steps.iter().flat_map(|step| &step.prints) {
        assert!(
            shows(&finished.stdout, &expected.replace("/tmp/", &tmp)),
            "{document} shows a line that does not come:\n{expected}\n\n{}",
            finished.describe()
        );
    }
}

#[test]
fn a_line_matches_whatever_its_numbers_are() {
    for (line, shown, expected) in [
        ("tcp:127.0.0.1:4000    9.9 µs   - echoed", "tcp:127.0.0.1:4000  1.10 ms  - echoed", true),
        ("LISTEN_PID=1 is x; do y", "LISTEN_PID=22 is …; do y", true),
        ("LISTEN_PID=1 is x; do y", "LISTEN_PID=22 is …", true),
        ("LISTEN_PID=1 is x; do y", "LISTEN_PID=22 is", false),
        ("refused", "echoed", false),
    ] {
        assert_eq!(shows(line, shown), expected, "{line} | {shown}");
    }
}
