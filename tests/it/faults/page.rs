//! docs/faults.md: the table in words. The tests of the rows verify it.

use std::fmt::Write;

use super::table::{Call, Kind, WITHOUT_ROWS, calls};

const INTRODUCTION: &str = "\
# When a system call fails

This page lists what the running server does when a system call fails: each call, each error that Linux can return for it, what the error
means, and what the server does. Each row is a test. In the test, `strace` makes the first such call of a running server fail, then the
second, then every fifth (except `ioctl`, which is rare). For errors that can last, `strace` also makes every call fail for a while. Meanwhile
peers talk over TCP (IPv4 and IPv6), Multipath TCP, UDP (IPv4, IPv6, and a wildcard address) and unix stream, datagram and seqpacket sockets:
one message at a time, in bulk that fills every buffer, in bursts that fill a datagram queue, with a new connection or a new socket name for
each message, and with a reset in the middle.

The test passes if afterwards

- the server runs and does not busy-loop, and serves every old and new peer;
- nobody has received a wrong byte;
- a failure that costs **nobody** has cost no connection and no datagram;
- a failure that costs **one peer at most** has cost at most that connection or that datagram;
- SIGTERM ends the server with exit status 0.

To run one row: `FAULT=recvmsg:EINTR cargo test --test it faults::`. A row that fails prints the commands that repeat it by hand.

The table leaves out the errors of a wrong call, such as `EBADF`, `EFAULT` and `ENOTSOCK`: the program owns its descriptors and knows what
they are. An injected failure replaces the call; a real kernel may have done part of its work before it fails.

This page is generated from `tests/it/faults/`: edit `table/` or `page.rs` there, and run `UPDATE_GENERATED=1 cargo test --test it generated`.
";

pub(crate) fn text() -> String {
    let mut text = INTRODUCTION.to_owned();
    for call in calls() {
        text.push_str(&section(call));
    }
    text.push_str("\n## Calls without rows\n\n| call | why |\n|---|---|\n");
    for (names, _, why) in WITHOUT_ROWS {
        let _ = writeln!(text, "| {names} | {why} |");
    }
    text
}

fn section(call: &Call) -> String {
    let (name, purpose) = (call.name, call.purpose);
    let mut text = format!("\n## {name}\n\nThe server {purpose}.\n\n");
    text.push_str(
        "| error | what it means | what the server does | it costs |\n|---|---|---|---|\n",
    );
    for fault in call.faults {
        let (errno, meaning, answer) = (fault.errno, fault.meaning, call.answer(fault));
        let cost = match fault.kind {
            Kind::Nobody => "nobody",
            Kind::OnePeer => "one peer at most",
            Kind::OneSocket => "the peers of that socket",
            Kind::ComesByItself => "nobody (not injected: it comes by itself)",
        };
        let _ = writeln!(text, "| `{errno}` | {meaning} | {answer} | {cost} |");
    }
    text
}
