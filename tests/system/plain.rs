//! The units that run the program without a container, under systemd 257 as PID 1.

use crate::kit::Bed;
use crate::lifecycle::PLAIN;
use crate::systemd::{as_root, machine, probe};

/// Installs the unit files of `systemd/plain` that the pattern names, for the user manager.
fn install(machine: &Bed, pattern: &str) {
    machine
        .run(&format!(
            "set -e
             mkdir -p ~/.config/systemd/user
             cp systemd/plain/{pattern} ~/.config/systemd/user
             systemctl --user daemon-reload"
        ))
        .ok();
}

#[test]
fn one_service_serves_every_kind_of_socket() {
    let Some(machine) = machine("echo-plain") else { return };
    install(&machine, "echo-plain.*");
    machine.run("systemctl --user start echo-plain.socket").ok();
    probe(&machine, PLAIN);
    machine
        .run("systemctl --user show echo-plain.service --property=StatusText")
        .ok()
        .said("StatusText=");
    machine.run("systemctl --user stop echo-plain.socket").ok();
    machine.run("systemctl --user is-active echo-plain.service").refused().said("inactive");
}

/// A stopped process feeds no watchdog: the manager kills it, starts another, and the client that
/// came meanwhile is served by that one.
#[test]
fn the_watchdog_replaces_a_server_that_hangs() {
    let Some(machine) = machine("WatchdogSec=") else { return };
    install(&machine, "echo-plain.*");
    machine
        .run(
            "set -e
             mkdir ~/.config/systemd/user/echo-plain.service.d
             printf '[Service]\\nWatchdogSec=1s\\n' \
                 > ~/.config/systemd/user/echo-plain.service.d/watchdog.conf
             systemctl --user daemon-reload
             systemctl --user start echo-plain.socket",
        )
        .ok();
    probe(&machine, "tcp:127.0.0.1:3007");
    let restarts = "systemctl --user show --property=NRestarts --value echo-plain.service";
    // Fed, it outlives three times its deadline.
    let old = "systemctl --user show --property=MainPID --value echo-plain.service";
    machine.run(&format!("timeout 3 tail --pid=$({old}) -f /dev/null; [ $({restarts}) = 0 ]")).ok();
    machine.run("systemctl --user kill --signal=STOP echo-plain.service").ok();
    probe(&machine, "tcp:127.0.0.1:3007");
    machine.run(&format!("[ $({restarts}) = 1 ]")).ok();
    machine.run("journalctl --user --unit=echo-plain.service").ok().said("Watchdog timeout");
}

/// Accept=yes: each connection has a process; the same on standard input, as inetd hands it over.
#[test]
fn a_connection_can_have_its_own_process() {
    let Some(machine) = machine("Accept=yes") else { return };
    for (unit, addresses) in [
        (
            "echo-accept",
            "tcp:127.0.0.1:3107 unix:$XDG_RUNTIME_DIR/echo-accept.stream \
             unix-seqpacket:$XDG_RUNTIME_DIR/echo-accept.seqpacket",
        ),
        ("echo-inetd", "tcp:127.0.0.1:3207"),
    ] {
        install(&machine, &format!("{unit}*"));
        machine.run(&format!("systemctl --user start {unit}.socket")).ok();
        probe(&machine, addresses);
        machine.until(&format!(
            "[ $(systemctl --user show --property=NConnections --value {unit}.socket) = 0 ]"
        ));
        machine.run(&format!("systemctl --user --failed --plain | grep {unit}")).refused();
    }
}

#[test]
fn a_listening_socket_can_be_standard_input() {
    let Some(machine) = machine("StandardInput=socket") else { return };
    install(&machine, "echo-stdin.*");
    machine.run("systemctl --user start echo-stdin.socket").ok();
    probe(&machine, "tcp:127.0.0.1:3307");
    machine.run("systemctl --user is-active echo-stdin.service").ok();
}

/// What `systemd-analyze security` prints is out of ten; lower is better.
const EXPOSURE_MAX: f64 = 0.1;

#[test]
fn the_hardened_service_serves_every_kind_of_socket() {
    let Some(machine) = machine("echo-hardened") else { return };
    let root = |script: &str| as_root(&machine, script);
    root(
        "set -e
         cp /home/demo/socket-activate-echo/systemd/plain/echo-hardened.* /etc/systemd/system
         systemctl daemon-reload
         systemctl start echo-hardened.socket",
    )
    .ok();
    root(
        "socket-activate-echo probe --count 10 \
         tcp:127.0.0.1:3407 tcp:[::1]:3407 udp:127.0.0.1:3407 udp:[::1]:3407 \
         unix:/run/echo-hardened/stream unix-seqpacket:/run/echo-hardened/seqpacket \
         unix-dgram:/run/echo-hardened/datagram",
    )
    .ok();
    // The client's own socket is beside the server's, where the server can see it.
    root(
        "[ \"$(echo hello | socat -t 5 - \
             unix-sendto:/run/echo-hardened/datagram,bind=/run/echo-hardened/client,umask=0)\" = hello ]",
    )
    .ok();
    let report = root("systemd-analyze security --no-pager echo-hardened.service").ok();
    let exposure = report
        .stdout
        .lines()
        .find_map(|line| line.split_once("Overall exposure level for echo-hardened.service: "))
        .and_then(|(_, rest)| rest.split_whitespace().next()?.parse::<f64>().ok());
    assert!(exposure.is_some_and(|exposure| exposure <= EXPOSURE_MAX), "{report}");
    root("systemctl stop echo-hardened.socket; ! systemctl is-failed echo-hardened.service").ok();
}
