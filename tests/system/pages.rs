//! Pages whose commands need a service manager, under systemd 257. docs/units.md is in the tests of
//! the units themselves.

use crate::page::{blocks, shows};
use crate::systemd::machine;

#[test]
fn the_life_of_a_service() {
    let page = include_str!("../../docs/lifecycle.md");
    check("docs/lifecycle.md", page, "cp systemd/plain/echo-kept.* ~/.config/systemd/user", 6);
}

#[test]
fn what_a_server_sees() {
    check("docs/info.md", include_str!("../../docs/info.md"), "true", 1);
}

/// The blocks of a page that show a prompt, in order: each command prints what the page shows.
fn check(name: &str, page: &str, prepare: &str, least: usize) {
    let Some(machine) = machine(name) else { return };
    let prepare = format!(
        "set -e; mkdir -p ~/.config/systemd/user; {prepare}; systemctl --user daemon-reload"
    );
    machine.run(&prepare).ok();
    let mut blocks = blocks(page);
    blocks.retain(|block| block.kind == "shell-session");
    assert!(blocks.len() >= least, "{name} has {} blocks to run", blocks.len());
    for step in blocks.iter().flat_map(|block| &block.steps) {
        let output = machine.run(&step.command).ok();
        for expected in &step.prints {
            assert!(shows(&output.stdout, expected), "{name}: no line `{expected}`\n{output}");
        }
    }
}
