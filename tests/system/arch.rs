//! The other processor architectures of the published image: cross-built with Debian 13's Rust, and
//! tested under QEMU's emulation. s390x is big-endian, so the integration tests of every kind of
//! socket also run there.

use std::sync::{Mutex, PoisonError};

use crate::kit::{Why, bed_script, not_run, run_bed, say};

const ARCHITECTURES: &[&str] = &["arm64", "armhf", "ppc64el", "s390x"];

/// Integration tests that show what byte order and word size could break: sockets of every kind
/// through every activator, packet info, notifications, peers that misbehave.
const ON_BIG_ENDIAN: &[&str] = &["table::", "datagrams::", "notify::", "extremes::", "refusals::"];

/// Tests of those that cannot pass in an emulated process, each with the reason.
const NOT_UNDER_EMULATION: &[&str] = &[
    // The emulator knows no sock_diag(7).
    "proc::sockets::tests::unix_sockets_are_found",
    "proc::sockets::tests::a_path_leads_to_no_socket_whose_file_is_gone",
    // Nor `TCP_INFO` of tcp(7).
    "sys::tests::a_listener_tells_its_accept_queue",
    // The emulator's own thread shows in /proc/self/task, where a debug build looks.
    "table::ours_accept",
    // Its memory is the emulator's.
    "datagrams::a_receiver_that_never_reads_stops_nobody",
    // It starts another program with arguments of its own.
    "command::keep::store::tests::as_many_connections_as_a_process_can_be_started_with",
    // It passes on no hop limit (IP_TTL of ip(7)), by which servers that answer each other stop.
    "info::datagrams::two_",
    // In a user namespace of its own no message queues can be mounted.
    "refusals::a_message_queue_is_named_with_its_directive",
];

/// The kernel prints addresses in /proc/net/tcp as numbers of its own byte order, which is not that
/// of an emulated big-endian program.
const NOT_ON_BIG_ENDIAN: &[&str] = &[
    "proc::sockets::tests::sockets_of_the_internet_are_found",
    "proc::sockets::tests::the_socket_that_clients_reach",
];

/// Calls the bed of one architecture, named as Debian does; without arguments it only gets ready.
fn bed(architecture: &str, arguments: &[&str]) -> Result<String, Why> {
    // One at a time: each build uses every processor there is.
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _guard = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    run_bed(bed_script("architectures").arg(architecture).args(arguments))
}

/// Runs the tests that match a filter, all if there is none.
fn tests_pass_on(architecture: &str, which: &[&str], filters: &[&str]) {
    match bed(architecture, &[]) {
        Ok(_) => say(&format!("arch: building and testing for {architecture}")),
        // Not a failure: `an_architecture_can_be_tested` is one if it happens to all of them.
        Err(Why::NotNow(why)) => return say(&format!("NOT TESTED: {architecture}: {why}")),
        Err(why) => return not_run(architecture, &why),
    }
    let mut arguments = [which, &["--"], filters].concat();
    arguments.extend(NOT_UNDER_EMULATION.iter().flat_map(|test| ["--skip", test]));
    if architecture == "s390x" {
        arguments.extend(NOT_ON_BIG_ENDIAN.iter().flat_map(|test| ["--skip", test]));
    }
    let output = match bed(architecture, &arguments) {
        Ok(output) => output,
        Err(why) => return not_run(architecture, &why),
    };
    let lines =
        output.lines().filter_map(|line| line.strip_prefix("test ")?.strip_suffix(" ... ok"));
    let passed: Vec<_> = lines.collect();
    for filter in if filters.is_empty() { &[""] } else { filters } {
        let matched = passed.iter().any(|test| test.contains(filter));
        assert!(matched, "no test matches {filter:?} on {architecture}\n{output}");
    }
}

/// What one of them needs may be unavailable at times, but not what all of them need.
#[test]
fn an_architecture_can_be_tested() {
    let mut last = None;
    for architecture in ARCHITECTURES {
        match bed(architecture, &[]) {
            Ok(_) => return,
            Err(why) => last = Some(why),
        }
    }
    not_run("every other architecture", &last.expect("there are some"));
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
