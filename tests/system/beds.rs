//! What the scripts of `tests/beds` print when a download fails.

use std::process::Command;

use crate::kit::{Why, run_bed};

/// Runs a script with the functions of `tests/beds/lib.sh`.
fn lib(script: &str) -> Result<String, Why> {
    let cache = tempfile::tempdir().expect("a temporary directory can be made");
    let lib = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/beds/lib.sh");
    let mut bash = Command::new("bash");
    bash.args(["-c", &format!(". {lib}\n{script}"), "bed"]).current_dir(&cache);
    run_bed(bash.env("SAE_TEST_CACHE", cache.path()).env("CARGO_HOME", cache.path()))
}

#[test]
fn a_third_party_that_does_not_deliver_is_told_apart() {
    for (says, its_words) in [
        ("E: Failed to fetch http://mirror/Packages.xz  File has unexpected size", true),
        ("W: Failed to fetch http://mirror/InRelease  Could not resolve host", true),
        ("  failed to download from `https://index/config.json`", true),
        ("WARNING: Retrying (Retry(total=0)) after connection broken by NewConnectionError", true),
        ("E: Unable to locate package no-such-package", false),
        ("error[E0308]: mismatched types", false),
    ] {
        let said = says.trim();
        match lib(&format!("make() {{ echo '{says}'; false; true; }}; cached a.dir '' make")) {
            Err(Why::NotNow(why)) => assert!(its_words && why == said, "{says}: {why}"),
            Err(Why::Failed(why)) => assert!(!its_words && why.contains(said), "{says}: {why}"),
            other => panic!("{says}: {other:?}"),
        }
    }
}

/// The same lines from the clients themselves, in a network namespace that has no network.
#[test]
fn the_clients_say_it_in_the_words_that_are_looked_for() {
    if let Err(why @ Why::NotHere(_)) = lib("need unshare apt-get cargo") {
        return crate::kit::not_run("the clients without a network", &why);
    }
    for client in [
        "apt-get --error-on=any -o Dir::State::Lists=$PWD/lists -o APT::Sandbox::User=root update",
        "cargo vendor --manifest-path $REPO/Cargo.toml --locked crates",
    ] {
        match lib(&format!("mkdir -p lists/partial; download unshare --net {client}")) {
            Err(Why::NotNow(_)) => {}
            other => panic!("{client}: {other:?}"),
        }
    }
}

#[test]
fn what_is_made_is_kept() {
    let made = lib("path=$(cached a.dir '' mkdir); [ -d \"$path\" ]; cached a.dir '' false");
    assert!(made.is_ok_and(|path| path.trim().ends_with(".dir")));
}
