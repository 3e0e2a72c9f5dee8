//! Rootful Podman with each OCI runtime: the README's `systemd-socket-activate … podman run`.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::images;
use crate::kit::{Bed, bed_script, not_run};
use crate::page::readme;

/// A bed of its own for each test, one at a time: they share one image store.
pub(crate) fn bed(runtime: &str) -> Option<(MutexGuard<'static, ()>, Bed)> {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let guard = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let started = images::built().and_then(|share| {
        Bed::start(
            bed_script("podman").arg(runtime).arg(share),
            |pid| {
                let path = std::env::var("PATH").unwrap_or_default();
                let path = format!("PATH=/run/sae-bed/share:{path}");
                ["nsenter", "-t", pid, "-m", "-n", "env", &path].map(str::to_owned).into()
            },
            "",
        )
    });
    match started {
        Ok(bed) => Some((guard, bed)),
        Err(why) => {
            not_run(&format!("rootful Podman with {runtime}"), &why);
            None
        }
    }
}

/// The README's section on stream sockets, as it is written there. What goes to vsock needs the
/// loopback transport, which the VM has.
fn readme_stream(runtime: &str) {
    let Some((_guard, bed)) = bed(runtime) else { return };
    let activate = readme(
        "systemd-socket-activate -l /tmp/stream.sock -l 4000 -l vsock:4294967295:4000 podman run \
         --rm --name echo2 --network=none localhost/socket-activate-echo",
    );
    let mut activator = bed.spawn(&format!("exec {}", activate.command));
    // vsock has a namespace only in local mode (Linux 7.0): another run of these tests may have that port.
    let (listens, said) = activator.says("Listening on vsock::4000");
    if !listens && said.contains("vsock:4294967295:4000': Address already in use") {
        let without = activate.command.replace(" -l vsock:4294967295:4000", "");
        activator = bed.spawn(&format!("exec {without}"));
    }
    activator.wait_for("Listening on [::]:4000");
    bed.readme("echo hello | socat - unix:/tmp/stream.sock");
    bed.readme("echo hello | socat - tcp4:127.0.0.1:4000");
    bed.readme("echo hello | socat - tcp6:[::1]:4000");
    bed.readme("podman exec -t echo2 curl https://podman.io");
    nothing_gets_out(&bed, "echo2");
    bed.run("podman stop echo2").ok();
    activator.finish().ok();
}

#[test]
fn readme_stream_under_crun() {
    readme_stream("crun");
}

#[test]
fn readme_stream_under_runc() {
    readme_stream("runc");
}

/// The README's section on datagram sockets. Its first datagram may be answered later than socat
/// waits, as the README's troubleshooting says, so the client may ask again.
fn readme_datagram(runtime: &str) {
    let Some((_guard, bed)) = bed(runtime) else { return };
    let activate = readme(
        "systemd-socket-activate --datagram -l 5000 podman run --rm --name echo3 --network=none \
         localhost/socket-activate-echo",
    );
    let activator = bed.spawn(&format!("exec {}", activate.command));
    activator.wait_for("Listening on [::]:5000");
    bed.readme("echo hello | socat - udp4:127.0.0.1:5000");
    bed.readme("echo hello | socat - udp6:[::1]:5000");
    bed.readme("podman exec -t echo3 curl https://podman.io");
    nothing_gets_out(&bed, "echo3");
    bed.run("podman stop echo3").ok();
    activator.finish().ok();
}

#[test]
fn readme_datagram_under_crun() {
    readme_datagram("crun");
}

#[test]
fn readme_datagram_under_runc() {
    readme_datagram("runc");
}

/// The container serves, and yet reaches nobody: it has no network of its own. curl said that it
/// found no name; an address does not help.
fn nothing_gets_out(bed: &Bed, container: &str) {
    bed.run(&format!(
        "podman exec {container} /socket-activate-echo probe --timeout 5 tcp:1.2.3.4:80"
    ))
    .refused()
    .said("Network is unreachable");
}

/// The README's built-in activator, with types of socket mixed.
#[test]
fn readme_activate() {
    let Some((_guard, bed)) = bed("crun") else { return };
    let activate = readme(
        "socket-activate-echo activate -l unix:/tmp/stream.sock -l tcp:[::]:4000 \
         -l udp:[::]:4000 -- podman run --rm --name echo2 --network=none \
         localhost/socket-activate-echo",
    );
    let activator = bed.spawn(&format!("exec {}", activate.command));
    activator.wait_for("udp:[::]:4000");
    bed.run("socket-activate-echo probe unix:/tmp/stream.sock tcp:127.0.0.1:4000 udp:[::1]:4000")
        .ok();
    bed.run("podman stop echo2").ok();
    activator.finish().ok();
}

/// The program alone: no shell, no libraries, and still the client and the explainer are there.
#[test]
fn the_minimal_image_serves() {
    let Some((_guard, bed)) = bed("runc") else { return };
    let image = "localhost/socket-activate-echo:minimal";
    let activator = bed.spawn(&format!(
        "exec systemd-socket-activate -l 127.0.0.1:3000 podman run --rm --name echo \
             --network=none --read-only --cap-drop=all --security-opt=no-new-privileges {image}"
    ));
    activator.wait_for("Listening on 127.0.0.1:3000");
    bed.run("socket-activate-echo probe tcp:127.0.0.1:3000").ok();
    bed.run("podman exec echo /socket-activate-echo --version").ok();
    bed.run("podman inspect --format '{{.Config.User}}' echo").ok().said("65534:65534");
    bed.run("podman stop echo").ok();
    activator.finish().ok();
    bed.run(&format!("podman image inspect --format '{{{{.Labels}}}}' {image}"))
        .ok()
        .said("org.opencontainers.image.licenses:MIT OR Apache-2.0");
}
