//! `serve --keep-connections` under systemd 257: what a restart, a stop and a SIGKILL cost the peers.

use std::collections::BTreeSet;
use std::fs::File;
use std::net::UdpSocket;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use socket_activate_echo::address::Address;
use socket2::SockRef;

use crate::kit::{Bed, say};
use crate::load::{Habit, Load};
use crate::systemd::{machine, probe};

const SERVICE: &str = "echo-kept.service";

/// Installs the unit with drop-ins, and starts its socket.
fn install(machine: &Bed, service: &str) {
    machine
        .run(&format!(
            "set -e
             mkdir -p ~/.config/systemd/user/{{echo-kept.service.d,echo-kept.socket.d}}
             cp systemd/plain/echo-kept.* ~/.config/systemd/user
             cd ~/.config/systemd/user
             printf '[Unit]\\nStartLimitIntervalSec=0\\n[Service]\\n{service}\\n' \
                 > echo-kept.service.d/test.conf
             printf '[Socket]\\nReceiveBuffer=4M\\nTriggerLimitIntervalSec=0\\n' \
                 > echo-kept.socket.d/test.conf
             systemctl --user daemon-reload
             systemctl --user start echo-kept.socket echo-kept.service"
        ))
        .ok();
}

/// The addresses as this process reaches them: a thread of it that has entered the network.
fn addresses(machine: &Bed) -> [Address; 3] {
    let run = format!("/proc/{}/root/run/user/1000", machine.pid());
    [
        "tcp:127.0.0.1:3607".to_owned(),
        format!("unix:{run}/echo-kept.stream"),
        format!("unix-seqpacket:{run}/echo-kept.seqpacket"),
    ]
    .map(|address| address.parse().expect("an address"))
}

/// Enters the network of the machine, with this thread only.
fn enter(pid: &str) {
    let network = File::open(format!("/proc/{pid}/ns/net")).expect("it runs");
    move_into_link_name_space(network.as_fd(), Some(LinkNameSpaceType::Network)).expect("setns(2)");
}

/// Peers of all habits over each family, in this number.
fn peers(machine: &Bed, number: usize) -> Vec<(Address, Habit)> {
    let addresses = addresses(machine);
    let habit = |index: usize| match index % 20 {
        17 => Habit::PingPong(50_000),
        18 => Habit::Bulk,
        19 => Habit::Stalls,
        _ => Habit::PingPong(64),
    };
    (0..number).map(|index| (addresses[index / 20 % 3].clone(), habit(index))).collect()
}

fn start(machine: &Bed, number: usize, reconnect: bool) -> Load {
    let pid = machine.pid().to_owned();
    Load::start(peers(machine, number), reconnect, move || enter(&pid))
}

/// A client that sends 1,000 datagrams a second, and counts what comes back.
struct Datagrams {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<(u64, u64, u64)>,
}

impl Datagrams {
    fn start(pid: &str) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, pid) = (Arc::clone(&stop), pid.to_owned());
        let thread = std::thread::spawn(move || {
            enter(&pid);
            Self::talk(&stopped)
        });
        Self { stop, thread }
    }

    fn talk(stop: &AtomicBool) -> (u64, u64, u64) {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("bind");
        socket.connect("127.0.0.1:3607").expect("connect");
        SockRef::from(&socket).set_recv_buffer_size(16 << 20).expect("SO_RCVBUF");
        socket.set_nonblocking(true).expect("O_NONBLOCK");
        let (mut answered, mut sent, start) = (BTreeSet::new(), 0u64, Instant::now());
        let dropped_before = dropped();
        let mut last = Instant::now();
        loop {
            let is_stopping = stop.load(Ordering::Relaxed);
            let due = start.elapsed().as_millis() as u64;
            while !is_stopping && sent < due {
                socket.send(&sent.to_le_bytes()).expect("send");
                sent += 1;
            }
            let mut reply = [0; 9];
            while let Ok(count) = socket.recv(&mut reply) {
                let number: [u8; 8] = reply[..count].try_into().expect("eight bytes");
                assert!(u64::from_le_bytes(number) < sent, "it was never sent");
                assert!(answered.insert(number), "it is answered twice");
                last = Instant::now();
            }
            let is_complete = answered.len() as u64 + (dropped() - dropped_before) == sent;
            if is_stopping && (is_complete || last.elapsed() > Duration::from_secs(20)) {
                return (sent, answered.len() as u64, dropped() - dropped_before);
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// The datagrams that were sent, those that were answered, and those for which the kernel had no
    /// room.
    fn finish(self) -> (u64, u64, u64) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("no panic")
    }
}

/// What the kernel dropped because a receive buffer was full: the last column of proc(5), net/udp.
fn dropped() -> u64 {
    let table = std::fs::read_to_string("/proc/thread-self/net/udp").expect("a table");
    let row = table.lines().find(|row| row.contains(&format!("0100007F:{:04X} ", 3607)));
    let last = row.and_then(|row| row.split_whitespace().last()?.parse().ok());
    last.unwrap_or_else(|| panic!("no socket in:\n{table}"))
}

/// A seed for what is random here; `KEEP_SEED` repeats a run.
fn seed() -> u64 {
    let given = std::env::var("KEEP_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = given.unwrap_or_else(|| std::process::id().into());
    say(&format!("KEEP_SEED={seed}"));
    seed
}

/// A sequence of numbers: splitmix64.
fn random(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mixed = (*state ^ (*state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ (mixed >> 31)
}

#[test]
fn a_hundred_restarts_under_load_lose_nothing() {
    let Some(machine) = machine("restarts with connections that are kept") else { return };
    install(&machine, "");
    let datagrams = Datagrams::start(machine.pid());
    let load = start(&machine, 200, false);
    let start = Instant::now();
    let restarts = machine.run(&format!(
        "for restart in $(seq 100); do systemctl --user restart {SERVICE} || exit 1; done"
    ));
    let time = start.elapsed();
    let report = load.finish();
    let (sent, answered, dropped) = datagrams.finish();
    restarts.ok();
    say(&format!(
        "100 restarts in {time:?}: {} round trips and {} bytes of 200 connections, longest pause \
         {:?}; {answered} of {sent} datagrams answered, {dropped} did not fit into the queue",
        report.round_trips, report.bytes, report.longest_pause
    ));
    assert_eq!(answered + dropped, sent);
    let going_on = format!(
        "journalctl --no-pager --user --unit={SERVICE} --output=cat |
             grep -o 'going on with [0-9]* kept' | sort | uniq -c"
    );
    let journal = machine.run_until(&going_on, |output| output.stdout.contains("100 "));
    assert_eq!(journal.stdout.lines().count(), 1, "{journal}");
    journal.said("100 ").said("going on with 200 kept");
    machine
        .run(&format!("journalctl --no-pager --user --unit={SERVICE} | grep -E 'closed|drained'"))
        .refused();
}

/// Killed at random, also while it stores or takes: a connection may end, but no byte is wrong.
#[test]
fn fifty_kills_under_load_give_nobody_a_wrong_byte() {
    let Some(machine) = machine("SIGKILL with connections that are kept") else { return };
    install(&machine, "RestartSec=0");
    let load = start(&machine, 200, true);
    let mut state = seed();
    let mut script = String::from(
        "kill9() {
             old=$(systemctl --user show --property=MainPID --value echo-kept.service)
             [ \"$2\" = 0 ] || systemctl --user restart --no-block echo-kept.service
             sleep \"$1\"
             systemctl --user kill --signal=KILL echo-kept.service
             for try in $(seq 600); do
                 new=$(systemctl --user show --property=MainPID --value echo-kept.service)
                 if [ \"$new\" != 0 ] && [ \"$new\" != \"$old\" ] &&
                     systemctl --user is-active --quiet echo-kept.service; then return; fi
                 sleep 0.05
             done
             exit 1
         }
         ",
    );
    for kill in 0..50 {
        // Every other one hits a process that stores, or one that takes.
        let milliseconds = random(&mut state) % if kill % 2 == 0 { 300 } else { 60 };
        script += &format!("kill9 0.{milliseconds:03} {}\n", kill % 2);
    }
    let start = Instant::now();
    let kills = machine.run(&script);
    let time = start.elapsed();
    let report = load.finish();
    kills.ok();
    say(&format!(
        "50 kills in {time:?}: {} round trips and {} bytes, {} connections ended",
        report.round_trips, report.bytes, report.lost
    ));
    assert!(report.lost > 0 && report.round_trips > 0, "{report:?}");
    probe(&machine, "tcp:127.0.0.1:3607");
}

/// A stop closes what is in the store, unless FileDescriptorStorePreserve= says otherwise.
#[test]
fn a_stop_keeps_connections_only_if_the_unit_says_so() {
    let Some(machine) = machine("FileDescriptorStorePreserve=") else { return };
    for (preserve, lost) in [("restart", 40), ("yes", 0)] {
        install(&machine, &format!("FileDescriptorStorePreserve={preserve}"));
        let load = start(&machine, 40, lost > 0);
        probe(&machine, "tcp:127.0.0.1:3607");
        machine.run("systemctl --user stop echo-kept.service").ok();
        let stored = "systemctl --user show --property=NFileDescriptorStore --value";
        machine.run(&format!("{stored} echo-kept.service")).ok();
        machine.run("systemctl --user start echo-kept.service").ok();
        let report = load.finish();
        assert!(report.lost >= lost && (lost > 0 || report.lost == 0), "{preserve}: {report:?}");
        machine.run("systemctl --user stop echo-kept.socket echo-kept.service").ok();
    }
}

/// No container engine relays descriptors: the server says so, and drains.
#[test]
fn a_container_has_no_store_and_the_server_says_so() {
    let Some(machine) = machine("--keep-connections in a container") else { return };
    machine
        .run(
            "set -e
             mkdir -p ~/.config/systemd/user ~/.config/socket-activate-echo
             cp -r systemd/echo* ~/.config/systemd/user
             echo ECHO_OPTIONS=--keep-connections > ~/.config/socket-activate-echo/env
             sed -i /vsock/d ~/.config/systemd/user/echo@demo.socket.d/override.conf
             systemctl --user daemon-reload
             systemctl --user start echo@demo.socket",
        )
        .ok();
    probe(&machine, "tcp:127.0.0.1:3000");
    machine
        .until("journalctl --user --unit=echo@demo.service | grep 'cannot keep any'")
        .said("container engine relays no descriptors");
    machine.run("systemctl --user stop echo@demo.service").ok();
    machine.run("systemctl --user is-failed echo@demo.service").refused();
}
