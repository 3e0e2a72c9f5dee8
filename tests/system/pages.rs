//! Pages whose commands need a service manager, under systemd 257. docs/units.md is in the tests of
//! the units themselves.

use crate::page::{blocks, shows};
use crate::systemd::machine;

/// The blocks of this page that show a prompt, in order: each command prints what the page shows.
#[test]
fn the_life_of_a_service() {
    let Some(machine) = machine("docs/lifecycle.md") else { return };
    machine
        .run(
            "set -e
             mkdir -p ~/.config/systemd/user
             cp systemd/plain/echo-kept.* ~/.config/systemd/user
             systemctl --user daemon-reload",
        )
        .ok();
    let mut blocks = blocks(include_str!("../../docs/lifecycle.md"));
    blocks.retain(|block| block.kind == "shell-session");
    assert!(blocks.len() >= 6, "the page has {} blocks to run", blocks.len());
    for step in blocks.iter().flat_map(|block| &block.steps) {
        let output = machine.run(&step.command).ok();
        for expected in &step.prints {
            assert!(shows(&output.stdout, expected), "no line `{expected}`\n{output}");
        }
    }
}
