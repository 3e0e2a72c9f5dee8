//! Every shell script of the repository, found by its first line, passes shellcheck.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use crate::kit::{Dir, has_tool, run};

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

/// `tests/run` with stand-ins for the programs that it calls: the tests run whatever could not be
/// installed, and the end says what was not tested.
#[test]
fn a_run_ends_with_what_was_not_tested() {
    let dir = Dir::new();
    for (program, script) in [
        ("dpkg-query", "[ \"$4\" = socat ] || echo install ok installed"),
        ("id", "echo 0"),
        (
            "apt-get",
            "[ $1 = update ] || echo 'E: Failed to fetch http://m/socat.deb  404' >&2; exit 100",
        ),
        (
            "cargo",
            "printf 'test a ... NOT TESTED: s390x: E: Failed to fetch\\nok\\n'
             echo 'test result: ok. 3 passed; 0 failed; 1 ignored'
             echo 'test result: FAILED. 1 passed; 2 failed; 0 ignored'
             exit 101",
        ),
    ] {
        let path = dir.path(program);
        std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).expect("write");
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).expect("chmod(2)");
    }
    let path = format!("{}:{}", dir.path("").display(), std::env::var("PATH").expect("PATH"));
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let finished = run(Command::new(root.join("tests/run")).env("PATH", path)).expect_code(101);
    let end = "\nNOT TESTED: s390x: E: Failed to fetch\n\
               NOT TESTED: what needs the package socat: E: Failed to fetch http://m/socat.deb  404\n\
               \n4 passed, 2 failed, 1 skipped\n";
    assert!(finished.stdout.ends_with(end), "{}", finished.describe());
}
