//! Every shell script of the repository, found by its first line, is one that shellcheck likes.

use std::path::Path;
use std::process::Command;

use crate::kit::{has_tool, run};

#[test]
fn shellcheck_has_nothing_to_say() {
    let test = "shellcheck_has_nothing_to_say";
    if !has_tool("git", test) || !has_tool("shellcheck", test) {
        return;
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut git = Command::new("git");
    git.args(["-C", env!("CARGO_MANIFEST_DIR"), "grep", "-lIE", "^#!.*\\b(ba)?sh$"]);
    let found = run(&mut git).expect_code(0);
    let is_script =
        |path: &&str| std::fs::read(root.join(path)).is_ok_and(|b| b.starts_with(b"#!"));
    let scripts: Vec<_> = found.stdout.lines().filter(is_script).collect();
    assert!(scripts.contains(&"tests/run"), "{scripts:?}");
    let mut shellcheck = Command::new("shellcheck");
    shellcheck.args(["--severity=warning", "--external-sources", "--source-path=SCRIPTDIR"]);
    let finished = run(shellcheck.current_dir(root).args(scripts)).expect_code(0);
    assert_eq!(finished.stdout, "", "{}", finished.describe());
}
