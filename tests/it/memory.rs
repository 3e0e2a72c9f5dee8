//! The unsafe code under valgrind, which detects reads of uninitialised memory, accesses beyond an
//! allocation, and invalid buffers of system calls.

use std::process::Command;

use crate::activators::{Active, Kind};
use crate::clients::Client;
use crate::kit::{self, Dir, clean, has_tool};

const VALGRIND: [&str; 4] = ["valgrind", "--quiet", "--error-exitcode=99", "--trace-children=yes"];

/// Each wrapper of a system call, by the library's own tests: cargo runs them through valgrind.
#[test]
fn the_wrappers_of_system_calls_are_clean() {
    if !has_tool("valgrind", "the unit tests of src/sys under valgrind") {
        return;
    }
    let runner = format!("target.'cfg(all())'.runner = {VALGRIND:?}");
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["test", "--locked", "--quiet", "--lib", "--config", &runner, "sys::"]);
    // It may have to compile first, for longer than a test waits for an event.
    let output = cargo.current_dir(env!("CARGO_MANIFEST_DIR")).output().expect("cargo");
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(output.status.success() && said.contains(" passed; 0 failed"), "{said}");
}

/// The same where the program uses them: the activator with its fork and exec, the server with its
/// threads. Not over unix datagrams: for the size of a page rustix reads the auxiliary vector, and
/// finds none that it understands under valgrind.
#[test]
fn the_program_is_clean() {
    if !has_tool("valgrind", "the program under valgrind") {
        return;
    }
    for (kind, accept) in [
        (Kind::Tcp4, true),
        (Kind::Tcp4, false),
        (Kind::UdpDual, false),
        (Kind::UnixSeqpacket, false),
    ] {
        let dir = Dir::new();
        let mut command = clean(VALGRIND[0]);
        command.args(&VALGRIND[1..]).args([kit::program_path(), "activate"]);
        command.args(accept.then_some("--accept")).args(["-l", &kind.address(&dir)]);
        // valgrind makes system calls of its own in the process, which a sandbox forbids.
        command.args(["--", kit::program_path(), "serve", "--sandbox", "off"]);
        let active = Active::ours(dir, &mut command);
        Client::InProcess.check(&active);
        let finished = active.process.terminate().expect_code(0);
        assert!(!finished.stderr.contains("=="), "{}", finished.describe());
    }
}
