//! Every kind of socket × every activator × every client.

use crate::activate::listening;
use crate::activators::{Activator, Active, Kind, Who};
use crate::clients::Client;
use crate::kit::{Dir, Process, clean, has_tool, program, program_path};

/// Runs one activator with every kind of socket and every client that there is.
fn check(activator: Activator) {
    if activator.who.tool().is_some_and(|tool| !has_tool(tool, "its rows")) {
        return;
    }
    let mut checked = 0;
    for kind in Kind::ALL {
        let Some(active) = activator.start(kind) else { continue };
        for client in Client::all() {
            checked += usize::from(client.check(&active));
        }
        if !activator.accept {
            active.process.terminate().expect_code(0);
        }
    }
    assert!(checked > 0, "{activator:?}");
}

macro_rules! rows {
    ($($name:ident: $who:ident $accept:literal $inetd:literal;)*) => {
        $(#[test]
        fn $name() {
            check(Activator { who: Who::$who, accept: $accept, inetd: $inetd });
        })*
    };
}

rows! {
    ours: Ours false false;
    ours_inetd: Ours false true;
    ours_accept: Ours true false;
    ours_accept_inetd: Ours true true;
    systemd: Systemd false false;
    systemd_inetd: Systemd false true;
    systemd_accept: Systemd true false;
    systemd_accept_inetd: Systemd true true;
    xinetd_wait: Xinetd false true;
    xinetd_nowait: Xinetd true true;
    tcpserver: Tcpserver true true;
    unixserver: Unixserver true true;
    s6_ipcserver: S6 true true;
}

#[test]
fn sockets_of_every_kind_at_once() {
    let dir = Dir::new();
    let mut command = program();
    command.arg("activate");
    for (index, kind) in Kind::ALL.into_iter().enumerate() {
        let address = kind.address(&dir);
        let address = if address.contains('/') { format!("{address}{index}") } else { address };
        command.args(["-l", &address]);
    }
    let mut process = Process::start(&mut command);
    let addresses = listening(&process);
    assert_eq!(addresses.len(), Kind::ALL.len());
    for address in addresses {
        let active = Active::at(process, &address);
        Client::InProcess.check(&active);
        process = active.process;
    }
    process.terminate().expect_code(0);
}

/// As its manual page has it: several addresses of one type, with a name for each.
#[test]
fn several_of_systemds_with_names() {
    if !has_tool("systemd-socket-activate", "several sockets with names") {
        return;
    }
    for flags in [&[][..], &["--datagram"], &["--seqpacket"]] {
        let dir = Dir::new();
        let (a, b) = (dir.path("a").display().to_string(), dir.path("b").display().to_string());
        let mut command = clean("systemd-socket-activate");
        command.args(flags).args(["-l", &a, "-l", &b, "--fdname=a:b"]);
        let process = Process::start(command.args([program_path(), "serve", "-d"]));
        assert!(process.stderr_line(&format!("{b} as 4")).is_some(), "{}", process.describe());
        let scheme = match flags {
            ["--datagram"] => "unix-dgram",
            ["--seqpacket"] => "unix-seqpacket",
            _ => "unix",
        };
        let active = Active::at(process, &format!("{scheme}:{a}"));
        Client::InProcess.check(&active);
        let active = Active::at(active.process, &format!("{scheme}:{b}"));
        Client::InProcess.check(&active);
        active.process.terminate().expect_code(0).expect_stderr(&["bytes on a ", "bytes on b "]);
    }
}
