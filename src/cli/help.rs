//! What follows the flags in `--help`, and in the manual: sections that begin with a title and a
//! colon. Indented lines are kept as they are, the rest is running text.

use std::path::Path;

use crate::address::{KINDS, demo_set};
use crate::error::ErrorKind;

const PROGRAM_EXAMPLES: &str = "\
Examples:
  The demo set without systemd, and in a second shell a client for it:
    socket-activate-echo activate
    socket-activate-echo probe
  Under systemd's own activator:
    systemd-socket-activate -l 4000 socket-activate-echo
  In a container without a network, through the socket that was handed over:
    systemd-socket-activate -l 4000 podman run --rm --network=none \\
        ghcr.io/eriksjolund/socket-activate-echo";

pub(super) const SERVE_EXAMPLES: &str = "\
Examples:
  A line for each receive and send:
    systemd-socket-activate -l 4000 socket-activate-echo serve --debug
  A service of Type=notify that takes three seconds to start:
    ExecStart=/usr/local/bin/socket-activate-echo serve --sdnotify --start-sleep 3";

const SERVE_DESCRIPTION: &str = "\
Sockets:
Listening stream and seqpacket sockets, datagram sockets, connected sockets (Accept=yes) and a socket
on standard input (StandardInput=socket, inetd) are served, of the families unix, IPv4, IPv6 and
vsock, in any mix. Anything else that was handed over is refused by name. `inspect` in the place of
`serve` explains what was handed over.

Signals:
SIGTERM and SIGINT end it with exit status 0, after what was already received is sent back. The last
line of the log counts what was served.

Environment:
  LISTEN_PID, LISTEN_PIDFDID  the process that the sockets are for
  LISTEN_FDS                  how many there are, from file descriptor 3 on
  LISTEN_FDNAMES              their names, joined by colons
  NOTIFY_SOCKET               where --sdnotify sends READY=1
  WATCHDOG_USEC, WATCHDOG_PID how often the service manager wants to hear from the event loop";

const ACTIVATE_EXAMPLES: &str = "\
Examples:
  The demo set, served by this program from the first traffic on:
    socket-activate-echo activate
  Any program that takes its sockets as sd_listen_fds(3) says:
    socket-activate-echo activate -l tcp:127.0.0.1:4000 -l unix:/tmp/s --fdname web:admin PROGRAM
  One process a connection, as Accept=yes and inetd have it:
    socket-activate-echo activate -l tcp:127.0.0.1:4000 --accept --inetd cat
  What a service would be handed over:
    socket-activate-echo activate --now -l udp:127.0.0.1:4000 socket-activate-echo inspect";

const ACTIVATE_ENVIRONMENT: &str = "\
Environment:
COMMAND runs in place of this process, with the same process id, and finds LISTEN_PID, LISTEN_FDS
and LISTEN_FDNAMES; with --accept one process for each connection also finds REMOTE_ADDR and
REMOTE_PORT. Sockets that were handed over to this process itself are passed on, before those of -l.
HOME is where the unix sockets of the demo set are; a socket file stays when COMMAND ends, and the
next start replaces it.";

pub(super) const PROBE_EXAMPLES: &str = "\
Examples:
  The demo set, a row for each socket:
    socket-activate-echo probe
  The shortest and the median of a thousand round trips over one connection:
    socket-activate-echo probe --count 1000 tcp:127.0.0.1:3000
  256 MiB there and back, every byte verified:
    socket-activate-echo probe --size 268435456 unix:/run/echo.sock
  A virtual machine that is still booting:
    socket-activate-echo probe --wait --timeout 120 vsock:20:3000
  Lines from the terminal, through the multiplexer of Firecracker or Cloud Hypervisor:
    socket-activate-echo probe --interactive vsock-mux:/run/vm.vsock:3000";

const PROBE_DESCRIPTION: &str = "\
Output:
A row has the time of connect(2), the time to the first byte of the first reply, the shortest and
the median round trip, and the verdict: echoed, skipped, or the name of the failure. What is wrong
follows on standard error, with its likely cause and the next command to run. After a second of
waiting it says there for what, and why it may take time.

A socket of the demo set that this kernel cannot have, such as vsock without its loopback transport,
or whose packets cannot carry --size, is skipped and counts as no failure. An address that you name
is never skipped. The exit status is that of the first address that failed.

JSON:
--json prints one object with schema (1), exit_status, message_size, and results: an array in the
order of the addresses. Each has address, verdict, exit_status, messages_echoed, connect_ns,
first_reply_ns, round_trip_min_ns, round_trip_median_ns, round_trip_max_ns (nanoseconds, null where
it did not come to it), message and remedy (text or null).

Environment:
  HOME      where the unix sockets of the demo set are
  NO_COLOR  if set, the verdicts have no colour on a terminal either";

pub(super) const INSPECT_EXAMPLES: &str = "\
Examples:
  What systemd's own activator hands over:
    systemd-socket-activate -l 4000 --fdname=web socket-activate-echo inspect
  What a container finds, as JSON:
    systemd-socket-activate -l 4000 podman run --rm --network=none \\
        ghcr.io/eriksjolund/socket-activate-echo /socket-activate-echo inspect --json";

const INSPECT_OUTPUT: &str = "\
Output:
Each descriptor with its name, what the kernel says it is, its addresses, the options that matter,
and whether and how `serve` would serve it; each variable of the environment beside what
sd_listen_fds(3) expects; and the chain of parents that handed it over. Nothing is accepted or
received: a client that is waiting goes on waiting. The exit status is the one that `serve` would
end with.";

const INSPECT_UNIT: &str = "
  A unit, for one start:
    systemctl edit --runtime NAME.service, with Type=oneshot, an empty ExecStart= and then
    ExecStart=/usr/local/bin/socket-activate-echo inspect";

pub(super) fn program() -> String {
    sections(&[PROGRAM_EXAMPLES, &exit_statuses()])
}

pub(super) fn program_long() -> String {
    sections(&[PROGRAM_EXAMPLES, &addresses(true), &exit_statuses()])
}

pub(super) fn serve() -> String {
    sections(&[SERVE_DESCRIPTION, SERVE_EXAMPLES])
}

pub(super) fn activate() -> String {
    sections(&[ACTIVATE_EXAMPLES, &demo()])
}

pub(super) fn activate_long() -> String {
    sections(&[&addresses(false), &demo(), ACTIVATE_ENVIRONMENT, ACTIVATE_EXAMPLES])
}

pub(super) fn probe() -> String {
    sections(&[&addresses(true), PROBE_DESCRIPTION, PROBE_EXAMPLES])
}

pub(super) fn inspect() -> String {
    sections(&[INSPECT_OUTPUT, INSPECT_EXAMPLES]) + INSPECT_UNIT
}

fn sections(parts: &[&str]) -> String {
    parts.join("\n\n")
}

fn addresses(for_clients: bool) -> String {
    let mut text = String::from("Addresses:");
    for kind in &KINDS {
        if for_clients || kind.scheme != "vsock-mux" {
            text.push_str(&format!("\n  {}:{}", kind.scheme, kind.form));
        }
    }
    text
}

/// The sockets that `activate` binds without `-l`, and `probe` connects to without an address.
fn demo() -> String {
    let mut text = String::from("The demo set:");
    for (address, fd_name) in demo_set(Path::new("$HOME")) {
        text.push_str(&format!("\n  {:<45}  fd name {fd_name}", address.to_string()));
    }
    text.push_str("\nA machine without vsock or IPv6 is told so, and has the rest.");
    text
}

fn exit_statuses() -> String {
    let mut text = String::from("Exit status:\n    0  success");
    for (kind, meaning) in ErrorKind::ALL {
        text.push_str(&format!("\n  {:>3}  {meaning}", kind.exit_status()));
    }
    text
}
