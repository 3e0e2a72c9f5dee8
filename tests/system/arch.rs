//! The other processor architectures that the image is published for: cross-built with Debian
//! 13's own Rust, and the tests run under QEMU's emulation. s390x is the big-endian one, so there
//! the integration tests of every kind of socket run too.

use std::io::{self, Write};
use std::sync::{Mutex, PoisonError};

use crate::kit::{bed_script, not_run, run};

/// Integration tests that show what byte order and word size could break: sockets of every kind
/// through every activator, packet info, notifications, peers that misbehave.
const ON_BIG_ENDIAN: &[&str] = &["table::", "datagrams::", "notify::", "peers::", "refusals::"];

/// Tests of those that cannot pass in an emulated process, each with the reason.
const NOT_UNDER_EMULATION: &[&str] = &[
    // The kernel prints addresses in /proc/net/tcp as numbers of its own byte order, which is not
    // that of an emulated big-endian program.
    "holder::tests::sockets_of_this_process_are_found",
    // The emulator's own thread shows in /proc/self/task, where a debug build looks.
    "table::ours_accept",
    // Its memory is the emulator's.
    "datagrams::a_receiver_that_never_reads_stops_nobody",
    // In a user namespace of its own no message queues can be mounted.
    "refusals::a_message_queue_is_named_with_its_directive",
];

/// Runs tests on one architecture, named as Debian does.
fn tests_pass_on(architecture: &str, which: &[&str], filters: &[&str]) {
    // One at a time: each build uses every processor there is.
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _guard = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let _ = writeln!(io::stderr(), "arch: building and testing for {architecture}");
    let mut command = bed_script("architectures");
    command.arg(architecture).args(which).arg("--").args(filters);
    if architecture == "s390x" {
        command.args(NOT_UNDER_EMULATION.iter().flat_map(|test| ["--skip", test]));
    }
    let output = run(&mut command);
    if !output.succeeded() && output.stderr.contains("not installed") {
        return not_run(&format!("the tests on {architecture}"), output.stderr.trim());
    }
    output.ok().said("test result: ok.");
}

#[test]
fn the_library_passes_its_tests_on_arm64() {
    tests_pass_on("arm64", &["--lib"], &[]);
}

#[test]
fn the_library_passes_its_tests_on_armv7() {
    tests_pass_on("armhf", &["--lib"], &[]);
}

#[test]
fn the_library_passes_its_tests_on_ppc64le() {
    tests_pass_on("ppc64el", &["--lib"], &[]);
}

#[test]
fn the_library_passes_its_tests_on_big_endian_s390x() {
    tests_pass_on("s390x", &["--lib"], &[]);
}

#[test]
fn every_kind_of_socket_is_served_on_big_endian_s390x() {
    tests_pass_on("s390x", &["--test", "it"], ON_BIG_ENDIAN);
}
