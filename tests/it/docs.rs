//! The documents show commands and their output. Each block with the mark `console` is run in its
//! own network namespace, and every line that it shows must be printed.

use std::path::Path;

use crate::kit::{self, Dir};
use crate::page::{Block, blocks};

/// Brings up the loopback interface, and takes along what runs in the background.
const PROLOGUE: &str = "ip link set lo up || exit 99\n\
                        trap 'kill $(jobs -p) 2>/dev/null; wait' EXIT\n\
                        exec 2>&1\n";

#[test]
fn activation() {
    check("docs/activation.md", 8);
}

#[test]
fn troubleshooting() {
    check("docs/troubleshooting.md", 11);
}

fn check(document: &str, blocks_min: usize) {
    for tool in ["bash", "unshare", "ip", "ss", "socat", "systemd-socket-activate"] {
        if !kit::has_tool(tool, document) {
            return;
        }
    }
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(document));
    let mut blocks = blocks(&text.expect("the document"));
    blocks.retain(|block| block.kind == "console");
    assert!(blocks.len() >= blocks_min, "{document} has {} blocks to run", blocks.len());
    for block in blocks {
        if !run(document, &block) {
            return;
        }
    }
}

/// Runs a block. Whether the machine allows it.
fn run(document: &str, block: &Block) -> bool {
    let dir = Dir::new();
    let tmp = dir.path("").display().to_string();
    let commands = block.steps.iter().map(|step| step.command.as_str());
    let commands = commands.collect::<Vec<_>>().join("\n").replace("/tmp/", &tmp);
    let program = Path::new(kit::program_path()).parent().expect("a folder").display();
    let path = format!("{program}:{}", std::env::var("PATH").expect("PATH"));
    let mut command = kit::clean("unshare");
    command.args(["--map-root-user", "--net", "bash", "-c", &format!("{PROLOGUE}{commands}")]);
    let finished = kit::run(command.env("PATH", path).env("HOME", &tmp));
    if finished.status.code() == Some(99) || finished.stderr.contains("unshare failed") {
        kit::not_run(document, "network namespaces are not allowed here", true);
        return false;
    }
    let lines: Vec<_> = finished.stdout.lines().map(normal).collect();
    for expected in block.steps.iter().flat_map(|step| &step.prints) {
        let wanted = normal(&expected.replace("/tmp/", &tmp));
        assert!(
            lines.iter().any(|line| matches(line, &wanted)),
            "{document} shows a line that does not come:\n{expected}\n\n{}",
            finished.describe()
        );
    }
    true
}

/// A line without what differs from run to run: numbers, the unit of a time, the width of columns.
fn normal(line: &str) -> String {
    let mut text = String::new();
    for char in line.chars() {
        match char {
            '0'..='9' => {
                // 0x3a is one number, and so is 1.25.
                if !text.ends_with('#') {
                    text.push('#');
                }
            }
            '.' if text.ends_with('#') => {}
            _ => text.push(char),
        }
    }
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    text.replace("# µs", "# s").replace("# ms", "# s")
}

/// Whether `line` is `wanted`, where `…` stands for anything.
fn matches(line: &str, wanted: &str) -> bool {
    let mut rest = line;
    for (index, part) in wanted.split('…').map(str::trim).enumerate() {
        match rest.find(part) {
            Some(0) => rest = &rest[part.len()..],
            Some(at) if index > 0 => rest = &rest[at + part.len()..],
            _ => return false,
        }
    }
    rest.is_empty() || wanted.trim_end().ends_with('…')
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
        assert_eq!(matches(&normal(line), &normal(shown)), expected, "{line} | {shown}");
    }
}
