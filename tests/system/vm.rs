//! The VM of `vm/`: Debian 13 with rootless Podman and `echo@demo.socket`, reached over AF_VSOCK.
//!
//! It has what the kernel of a test machine may lack: vsock transports to its host and to itself,
//! SCTP, and a service manager that reports to the host. It boots once, and the tests take turns.

use std::fs;
use std::io::{self, Read};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::process::Command;
use std::sync::mpsc::{self, Receiver};
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::kit::{Bed, Output, Why, bed_script, not_run, run, say};
use crate::page::readme;
use crate::{images, kubernetes};

/// An emulated processor needs 45 s on a quiet machine.
const BOOT_TIMEOUT: Duration = Duration::from_secs(400);

/// Runs a command as the user whose containers these are.
const AS_DEMO: &str = "runuser -u demo -- env XDG_RUNTIME_DIR=/run/user/1000 HOME=/home/demo";

pub(crate) struct Vm {
    pub(crate) bed: Bed,
    /// The host's side of the guest's AF_VSOCK.
    socket: PathBuf,
    /// What arrived on the host's vsock port 9999, a message each.
    notifications: Receiver<String>,
    _directory: TempDir,
}

static VM: LazyLock<Result<Mutex<Vm>, Why>> = LazyLock::new(|| Vm::boot().map(Mutex::new));

/// The booted VM, for one test at a time.
pub(crate) fn vm(what: &str) -> Option<MutexGuard<'static, Vm>> {
    match &*VM {
        Ok(vm) => Some(vm.lock().unwrap_or_else(PoisonError::into_inner)),
        Err(why) => {
            not_run(what, why);
            None
        }
    }
}

impl Vm {
    fn boot() -> Result<Self, Why> {
        let built = images::built()?;
        // Not in the target directory: a unix socket's path is short.
        let directory = tempfile::tempdir().expect("a temporary directory can be made");
        let socket = directory.path().join("vsock");
        let notifications = notifications(&directory.path().join("vsock_9999"))
            .expect("the VM's notifications can be listened for");
        let guest = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/beds/guest");
        let bed = Bed::start(
            bed_script("vm").arg(built).arg(&socket),
            |socket| vec![guest.display().to_string(), socket.to_owned()],
            "journalctl --boot --no-pager --lines=80",
        )?;
        let vm = Self { bed, socket, notifications, _directory: directory };
        vm.wait_until_up(built);
        Ok(vm)
    }

    /// Waits for PID 1's `READY=1`, and says which targets it has reached meanwhile.
    fn wait_until_up(&self, built: &std::path::Path) {
        let started = Instant::now();
        let ready = self.notified(BOOT_TIMEOUT, |message| {
            if let Some(unit) = message.strip_prefix("X_SYSTEMD_UNIT_ACTIVE=") {
                say(&format!("vm: {unit} after {} s", started.elapsed().as_secs()));
            }
            message.starts_with("READY=1")
        });
        if ready.is_some() {
            say(&format!("vm: booted in {} s", started.elapsed().as_secs()));
            return;
        }
        let console = fs::read(built.join("vm/console.log")).unwrap_or_default();
        let console = String::from_utf8_lossy(&console[console.len().saturating_sub(4000)..]);
        panic!("the VM has not booted within {BOOT_TIMEOUT:?}; its console:\n{console}");
    }

    /// The next notification that is `wanted`.
    fn notified(&self, timeout: Duration, wanted: impl Fn(&str) -> bool) -> Option<String> {
        let deadline = Instant::now() + timeout;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let message = self.notifications.recv_timeout(left).ok()?;
            if wanted(&message) {
                return Some(message);
            }
        }
    }

    /// Runs the program on the host.
    fn on_host(&self, arguments: &str) -> Output {
        let program = images::built().map(|built| built.join("socket-activate-echo"));
        run(Command::new(program.expect("the VM was made from it")).args(arguments.split(' ')))
    }

    /// Starts a command in the guest that goes on until [`Vm::stop`].
    fn start(&self, unit: &str, options: &str, command: &str) {
        let run = format!("systemd-run --quiet --collect --unit={unit} {options} {command}");
        self.bed.run(&format!("systemctl --quiet stop {unit} 2>/dev/null; {run}")).ok();
    }

    fn stop(&self, unit: &str) {
        self.bed.run(&format!("systemctl stop {unit}")).ok();
    }
}

/// Receives what the guest sends to the host's vsock port. Each message comes on a connection of
/// its own, which systemd closes only after we did.
fn notifications(path: &std::path::Path) -> io::Result<Receiver<String>> {
    let listener = UnixListener::bind(path)?;
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        for mut connection in listener.incoming().map_while(Result::ok) {
            let mut buffer = [0; 4096];
            let length = connection.read(&mut buffer).unwrap_or(0);
            let message = String::from_utf8_lossy(&buffer[..length]).into_owned();
            if sender.send(message).is_err() {
                return;
            }
        }
    });
    Ok(receiver)
}

#[test]
fn the_host_reaches_the_container_in_the_vm() {
    let Some(vm) = vm("vsock from the host to the container in the VM") else { return };
    let socket = vm.socket.display();
    vm.on_host(&format!("probe --count 10 vsock-mux:{socket}:3000")).ok();
    // What answered is the container, as the user unit started it.
    vm.bed.run(&format!("{AS_DEMO} podman ps --format '{{{{.Names}}}}'")).ok().said("echo-demo");
}

/// The cases after which this device may serve the other tests no more are left out: docs/vm.md
/// names them.
#[test]
fn a_multiplexer_that_drops_a_reply_is_found_out() {
    let Some(vm) = vm("conform --vsock-mux with vhost-device-vsock") else { return };
    let address = format!("vsock-mux:{}:3000", vm.socket.display());
    // The first client may have to wait for the container.
    vm.on_host(&format!("probe --timeout 60 {address}")).ok();
    let known = vm.socket.with_file_name("known");
    // Seen with 0.3.0.
    fs::write(&known, "mux.half-close fail\n").expect("write");
    let known = known.display();
    let cases = "--case mux.echo --case mux.no-listener --case mux.many --case mux.half-close";
    vm.on_host(&format!("conform --timeout 20 --expect {known} {cases} --vsock-mux {address}"))
        .ok()
        .said("3 passed, 1 failed, 0 skipped")
        .said("bytes came, then the end");
}

/// Step 2 of the README's walk-through: vsock with socat, the others as `systemd` does.
#[test]
fn the_demo_set_answers_inside_the_vm() {
    let Some(vm) = vm("the demo set inside the VM") else { return };
    vm.bed
        .run(&format!(
            "{AS_DEMO} socket-activate-echo probe --count 10 tcp:127.0.0.1:3000 tcp:[::1]:3000 \
                 udp:127.0.0.1:3000 udp:[::1]:3000 unix:/home/demo/echo_stream_sock.demo \
                 vsock:local:3000"
        ))
        .ok();
    vm.bed.readme_as("echo hello | socat - VSOCK-CONNECT:1:3000", AS_DEMO);
}

/// The README's section on stream sockets, the vsock listener included.
#[test]
fn readme_stream_with_vsock() {
    let Some(vm) = vm("the README's vsock listener") else { return };
    let name = "localhost/socket-activate-echo";
    // The user manager loads the image when it starts: this waits until it has done so.
    vm.bed.run(&format!("{AS_DEMO} systemctl --user start echo-image.service")).ok();
    vm.bed.run(&format!("{AS_DEMO} podman tag {name}:vm {name} && rm -f /tmp/stream.sock")).ok();
    let activate = readme(
        "systemd-socket-activate -l /tmp/stream.sock -l 4000 -l vsock:4294967295:4000 podman run \
         --rm --name echo2 --network=none localhost/socket-activate-echo",
    );
    vm.bed
        .run(&format!("{AS_DEMO} systemd-run --user --quiet --unit=echo2 {}", activate.command))
        .ok();
    for address in ["unix:/tmp/stream.sock", "tcp4:127.0.0.1:4000", "tcp6:[::1]:4000"] {
        vm.bed.until(&format!("[ \"$(echo hello | socat -t 30 - {address})\" = hello ]"));
    }
    vm.bed.readme_as("echo hello | socat - VSOCK-CONNECT:1:4000", AS_DEMO);
    vm.bed.run(&format!("{AS_DEMO} systemctl --user stop echo2")).ok();
}

/// A message of SCTP goes back whole, larger than a packet.
#[test]
fn one_to_many_sctp_keeps_its_boundaries() {
    let Some(vm) = vm("SCTP one-to-many") else { return };
    let address = "sctp-seqpacket:127.0.0.1:4007";
    vm.start("echo-own", "", &format!("socket-activate-echo activate --now -l {address}"));
    vm.bed.run(&format!("socket-activate-echo probe --wait --size 100000 {address}")).ok();
    vm.stop("echo-own");
}

/// `SocketProtocol=` of a socket unit, which `systemd-socket-activate` has no option for.
#[test]
fn a_unit_with_another_protocol_is_served() {
    let Some(vm) = vm("SocketProtocol= of a socket unit") else { return };
    for (protocol, port) in [("sctp", 4004), ("mptcp", 4005)] {
        let address = format!("127.0.0.1:{port}");
        vm.start(
            &format!("echo-{protocol}"),
            &format!(
                "--socket-property=ListenStream={address} \
                     --socket-property=SocketProtocol={protocol}"
            ),
            "socket-activate-echo serve",
        );
        vm.bed.run(&format!("socket-activate-echo probe --count 10 {protocol}:{address}")).ok();
        vm.bed.run(&format!("systemctl stop echo-{protocol}.socket echo-{protocol}")).ok();
    }
}

/// PID 1 told the host that the VM is up, else there would be no VM here; and the program in the
/// guest does the same with the variable that it is given.
#[test]
fn the_program_notifies_the_host_over_vsock() {
    let Some(vm) = vm("sd_notify to the host over vsock") else { return };
    vm.start(
        "echo-notify",
        "--setenv=NOTIFY_SOCKET=vsock-stream:2:9999",
        "socket-activate-echo activate --now -l tcp:127.0.0.1:4006 -- \
             socket-activate-echo serve --sdnotify",
    );
    let ready = vm.notified(Duration::from_secs(60), |message| message == "READY=1");
    vm.stop("echo-notify");
    assert_eq!(ready.as_deref(), Some("READY=1"), "the host received no READY=1 of its own");
}

/// An info socket says where its client is: the guest itself has CID 1, the host 2 (vsock(7)).
#[test]
fn an_info_socket_tells_a_client_its_cid() {
    let Some(vm) = vm("serve --info over vsock") else { return };
    vm.start(
        "echo-info",
        "",
        "socket-activate-echo activate --now -l vsock:any:4008 --fdname info -- \
             socket-activate-echo serve --info info",
    );
    let ask = "probe --wait --info --json";
    let here = vm.bed.run(&format!("socket-activate-echo {ask} vsock:local:4008")).ok();
    let there = vm.on_host(&format!("{ask} vsock-mux:{}:4008", vm.socket.display())).ok();
    vm.stop("echo-info");
    for (answer, cid) in [(here, "local"), (there, "host")] {
        let json: serde_json::Value = serde_json::from_str(&answer.stdout).expect("JSON");
        assert_eq!(json["peer"]["address"], cid, "{answer}");
        assert!(json["peer"]["port"].is_u64(), "{answer}");
        assert_eq!(json["socket"]["family"], "AF_VSOCK", "{answer}");
    }
}

/// `podman kube play` of the manifest for Kubernetes. It has no network here: what it serves is
/// asked for in the pod, by the very command that its probes run.
#[test]
fn the_kubernetes_manifest_runs_with_podman() {
    let Some(vm) = vm("podman kube play of kubernetes/echo.yaml") else { return };
    let manifest = fs::read_to_string(kubernetes::manifest()).expect("the manifest is shipped");
    vm.bed.run(&format!("cat >/tmp/echo.yaml <<'EOF'\n{manifest}EOF")).ok();
    vm.bed.run(&format!("cd / && {AS_DEMO} podman kube play --network=none /tmp/echo.yaml")).ok();
    vm.bed
        .run(&format!(
            "cd / && {AS_DEMO} podman exec echo-pod-echo /socket-activate-echo probe --wait \
                 tcp:127.0.0.1:3000 udp:127.0.0.1:3000 tcp:[::1]:3000 udp:[::1]:3000"
        ))
        .ok();
    vm.bed.run(&format!("cd / && {AS_DEMO} podman kube down /tmp/echo.yaml")).ok();
}
