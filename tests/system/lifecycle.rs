//! A server that ends when it is idle, again and again, with clients that arrive at random around
//! the end: each of them is served, by the server that ends or by the next one.

use crate::kit::{Bed, Output, say};
use crate::systemd::machine;

/// How often the server starts and ends at least.
const CYCLES: usize = 200;
/// With Podman a cycle takes a second. `LIFECYCLE_CYCLES=200` asks for more.
const CYCLES_WITH_PODMAN: usize = 40;
/// Clients of one batch, and how many batches there are at most: more than half of the clients find
/// the server gone.
const BATCH: usize = 50;
const BATCHES_MAX: usize = 60;

fn cycles(default: usize) -> usize {
    let asked = std::env::var("LIFECYCLE_CYCLES").ok();
    asked.map_or(default, |asked| asked.parse().expect("LIFECYCLE_CYCLES is a number"))
}

/// A way to start the server again, and where clients connect.
struct Bench<'a> {
    machine: &'a Bed,
    what: &'a str,
    addresses: &'a str,
    /// `--exit-idle-time`, in milliseconds.
    idle: usize,
    /// Prints how many servers have ended.
    ends: &'a str,
}

impl Bench<'_> {
    /// Clients come until the server has ended `cycles` times. Every client checks its echo.
    #[track_caller]
    fn run(&self, cycles: usize) {
        let ends = || {
            let count = self.machine.run(&format!("{{ {}; }} || true", self.ends)).ok();
            count.stdout.trim().parse::<usize>().unwrap_or_else(|_| panic!("no count\n{count}"))
        };
        let before = ends();
        for batch in 0..BATCHES_MAX {
            self.clients(batch).ok();
            let (ended, clients) = (ends() - before, (batch + 1) * BATCH);
            if ended >= cycles {
                let what = self.what;
                say(&format!("{what}: {ended} ends, {clients} clients, all of them served"));
                return;
            }
        }
        panic!("{}: the server has ended only {} times", self.what, ends() - before);
    }

    /// Each client comes at most twice the idle time after the reply to the one before it. The
    /// number of the batch is the seed.
    fn clients(&self, batch: usize) -> Output {
        let Self { addresses, idle, .. } = self;
        self.machine.run(&format!(
            "addresses=({addresses}); RANDOM={batch}; failed=0
             for client in $(seq {BATCH}); do
                 pause=$((RANDOM % (2 * {idle}))); address=${{addresses[RANDOM % ${{#addresses[@]}}]}}
                 sleep $(printf '%d.%03d' $((pause / 1000)) $((pause % 1000)))
                 socket-activate-echo probe --timeout 30 $address >/dev/null ||
                     {{ echo seed {batch}, client $client, $pause ms: $address; failed=1; }}
             done; exit $failed"
        ))
    }
}

fn unit(machine: &Bed, lines: &str, to: &str) {
    let dir = to.rsplit_once('/').map_or("", |(dir, _)| dir);
    machine.run(&format!("mkdir -p {dir} && printf '{lines}' > {to}")).ok();
}

/// As docs/units.md shows it. The limits of starts are meant for services that fail.
fn without_limits(machine: &Bed, name: &str, of: &str) {
    let units = "~/.config/systemd/user";
    let service = format!("{units}/{name}.service.d/idle.conf");
    unit(machine, &format!("[Unit]\\nStartLimitIntervalSec=0\\n{of}"), &service);
    let socket = "[Socket]\\nTriggerLimitIntervalSec=0\\nPassCredentials=yes\\n";
    unit(machine, socket, &format!("{units}/{name}.socket.d/idle.conf"));
    machine.run("systemctl --user daemon-reload").ok();
}

/// How many servers of a unit have ended because they were idle.
fn ends_of(unit: &str) -> String {
    format!("journalctl --user --unit={unit} --output=cat | grep -c 'idle for'")
}

pub(crate) const PLAIN: &str = "tcp:127.0.0.1:3007 tcp:[::1]:3007 udp:127.0.0.1:3007 udp:[::1]:3007 \
                     unix:$XDG_RUNTIME_DIR/echo-plain.stream \
                     unix-seqpacket:$XDG_RUNTIME_DIR/echo-plain.seqpacket \
                     unix-dgram:$XDG_RUNTIME_DIR/echo-plain.datagram";

#[test]
fn a_plain_unit_loses_nobody_when_it_ends_idle() {
    let Some(machine) = machine("echo-plain with --exit-idle-time") else { return };
    machine
        .run(
            "mkdir -p ~/.config/systemd/user; cp systemd/plain/echo-plain.* ~/.config/systemd/user",
        )
        .ok();
    let service = "[Service]\\nExecStart=\\n\
                   ExecStart=socket-activate-echo serve --sdnotify --exit-idle-time 0.05\\n";
    without_limits(&machine, "echo-plain", service);
    machine.run("systemctl --user start echo-plain.socket").ok();
    let ends = ends_of("echo-plain.service");
    let what = "plain unit";
    Bench { machine: &machine, what, addresses: PLAIN, idle: 50, ends: &ends }.run(cycles(CYCLES));
    machine.run("systemctl --user is-active echo-plain.socket").ok();
    machine.run("systemctl --user stop echo-plain.socket").ok();
}

#[test]
fn our_own_activator_loses_nobody_when_its_command_ends_idle() {
    let Some(machine) = machine("activate --restart with --exit-idle-time") else { return };
    let addresses = PLAIN.replace("echo-plain", "activate");
    let listen: String = addresses.split(' ').map(|address| format!(" -l {address}")).collect();
    let activator = machine.spawn(&format!(
        "echo $$ > /tmp/activate.pid
         exec socket-activate-echo activate --restart {listen} -- \
             socket-activate-echo serve --exit-idle-time 0.05 2> >(exec tee /tmp/activate.log)"
    ));
    activator.wait_for("waiting for");
    let ends = "grep -c 'idle for' /tmp/activate.log";
    let what = "activate --restart";
    Bench { machine: &machine, what, addresses: &addresses, idle: 50, ends }.run(cycles(CYCLES));
    machine.run("kill -TERM $(cat /tmp/activate.pid)").ok();
    activator.wait_for("ended by SIGTERM");
}

/// The container ends with its server, and the unit is inactive until the next client comes.
#[test]
fn rootless_podman_loses_nobody_when_the_container_ends_idle() {
    let Some(machine) = machine("echo@ with --exit-idle-time") else { return };
    machine
        .run(
            "set -e
             mkdir -p ~/.config/systemd/user ~/.config/socket-activate-echo
             cp systemd/echo@.* ~/.config/systemd/user
             echo ECHO_OPTIONS=--exit-idle-time=0.3 > ~/.config/socket-activate-echo/env",
        )
        .ok();
    without_limits(&machine, "echo@", "");
    let more = "[Socket]\\nListenStream=127.0.0.1:3000\\nListenDatagram=127.0.0.1:3000\\n\
                ListenSequentialPacket=%%t/echo.seqpacket\\n";
    unit(&machine, more, "~/.config/systemd/user/echo@idle.socket.d/more.conf");
    machine.run("systemctl --user daemon-reload; systemctl --user start echo@idle.socket").ok();
    let addresses = "tcp:127.0.0.1:3000 udp:127.0.0.1:3000 unix:$HOME/echo_stream_sock.idle \
                     unix-dgram:$HOME/echo_datagram_sock.idle \
                     unix-seqpacket:$XDG_RUNTIME_DIR/echo.seqpacket";
    let ends = "journalctl --user --unit=echo@idle.service --output=cat | grep -c '^Started '";
    let what = "rootless Podman";
    Bench { machine: &machine, what, addresses, idle: 300, ends }.run(cycles(CYCLES_WITH_PODMAN));
    machine.run("systemctl --user stop echo@idle.socket").ok();
}

/// docs/podman.md: the container ends, its activator stays, and SIGTERM reaches the server.
#[test]
fn a_container_is_started_again_by_our_own_activator() {
    let Some(machine) = machine("activate --restart with podman run") else { return };
    let activator = machine.spawn(
        "echo $$ > /tmp/activate.pid
         exec socket-activate-echo activate --restart -l tcp:127.0.0.1:4000 -l udp:127.0.0.1:4000 \
             -- podman run --rm --name echo2 --network=none localhost/socket-activate-echo \
             /socket-activate-echo serve --exit-idle-time 1",
    );
    activator.wait_for("waiting for");
    for _ in 0..3 {
        machine.run("socket-activate-echo probe udp:127.0.0.1:4000 tcp:127.0.0.1:4000").ok();
        machine.until("[ -z \"$(podman ps --all --quiet)\" ]");
    }
    machine.run("socket-activate-echo probe tcp:127.0.0.1:4000").ok();
    machine.run("kill -TERM $(cat /tmp/activate.pid)").ok();
    activator.finish().said("ended by SIGTERM");
    machine.run("[ -z \"$(podman ps --all --quiet)\" ]").ok();
}

#[test]
fn a_quadlet_ends_when_idle_and_starts_again() {
    let Some(machine) = machine("the Quadlet with --exit-idle-time") else { return };
    let containers = "~/.config/containers/systemd";
    machine
        .run(&format!(
            "set -e
             mkdir -p {containers} ~/.config/systemd/user
             cp quadlet/*.container {containers}
             cp quadlet/*.socket ~/.config/systemd/user"
        ))
        .ok();
    let exec = "[Container]\\nExec=/socket-activate-echo serve --sdnotify --exit-idle-time 0.3\\n";
    unit(&machine, exec, &format!("{containers}/echo-quadlet@.container.d/idle.conf"));
    machine
        .run("systemctl --user daemon-reload; systemctl --user start echo-quadlet@3000.socket")
        .ok();
    for _ in 0..3 {
        machine.run("socket-activate-echo probe tcp:127.0.0.1:3000 udp:[::1]:3000").ok();
        let state = "systemctl --user show echo-quadlet@3000.service --property";
        machine.until(&format!("[ $({state}=ActiveState --value) = inactive ]"));
        machine.run(&format!("{state}=Result,ExecMainStatus")).ok().said("Result=success");
        machine.run("systemctl --user is-active echo-quadlet@3000.socket").ok();
        machine.run("[ -z \"$(podman ps --all --quiet)\" ]").ok();
    }
    machine.run("systemctl --user stop echo-quadlet@3000.socket").ok();
}
