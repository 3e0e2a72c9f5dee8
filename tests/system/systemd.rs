//! systemd 257 as PID 1 with the user manager of `demo`: the README's walk-through, and each
//! shipped unit that runs a container.

use std::process::Command;
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

use crate::images;
use crate::kit::{Bed, Output, Why, bed_script, not_run, run};
use crate::page::readme;

/// The machine, in the hands of one test at a time.
pub(crate) type Machine = MutexGuard<'static, Bed>;

const ENTER_AS_DEMO: &[&str] = &[
    "runuser",
    "--user=demo",
    "--",
    "env",
    "-i",
    "--chdir=/home/demo/socket-activate-echo",
    "HOME=/home/demo",
    "USER=demo",
    "PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin",
    "XDG_RUNTIME_DIR=/run/user/1000",
    "LANG=C.UTF-8",
    "TERM=dumb",
];

/// The image by the name that the units run, and by the one that the original's README runs.
const LOAD_IMAGE: &str = "podman load --quiet --input /srv/demo.tar && \
    podman tag localhost/socket-activate-echo ghcr.io/eriksjolund/socket-activate-echo";

const JOURNAL: &str = "journalctl --no-pager --lines=60 --output=short-monotonic 2>/dev/null";

/// The booted machine with the user's Podman as it was after the boot; commands run as `demo`.
pub(crate) fn machine(what: &str) -> Option<Machine> {
    static MACHINE: LazyLock<Result<Mutex<Bed>, Why>> = LazyLock::new(boot);
    match &*MACHINE {
        Ok(machine) => {
            let machine = machine.lock().unwrap_or_else(PoisonError::into_inner);
            clean(&machine);
            Some(machine)
        }
        Err(why) => {
            not_run(what, why);
            None
        }
    }
}

fn boot() -> Result<Mutex<Bed>, Why> {
    let share = images::built()?;
    let enter = |pid: &str| {
        let nsenter = ["nsenter", "-t", pid, "-a"];
        nsenter.iter().chain(ENTER_AS_DEMO).map(|word| (*word).to_owned()).collect()
    };
    let bed = Bed::start(bed_script("nspawn").arg(share), enter, JOURNAL)?;
    bed.run(LOAD_IMAGE).ok();
    Ok(Mutex::new(bed))
}

/// Takes away what another test left, also one that failed half-way.
fn clean(machine: &Bed) {
    machine
        .run(
            "systemctl --user stop 'echo*.socket' 'echo*.service' podman-usernamespace.service
             rm -rf ~/.config/systemd ~/.config/containers ~/.config/socket-activate-echo
             systemctl --user daemon-reload
             systemctl --user reset-failed
             podman rm --all --force --time=0",
        )
        .ok();
}

/// Runs a shell script as root on the machine.
pub(crate) fn as_root(machine: &Bed, script: &str) -> Output {
    run(Command::new("nsenter").args(["-t", machine.pid(), "-a", "bash", "-c", script]))
}

/// The README's installation.
pub(crate) fn install(machine: &Bed) {
    machine.readme("mkdir -p ~/.config/systemd/user");
    machine.readme("cp -r systemd/echo* ~/.config/systemd/user");
    machine.readme("systemctl --user daemon-reload");
}

const WITHOUT_VSOCK: &str =
    "sed -i /vsock/d ~/.config/systemd/user/echo@demo.socket.d/override.conf
                             systemctl --user daemon-reload";

/// Starts the demo set, as in the README. Unless Linux 7.0's `net.vsock.ns_mode` is local, vsock
/// ports have no namespace, so a program on the machine itself may have the port; then the unit is
/// started without.
pub(crate) fn start_demo_set(machine: &Bed) {
    let start = readme("systemctl --user start echo@demo.socket").command;
    if machine.run(&start).succeeded() {
        return;
    }
    machine
        .run("journalctl --no-pager --user --unit=echo@demo.socket --lines=10")
        .said("(vsock::3000): Address already in use");
    machine.run(WITHOUT_VSOCK).ok();
    machine.run(&start).ok();
}

/// Sends to each address and verifies the echo.
pub(crate) fn probe(machine: &Bed, addresses: &str) {
    machine.run(&format!("socket-activate-echo probe --count 10 {addresses}")).ok();
}

pub(crate) const DEMO: &str = "tcp:127.0.0.1:3000 tcp:[::1]:3000 udp:127.0.0.1:3000 udp:[::1]:3000 \
                    unix:$HOME/echo_stream_sock.demo unix-dgram:$HOME/echo_datagram_sock.demo";

#[test]
fn readme_walk_through() {
    let Some(machine) = machine("the README's walk-through with rootless Podman") else { return };
    install(&machine);
    start_demo_set(&machine);
    // What goes to vsock needs the loopback transport, which the VM has.
    machine.readme("echo hello | socat - tcp4:127.0.0.1:3000");
    machine.readme("echo hello | socat - tcp6:[::1]:3000");
    machine.readme("echo hello | socat - udp4:127.0.0.1:3000");
    machine.readme("echo hello | socat -t 30 - udp4:127.0.0.1:3000");
    machine.readme("echo hello | socat - udp6:[::1]:3000");
    machine.readme("echo hello | socat - unix:$HOME/echo_stream_sock.demo");
    machine.readme("socket-activate-echo probe");
    machine.readme("podman exec -t echo-demo curl https://podman.io");
    machine
        .run("podman exec echo-demo /socket-activate-echo probe --timeout 5 tcp:1.2.3.4:80")
        .refused()
        .said("Network is unreachable");
    machine.readme("journalctl -xe --user -u echo@demo.service").said("Started");
}

#[test]
fn the_demo_instance_restarts_and_stops() {
    let Some(machine) = machine("restart and stop of echo@demo") else { return };
    install(&machine);
    start_demo_set(&machine);
    probe(&machine, DEMO);
    machine.run("systemctl --user restart echo@demo.service").ok();
    probe(&machine, DEMO);
    machine.run("systemctl --user restart echo@demo.socket").ok();
    probe(&machine, DEMO);
    machine.run("systemctl --user stop echo@demo.service").ok();
    probe(&machine, DEMO);
    machine.run("systemctl --user stop echo@demo.socket").ok();
    machine.run("systemctl --user is-active echo@demo.service").refused().said("inactive");
    machine.run("[ -z \"$(podman ps --all --quiet)\" ] && ! ls ~/echo_*").ok();
}

/// A client that is bound to a path is answered if the container sees that path and may write to
/// the socket there.
#[test]
fn a_datagram_client_with_a_path_is_answered_through_a_mount() {
    let Some(machine) = machine("unix datagrams to a client's path") else { return };
    install(&machine);
    machine
        .run(
            "set -e
             mkdir -p ~/.config/socket-activate-echo ~/echo-clients
             echo ECHO_OPTIONS=--debug > ~/.config/socket-activate-echo/env
             echo \"PODMAN_OPTIONS=--volume=$HOME/echo-clients:$HOME/echo-clients\" \
                 >> ~/.config/socket-activate-echo/env",
        )
        .ok();
    start_demo_set(&machine);
    probe(&machine, DEMO);
    let client = |path: &str| {
        machine.run(&format!(
            "echo hello | socat -t 1 - unix-sendto:$HOME/echo_datagram_sock.demo,bind={path},umask=0"
        ))
    };
    client("$HOME/echo-clients/client").ok().said("hello");
    client("$HOME/client").ok();
    machine
        .until("journalctl --user --unit=echo@demo.service | grep 'not answered'")
        .said("/home/demo/client: its sender's path leads to no socket in the server");
}

/// With `--sdnotify=container` the server's own READY=1 makes the unit active: not a moment before
/// it serves.
#[test]
fn the_unit_is_activating_until_the_server_is_ready() {
    let Some(machine) = machine("--sdnotify=container") else { return };
    install(&machine);
    machine
        .run(
            "mkdir -p ~/.config/socket-activate-echo
             echo ECHO_OPTIONS=--start-sleep=3 > ~/.config/socket-activate-echo/env",
        )
        .ok();
    start_demo_set(&machine);
    let client = machine.spawn("socket-activate-echo probe tcp:127.0.0.1:3000");
    let state = "systemctl --user show --property=ActiveState --value echo@demo.service";
    machine.until(&format!("[ $({state}) = activating ]"));
    client.finish().ok();
    machine.until(&format!("[ $({state}) = active ]"));
    let seconds = "awk -F= '{ at[$1] = $2 } END { printf \"%d\", \
                   (at[\"ActiveEnterTimestampMonotonic\"] - \
                    at[\"InactiveExitTimestampMonotonic\"]) / 1e6 }'";
    machine
        .run(&format!(
            "took=$(systemctl --user show echo@demo.service | {seconds}); \
             echo activating for $took s; [ $took -ge 3 ]"
        ))
        .ok();
}

/// The image is not there yet: the client that came first waits, and is served when it is.
#[test]
fn the_first_client_waits_for_the_image() {
    let Some(machine) = machine("a first client before the image") else { return };
    install(&machine);
    machine.run("podman untag localhost/socket-activate-echo").ok();
    start_demo_set(&machine);
    let client = machine.spawn("socket-activate-echo probe --timeout 60 tcp:127.0.0.1:3000");
    let restarts = "systemctl --user show --property=NRestarts --value echo@demo.service";
    machine.until(&format!("[ $({restarts}) -ge 1 ]"));
    machine.run(LOAD_IMAGE).ok();
    client.finish().ok();
}

/// The engine of echo-restrict has no right to open an internet socket, and its server serves one.
#[test]
fn the_restricted_engine_serves() {
    let Some(machine) = machine("echo-restrict") else { return };
    install(&machine);
    machine
        .run(
            "set -e
             cp systemd/podman-usernamespace.service ~/.config/systemd/user
             systemctl --user daemon-reload
             systemctl --user start echo-restrict.socket",
        )
        .ok();
    probe(&machine, "tcp:127.0.0.1:9000");
    machine.run("systemctl --user is-active podman-usernamespace.service").ok();
    let restricted = "systemd-run --user --quiet --pipe --wait \
        --property=RestrictAddressFamilies='AF_UNIX AF_NETLINK' --property=NoNewPrivileges=yes";
    machine
        .run(&format!("{restricted} podman pull 127.0.0.1:1/image"))
        .refused()
        .said("address family not supported by protocol");
    // Why the unit asks for runc: crun brings the loopback interface up through an AF_INET socket.
    machine
        .run(&format!(
            "{restricted} podman --runtime crun run --rm --network=none \
             localhost/socket-activate-echo /socket-activate-echo --version"
        ))
        .refused()
        .said("crun");
    machine
        .run(&format!(
            "{restricted} podman --runtime runc run --rm --network=none \
             localhost/socket-activate-echo /socket-activate-echo --version"
        ))
        .ok();
}

#[test]
fn the_quadlet_serves() {
    let Some(machine) = machine("the Quadlet") else { return };
    machine
        .run(
            "set -e
             mkdir -p ~/.config/containers/systemd ~/.config/systemd/user
             cp quadlet/*.container ~/.config/containers/systemd
             cp quadlet/*.socket ~/.config/systemd/user
             systemctl --user daemon-reload
             systemctl --user start echo-quadlet@3000.socket",
        )
        .ok();
    probe(&machine, "tcp:127.0.0.1:3000 tcp:[::1]:3000 udp:127.0.0.1:3000 udp:[::1]:3000");
    probe(&machine, "unix:$XDG_RUNTIME_DIR/echo-quadlet.3000");
    machine
        .run("podman inspect echo-quadlet-3000 --format '{{.EffectiveCaps}} {{.HostConfig.NetworkMode}} {{.HostConfig.ReadonlyRootfs}}'")
        .ok()
        .said("[] none true");
    machine.run("systemctl --user stop echo-quadlet@3000.socket").ok();
    machine.run("[ -z \"$(podman ps --all --quiet)\" ]").ok();
}

/// A kernel without AF_VSOCK answers socket(2) as the manager's own filter does here.
#[test]
fn without_vsock_the_demo_set_says_so_and_the_rest_can_be_had() {
    let Some(machine) = machine("a user manager without AF_VSOCK") else { return };
    let manager = |setting: &str| {
        as_root(
            &machine,
            &format!(
                "mkdir -p /run/systemd/system/user@1000.service.d
                 printf '[Service]\\nRestrictAddressFamilies={setting}\\n' \
                     > /run/systemd/system/user@1000.service.d/no-vsock.conf
                 systemctl daemon-reload && systemctl restart user@1000.service"
            ),
        )
        .ok()
    };
    manager("~AF_VSOCK");
    install(&machine);
    let refused = machine.run("systemctl --user start echo@demo.socket");
    let journal = machine.run("journalctl --no-pager --user --unit=echo@demo.socket");
    machine.run(WITHOUT_VSOCK).ok();
    machine.run("systemctl --user start echo@demo.socket").ok();
    probe(&machine, DEMO);
    manager("");
    refused.refused();
    journal.said("Address family not supported by protocol");
}
