//! `activate`: binds sockets and, on the first traffic, runs a command with them.
//!
//! It follows systemd-socket-activate(1): there is no supervisor, because the command replaces this
//! process. Only `--accept` and `--restart` keep running: to accept, and to start the command again.

mod accept;
mod announce;
mod demo;
mod failures;
mod reach;
mod restart;
mod target;
mod wait;

use std::os::fd::AsFd;

use self::wait::{Signals, Waited};
use super::{Outcome, logging};
use crate::activation::{Environment, Inherited, InheritedFd, Service};
use crate::activator::{self, Bound};
use crate::address::Address;
use crate::cli::ActivateArgs;
use crate::error::{Context, Error, ErrorKind, MORE_DESCRIPTORS, Result};
use crate::notify::FdName;

/// The name that systemd gives to the only socket of an `Accept=yes` process.
const CONNECTION_NAME: &str = "connection";

pub(super) fn run(args: &ActivateArgs) -> Outcome {
    logging::init(false);
    let mut sockets = passed_on(args)?;
    let mut names = check(args, sockets.len())?;
    if args.accept && names.is_empty() {
        names.push(CONNECTION_NAME.to_owned());
    }
    let target = target::of(args)?;
    let is_demo_set = args.listen.is_empty() && sockets.is_empty();
    if is_demo_set {
        sockets = demo::bind(args.backlog, &names)?;
    }
    for (index, address) in args.listen.iter().enumerate() {
        // One name for all addresses, or one for each.
        let name = names.get(index).or(names.first()).map_or(address.scheme(), String::as_str);
        sockets.extend(activator::bind(address, args.backlog, name)?);
    }
    if args.inetd && !args.accept && sockets.len() != 1 {
        return Err(one_socket_for_inetd());
    }
    check_room(&sockets, args)?;
    let signals = Signals::block()?;
    announce::announce(&sockets, is_demo_set, args);
    if args.accept {
        sockets.iter_mut().for_each(Bound::keep_file);
        return accept::run(sockets, &target, &signals, args);
    }
    if args.restart {
        sockets.iter_mut().for_each(Bound::keep_file);
        return restart::run(&sockets, &target, &signals, args);
    }
    let mut traffic = None;
    if !args.now {
        match wait::for_traffic(&sockets, &signals)? {
            Waited::Traffic(number) => traffic = Some(number),
            Waited::Stopped(signal) => {
                log::info!("ended by {signal} before any traffic: the command was not run");
                sockets.iter_mut().for_each(Bound::keep_file);
                return Ok(0);
            }
        }
    }
    announce::running(&target, &sockets, traffic, args);
    Err(target.exec(sockets))
}

/// Checks that enough descriptors are left for the later steps, so that the start fails and not the
/// first client.
fn check_room(sockets: &[Bound], args: &ActivateArgs) -> Result<()> {
    // One for the signals; one to move a socket to its number, or for the pidfd. To accept needs
    // one for the connection and two for the pipe on which its process reports an error. To
    // restart needs that pipe, and a duplicate of each socket.
    let descriptors = match (args.accept, args.restart) {
        (true, _) => 4,
        (_, true) => 4 + sockets.len(),
        _ => 2,
    };
    let Some(socket) = sockets.first() else { return Ok(()) };
    let room: std::io::Result<Vec<_>> =
        (0..descriptors).map(|_| socket.as_fd().try_clone_to_owned()).collect();
    room.map(drop).map_err(|error| {
        Error::new(
            ErrorKind::Bind,
            format!("reserve the descriptors to pass {} sockets", sockets.len()),
        )
        .because(error)
        .remedy(MORE_DESCRIPTORS)
    })
}

/// The sockets that this process itself inherited, to pass on with the same numbers, as
/// systemd-socket-activate(1) does. Variables that name another process are ignored.
fn passed_on(args: &ActivateArgs) -> Result<Vec<Bound>> {
    let us = std::process::id().to_string();
    let environment = Environment::of_this_process();
    if environment.listen_pid.is_none_or(|pid| pid != us.as_str()) {
        return Ok(Vec::new());
    }
    let inherited = Inherited::take()?;
    inherited.fds.iter().map(|fd| pass_on(fd, args)).collect()
}

fn pass_on(inherited: &InheritedFd, args: &ActivateArgs) -> Result<Bound> {
    let Some(fd) = &inherited.fd else { return Err(inherited.refusal()) };
    let fd = fd.try_clone().context(format!("duplicate {inherited}"))?;
    let service = inherited.kind.service();
    let usage = |message| Error::new(ErrorKind::Usage, message);
    if args.accept && !matches!(service, Some(Service::StreamListener | Service::SeqpacketListener))
    {
        let message =
            format!("--accept with {inherited}: this socket has no connections to accept");
        return Err(usage(message).remedy("leave out --accept"));
    }
    // Its end stays readable for ever, and would start the command for ever.
    if args.restart && service.is_some_and(Service::is_one_connection) {
        let message = format!("--restart with {inherited}: no traffic follows this connection");
        return Err(usage(message).remedy("leave out --restart"));
    }
    Ok(Bound::from_fd(fd, &inherited.name))
}

/// Refuses what cannot work before anything is bound. Returns the names of `--fdname`. `passed_on`
/// is the number of sockets in addition to those that will be bound.
fn check(args: &ActivateArgs, passed_on: usize) -> Result<Vec<String>> {
    let usage = |message: String| Error::new(ErrorKind::Usage, message);
    if args.inetd && !args.accept && args.listen.len() + passed_on != 1 {
        // Without an address, it is the demo set.
        return Err(one_socket_for_inetd());
    }
    if args.accept && args.listen.is_empty() && passed_on == 0 {
        return Err(usage("--accept with the demo set, which has datagram sockets".to_owned())
            .remedy("give addresses with -l that have connections, such as tcp:127.0.0.1:3000"));
    }
    for address in &args.listen {
        if let Address::VsockMux(..) = address {
            return Err(usage(format!("bind {address}: vsock-mux: is for clients"))
                .remedy("use vsock:any:PORT inside the virtual machine"));
        }
        if args.accept && !address.kind().has_connections() {
            return Err(usage(format!(
                "--accept with {address}: this socket has no connections to \
                                      accept"
            ))
            .remedy("leave out --accept: one COMMAND serves all peers of such a socket"));
        }
    }
    let names: Vec<String> =
        args.fdnames.iter().flat_map(|names| names.split(':')).map(str::to_owned).collect();
    for name in &names {
        if FdName::new(name).is_none() {
            return Err(usage(format!(
                "--fdname {}: not a name for a socket",
                name.escape_debug()
            ))
            .remedy("use 1 to 255 printable ASCII characters"));
        }
    }
    if names.len() > 1 && names.len() != args.listen.len() {
        let addresses = args.listen.len();
        return Err(usage(format!("--fdname has {} names for {addresses} -l", names.len()))
            .remedy("give one name for all, or one for each -l"));
    }
    Ok(names)
}

fn one_socket_for_inetd() -> Error {
    Error::new(
        ErrorKind::Usage,
        "--inetd with several sockets: standard input can be only one \
                                  socket",
    )
    .remedy("give only one -l, or add --accept")
}
