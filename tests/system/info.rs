//! docs/info.md with containers: the demo with one more socket, and which client address arrives on
//! which way into a container.

use std::path::PathBuf;
use std::process::Command;

use crate::kit::{Bed, run};
use crate::systemd::{DEMO, as_root, install, machine, probe, start_demo_set};

const PAGE: &str = include_str!("../../docs/info.md");

/// The files on the page, in its order.
fn files() -> Vec<&'static str> {
    PAGE.split("```text\n").skip(1).filter_map(|rest| rest.split("```").next()).collect()
}

#[test]
fn the_demo_container_takes_one_more_socket() {
    let Some(machine) = machine("docs/info.md: the demo container") else { return };
    install(&machine);
    let [socket, service] = files()[..] else { panic!("the page has other files") };
    machine
        .run(&format!(
            "set -e
             cd ~/.config/systemd/user
             mkdir -p echo@demo.service.d
             printf %s '{socket}' > echo-demo-info.socket
             printf %s '{service}' > echo@demo.service.d/info.conf
             systemctl --user daemon-reload"
        ))
        .ok();
    start_demo_set(&machine);
    machine.run("systemctl --user start echo-demo-info.socket").ok();
    let answer = machine.run("socket-activate-echo probe --info tcp:127.0.0.1:3001").ok();
    for (field, value) in
        [("peer.address", "127.0.0.1"), ("process.container", "podman"), ("process.pid", "1")]
    {
        let row = |line: &str| line.split_whitespace().eq([field, value]);
        assert!(answer.stdout.lines().any(row), "no {field} {value}\n{answer}");
    }
    // Clients that are not ours, each with a port that it is told to have.
    for (port, client) in [
        (40123, "curl --silent --show-error --local-port 40123 http://127.0.0.1:3001/"),
        (40124, "echo hello | socat - tcp4:127.0.0.1:3001,bind=127.0.0.1:40124"),
    ] {
        let inside = ["-t", machine.pid(), "-n", "bash", "-c", client];
        let answer = run(Command::new("nsenter").args(inside)).ok();
        let answer: serde_json::Value = serde_json::from_str(&answer.stdout).expect("JSON");
        assert_eq!(answer["peer"]["address"], "127.0.0.1", "{client}: {answer}");
        assert_eq!(answer["peer"]["port"], port, "{client}: {answer}");
    }
    probe(&machine, DEMO);
    machine.run("systemctl --user stop echo-demo-info.socket echo@demo.socket").ok();
}

/// Another machine: a network namespace at the other end of a cable.
const CABLE: &str = "set -e
    ip netns delete client 2>/dev/null || true
    ip netns add client
    ip link add to-client type veth peer name to-server netns client
    ip address add 10.9.0.1/24 dev to-client
    ip link set to-client up
    ip -n client address add 10.9.0.2/24 dev to-server
    ip -n client link set to-server up
    ip route replace default via 10.9.0.2";

const IMAGE: &str = "localhost/socket-activate-echo /socket-activate-echo";

/// A way into the container, and the command. Without activation, the container binds the port.
const WAYS: [(&str, &str); 4] = [
    ("the activated socket (`--network=none`)", "none"),
    ("`--network=pasta --publish`", "pasta"),
    ("`--network=slirp4netns --publish`", "slirp4netns"),
    ("`--network=bridge --publish`", "bridge"),
];

/// Debian's Podman does not depend on nft(8), and a rootless port does not need it.
const WITHOUT_NFT: &str = "export NETAVARK_FW=none";

fn command(network: &str) -> String {
    let serve = "serve --info info";
    let run = "podman run --rm --name who";
    match network {
        "none" => format!(
            "exec systemd-socket-activate -l 0.0.0.0:3001 --fdname info {run} --network=none \
             {IMAGE} {serve}"
        ),
        _ => format!(
            "{WITHOUT_NFT}; exec {run} --network={network} --publish 3001:3001 {IMAGE} activate --now \
             -l tcp:0.0.0.0:3001 --fdname info -- /socket-activate-echo {serve}"
        ),
    }
}

/// What arrived, in the words of the answer.
fn peer(output: &crate::kit::Output) -> String {
    let answer: serde_json::Value =
        serde_json::from_str(&output.stdout).unwrap_or_else(|error| panic!("{error}\n{output}"));
    let address = answer["peer"]["address"].as_str().expect("an address");
    // Each container has the next address of Podman's bridge.
    let is_bridged = address.starts_with("10.88.0.");
    if is_bridged { "10.88.0.…".to_owned() } else { address.to_owned() }
}

const ASK: &str = "socket-activate-echo probe --wait --info --json tcp:";

fn row(machine: &Bed, way: &str, network: &str) -> String {
    let server = machine.spawn(&command(network));
    // Then the port is bound, outside or inside.
    server.wait_for(if network == "none" { "Listening on" } else { "running /" });
    let here = peer(&machine.run(&format!("{ASK}127.0.0.1:3001")).ok());
    let there = peer(&as_root(machine, &format!("ip netns exec client {ASK}10.9.0.1:3001")).ok());
    machine.run(&format!("{WITHOUT_NFT}; podman stop --time=10 who")).ok();
    server.finish();
    format!("| {way} | {here} | {there} |\n")
}

/// With UPDATE_INFO=1 it writes the table, and compares it otherwise.
#[test]
fn which_client_address_arrives() {
    let Some(machine) = machine("docs/info.md: which client address arrives") else { return };
    as_root(&machine, CABLE).ok();
    let rows: String = WAYS.iter().map(|(way, network)| row(&machine, way, network)).collect();
    as_root(&machine, "ip link delete to-client; ip netns delete client").ok();
    const BEGIN: &str = "|---|---|---|\n";
    let start = PAGE.find(BEGIN).expect("a table of three columns") + BEGIN.len();
    let end = start + PAGE[start..].find("\n\n").expect("its end") + 1;
    if std::env::var_os("UPDATE_INFO").is_some_and(|value| value == "1") {
        let page = format!("{}{rows}{}", &PAGE[..start], &PAGE[end..]);
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("docs/info.md");
        return std::fs::write(path, page).expect("the page can be written");
    }
    assert_eq!(&PAGE[start..end], rows, "docs/info.md is stale; UPDATE_INFO=1 rewrites it");
}
