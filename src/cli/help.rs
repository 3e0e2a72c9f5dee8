//! What follows the flags in `--help`, and in the manual: sections that begin with a title and a
//! colon. Indented lines are kept as they are, the rest is running text. No line has more than 80
//! columns.

use std::path::Path;

use crate::address::{KINDS, demo_set};
use crate::error::ErrorKind;

/// The end of `-h`.
pub(super) const SUMMARY: &str =
    "--help has all flags, examples, the forms of ADDR and the exit statuses";

/// The same for the verbs that take no address.
pub(super) const SUMMARY_WITHOUT_ADDRESSES: &str =
    "--help has all flags, examples and the exit statuses";

const PROGRAM_EXAMPLES: &str = "\
Examples:
  The demo set without systemd, and in a second shell a client for it:
    socket-activate-echo activate
    socket-activate-echo probe
  Under systemd's own activator:
    systemd-socket-activate -l 4000 socket-activate-echo
  In a container that has this socket and no network:
    systemd-socket-activate -l 4000 podman run --rm --network=none \\
        localhost/socket-activate-echo
  The manual pages and the completions for your shell:
    socket-activate-echo --generate ~/.local/share";

const SERVE_EXAMPLES: &str = "\
Examples:
  A line for each receive and send:
    systemd-socket-activate -l 4000 socket-activate-echo serve --debug
  Which client address arrives? (docs/info.md)
    systemd-socket-activate -l 4000 --fdname info \\
        socket-activate-echo serve --info info
  A service of Type=notify that takes three seconds to start:
    ExecStart=/usr/local/bin/socket-activate-echo serve --sdnotify -t 3";

const SERVE_DESCRIPTION: &str = "\
Sockets:
`serve` takes listening stream and seqpacket sockets, datagram sockets,
connections (Accept=yes), and a socket on standard input (StandardInput=socket,
inetd), of the families unix, IPv4, IPv6 and vsock, in any mix. It refuses
anything else, and says which descriptor it is. Run `inspect` in place of
`serve` to see what was passed.

Signals:
SIGTERM and SIGINT end `serve` with exit status 0, after it has sent back what
it had received, or with --keep-connections after it has stored it. The last
line of the log counts what was served.

Environment:
  LISTEN_PID, LISTEN_PIDFDID   the process that the sockets are for
  LISTEN_FDS                   how many sockets, from descriptor 3 on
  LISTEN_FDNAMES               their names, joined by colons
  NOTIFY_SOCKET                where --sdnotify sends READY=1
  FDSTORE                      how many descriptors the fd store takes
  WATCHDOG_USEC, WATCHDOG_PID  how often which process must send WATCHDOG=1";

const ACTIVATE_EXAMPLES: &str = "\
Examples:
  The demo set, served by this program from the first traffic on:
    socket-activate-echo activate
  Any program that takes its sockets with sd_listen_fds(3):
    socket-activate-echo activate -l tcp:127.0.0.1:4000 -l unix:/tmp/s \\
        --fdname web:admin PROGRAM
  One process for each connection, as with Accept=yes and inetd:
    socket-activate-echo activate -l tcp:127.0.0.1:80 --accept --inetd cat
  What a service would receive:
    socket-activate-echo activate --now -l udp:127.0.0.1:4000 \\
        socket-activate-echo inspect
  A program that ends by itself, and starts again for the next client:
    socket-activate-echo activate --restart -l tcp:127.0.0.1:4000 PROGRAM";

const ACTIVATE_ENVIRONMENT: &str = "\
Environment:
COMMAND replaces this process, so it has the same process id. It finds
LISTEN_PID, LISTEN_FDS and LISTEN_FDNAMES set. With --accept, each connection
has a process of its own, which also finds REMOTE_ADDR and REMOTE_PORT. Sockets
that were passed to `activate` itself are passed on, before those of -l.

With --restart, COMMAND is a child process, and `activate` holds the sockets:
what comes while no COMMAND runs waits in the kernel. If COMMAND fails, or ends
without taking its traffic, the next start has to wait: for 1 ms, then twice as
long each time, up to 500 ms (100 ms after a success). SIGTERM and SIGINT are
forwarded; the exit status is then that of COMMAND, 128 + N if signal N ended
it, and 0 if none runs. If `activate` is killed, COMMAND gets SIGTERM.

The unix sockets of the demo set are files in the folder HOME. A socket file
remains when COMMAND ends; the next start replaces it.";

const PROBE_EXAMPLES: &str = "\
Examples:
  The demo set, a row for each socket:
    socket-activate-echo probe
  The shortest and the median of 1000 round trips over one connection:
    socket-activate-echo probe --count 1000 tcp:127.0.0.1:3000
  256 MiB there and back, every byte verified:
    socket-activate-echo probe --size 268435456 unix:/run/echo.sock
  What a server with `serve --info` sees of this client:
    socket-activate-echo probe --info tcp:127.0.0.1:3001
  A virtual machine that is still booting:
    socket-activate-echo probe --wait --timeout 120 vsock:20:3000
  Lines from the terminal, through the vsock socket of Firecracker:
    socket-activate-echo probe --interactive vsock-mux:/run/vm.vsock:3000";

const PROBE_DESCRIPTION: &str = "\
Output:
A row has the time of connect(2), the time to the first byte of the first reply,
the shortest and the median round trip, and the verdict: echoed, skipped, or the
name of the failure. What is wrong follows on standard error, with its likely
cause and the next command to run. After a second of waiting, a line there says
what `probe` waits for, and why it may take time.

A socket of the demo set is skipped if this kernel cannot have it, such as vsock
without its loopback transport, or if its packets cannot carry --size. That is
no failure. An address on the command line is never skipped. The exit status is
that of the first address that failed.

JSON:
--json prints one object with schema (1), exit_status, message_size, and
results: an array in the order of the addresses. Each result has address,
verdict, exit_status, messages_echoed, connect_ns, first_reply_ns,
round_trip_min_ns, round_trip_median_ns, round_trip_max_ns (nanoseconds, or null
if not measured), message and remedy (text or null).

Environment:
  HOME      the folder of the unix sockets of the demo set
  NO_COLOR  if set, the verdicts have no colour, even on a terminal";

const BENCH_EXAMPLES: &str = "\
Examples:
  Latency of one connection:
    socket-activate-echo bench tcp:127.0.0.1:3000
  Throughput of 50 connections, and a picture of the latencies:
    socket-activate-echo bench -c 50 --plot latency.svg tcp:127.0.0.1:3000
  Bytes a second, each one verified:
    socket-activate-echo bench -m bulk --verify unix:/run/echo.sock
  Packets a second of UDP, with few system calls:
    socket-activate-echo bench -m flood --gso udp:127.0.0.1:3000
  The latency of 1000 requests a second, stalls included:
    socket-activate-echo bench -c 10 --rate 1000 tcp:127.0.0.1:3000
  How long the first client of an activated service waits:
    socket-activate-echo bench -m cold
  Two servers, in turns:
    socket-activate-echo bench --compare host=tcp:127.0.0.1:3000 \\
        container=tcp:127.0.0.1:4000";

const INSPECT_EXAMPLES: &str = "\
Examples:
  What systemd's own activator passes:
    systemd-socket-activate -l 4000 socket-activate-echo inspect
  What a container finds, as JSON:
    systemd-socket-activate -l 4000 podman run --rm --network=none \\
        localhost/socket-activate-echo \\
        /socket-activate-echo inspect --json
  What a unit receives, until the next boot:
    systemctl edit --runtime NAME.service
  In the editor, write these lines below [Service]:
    Type=oneshot
    ExecStart=
    ExecStart=/usr/local/bin/socket-activate-echo inspect";

const CONFORM_EXAMPLES: &str = "\
Examples:
  Does rootless Podman hand sockets over right?
    socket-activate-echo conform -- podman run --rm --network=none \\
        localhost/socket-activate-echo /socket-activate-echo
  Only what happens to the names, behind systemd's own activator:
    socket-activate-echo conform --case 'names.*' -- \\
        systemd-socket-activate socket-activate-echo
  In CI, with the differences that are known:
    socket-activate-echo conform --format junit --expect known.txt -- \\
        ENGINE run socket-activate-echo > conform.xml
  A hypervisor, in whose guest an echo server listens on vsock port 3000:
    socket-activate-echo conform --vsock-mux vsock-mux:/path/to.sock:3000
  What is checked, and where it is written:
    socket-activate-echo conform --list";

const CONFORM_DESCRIPTION: &str = "\
What it does:
`conform` takes the place of the service manager. For each case it makes
sockets, lets clients connect, starts COMMAND with the sockets, and compares
what arrives inside with what was handed over. COMMAND has to end in this
program; `inspect --json` or `serve` is appended to it. SIGTERM ends it.
With --vsock-mux it takes the place of rude clients of a hypervisor: half a
CONNECT, a close at any time, a half-close, many at once. Each time, the next
client has to be served, and no descriptor may stay open. /proc shows the
descriptors only to root and to the user whose process it is.

Output:
Each case is `pass`, `fail` or `skip` (this kernel cannot try it), with what was
seen. The exit status is 0 if every result is as expected. TAP shows a known
failure as TODO, JUnit as skipped.

JSON:
--format json prints one object with schema (1), version, kernel, command (with
--vsock-mux the address), and
cases: an array of objects with name, result (pass, fail or skip), reason,
source, explanation, expected (whether it is) and duration_ms.";

const INSPECT_OUTPUT: &str = "\
Output:
Each descriptor: its name, what the kernel says it is, its addresses, the
options that matter, and whether and how `serve` would serve it. Each variable
of the environment, with what sd_listen_fds(3) expects. The parent processes.
Nothing is accepted or received, so a client that waits goes on waiting. The
exit status is the one that `serve` would end with.";

pub(super) fn program() -> String {
    sections(&[PROGRAM_EXAMPLES, &addresses(true)])
}

pub(super) fn serve() -> String {
    sections(&[SERVE_DESCRIPTION, SERVE_EXAMPLES])
}

pub(super) fn activate() -> String {
    sections(&[ACTIVATE_EXAMPLES, &addresses(false), &demo(), ACTIVATE_ENVIRONMENT])
}

pub(super) fn probe() -> String {
    sections(&[PROBE_EXAMPLES, &addresses(true), PROBE_DESCRIPTION])
}

pub(super) fn bench() -> String {
    sections(&[BENCH_EXAMPLES, &addresses(true)])
}

pub(super) fn conform() -> String {
    sections(&[CONFORM_DESCRIPTION, CONFORM_EXAMPLES])
}

pub(super) fn inspect() -> String {
    sections(&[INSPECT_OUTPUT, INSPECT_EXAMPLES])
}

/// What one verb has to say, and what all have in common.
fn sections(parts: &[&str]) -> String {
    format!("{}\n\n{}", parts.join("\n\n"), exit_statuses())
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
    text.push_str("\nOn a machine without vsock or IPv6, a message says so and the rest is bound.");
    text
}

fn exit_statuses() -> String {
    let mut text = String::from("Exit status:\n    0  success");
    for (kind, meaning) in ErrorKind::ALL {
        text.push_str(&format!("\n  {:>3}  {meaning}", kind.exit_status()));
    }
    text
}
