//! `activate`: bind sockets and, on the first traffic, run a command with them.
//!
//! The model is systemd-socket-activate(1): no supervisor is left over, the command takes the
//! place of this process. Only `--accept` stays, to accept.

mod accept;
mod announce;
mod bind;
mod demo;
mod explain;
mod hand_over;
pub(super) mod prepared;
mod target;
mod unix_file;
mod wait;

use std::os::fd::OwnedFd;

use self::target::Target;
use self::unix_file::SocketFile;
use self::wait::{Signals, Waited};
use super::{Outcome, logging};
use crate::activation::{Environment, Inherited, InheritedFd, Kind, Service};
use crate::address::{Address, Inet, Style};
use crate::cli::ActivateArgs;
use crate::error::{Context, Error, ErrorKind, Result};

/// What systemd calls the one socket of a process that `Accept=yes` started.
const CONNECTION_NAME: &str = "connection";

/// A socket to hand over.
#[derive(Debug)]
struct Bound {
    fd: OwnedFd,
    /// The address as the kernel has it: with the port that was chosen, if it was 0. `None` for
    /// what was handed over to us and has no address of our grammar.
    address: Option<Address>,
    /// Its name in LISTEN_FDNAMES.
    name: String,
    /// The file that was made for it.
    file: SocketFile,
}

impl std::fmt::Display for Bound {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.address {
            Some(address) => address.fmt(f),
            None => f.write_str("what was handed over"),
        }
    }
}

pub(super) fn run(args: &ActivateArgs) -> Outcome {
    logging::init(false);
    let mut sockets = passed_on(args.accept)?;
    let mut names = check(args, sockets.len())?;
    if args.accept && names.is_empty() {
        names.push(CONNECTION_NAME.to_owned());
    }
    let target = Target::new(args)?;
    let is_demo_set = args.listen.is_empty() && sockets.is_empty();
    if is_demo_set {
        sockets = demo::bind(args.backlog, &names)?;
    }
    sockets.extend(bind::bind_all(&args.listen, &names, args.backlog)?);
    if args.inetd && !args.accept && sockets.len() != 1 {
        return Err(one_socket_for_inetd());
    }
    hand_over::check_room(&sockets)?;
    let signals = Signals::block()?;
    announce::announce(&sockets, if is_demo_set { &[] } else { &sockets }, args);
    if args.accept {
        sockets.iter_mut().for_each(|socket| socket.file.keep());
        return accept::run(sockets, &target, &signals, args.connections_max);
    }
    if !args.now {
        if let Waited::Stopped = wait::for_traffic(&sockets, &signals)? {
            sockets.iter_mut().for_each(|socket| socket.file.keep());
            return Ok(0);
        }
    }
    // If exec fails, the files go with this scope.
    let (fds, _files): (Vec<_>, Vec<_>) =
        sockets.into_iter().map(|socket| ((socket.fd, socket.name), socket.file)).unzip();
    Err(hand_over::exec(&target, fds, &[]))
}

/// What was handed over to this process itself, to be passed on in the same place, as
/// systemd-socket-activate(1) does. Variables that name another process are not meant for us.
fn passed_on(accept: bool) -> Result<Vec<Bound>> {
    let us = std::process::id().to_string();
    let environment = Environment::of_this_process();
    if environment.listen_pid.is_none_or(|pid| pid != us.as_str()) {
        return Ok(Vec::new());
    }
    let inherited = Inherited::take()?;
    inherited.fds.iter().map(|fd| pass_on(fd, accept)).collect()
}

fn pass_on(inherited: &InheritedFd, accept: bool) -> Result<Bound> {
    let Some(fd) = inherited.fd() else { return Err(inherited.refusal()) };
    let fd = fd.try_clone().context(format!("duplicate {inherited}"))?;
    let (address, service) = match inherited.kind() {
        Kind::Socket(socket) => (socket.local.clone(), socket.service()),
        _ => (None, None),
    };
    if accept && !matches!(service, Some(Service::StreamListener | Service::SeqpacketListener)) {
        let message = format!("--accept with {inherited}: it has no connections to accept");
        return Err(Error::new(ErrorKind::Usage, message).remedy("leave --accept out"));
    }
    Ok(Bound { fd, address, name: inherited.name().to_owned(), file: SocketFile::NONE })
}

/// Refuses what cannot work before anything is bound; gives the names of `--fdname`. So many
/// sockets are passed on beside those that will be bound.
fn check(args: &ActivateArgs, passed_on: usize) -> Result<Vec<String>> {
    let usage = |message: String| Error::new(ErrorKind::Usage, message);
    if args.inetd && !args.accept && args.listen.len() + passed_on != 1 {
        // Without any, it is the demo set.
        return Err(one_socket_for_inetd());
    }
    if args.accept && args.listen.is_empty() && passed_on == 0 {
        return Err(usage("--accept with the demo set: it has datagram sockets".to_owned())
            .remedy("give addresses that have connections with -l"));
    }
    for address in &args.listen {
        if let Address::VsockMux(..) = address {
            return Err(usage(format!("bind {address}: vsock-mux: is for clients"))
                .remedy("use vsock:any:PORT inside of the virtual machine"));
        }
        if args.accept && !has_connections(address) {
            return Err(usage(format!("--accept with {address}: it has no connections to accept"))
                .remedy("leave --accept out: one COMMAND answers every peer of such a socket"));
        }
    }
    let names: Vec<String> =
        args.fdnames.iter().flat_map(|names| names.split(':')).map(str::to_owned).collect();
    for name in &names {
        if !is_fd_name(name) {
            return Err(usage(format!("--fdname {}: no name for a socket", name.escape_debug()))
                .remedy("use 1 to 255 printable ASCII characters"));
        }
    }
    if names.len() > 1 && names.len() != args.listen.len() {
        let addresses = args.listen.len();
        return Err(usage(format!("{} names (--fdname) for {addresses} -l", names.len()))
            .remedy("give one name for all, or one for each -l"));
    }
    Ok(names)
}

fn one_socket_for_inetd() -> Error {
    Error::new(ErrorKind::Usage, "--inetd with several sockets: standard input is only one")
        .remedy("give one -l, or --accept")
}

/// SCTP's one-to-many style has one socket for all associations (RFC 6458, section 3).
fn has_connections(address: &Address) -> bool {
    address.style() != Style::Datagram && !matches!(address, Address::Inet(Inet::SctpSeqpacket, ..))
}

/// The rule of sd_pid_notify_with_fds(3) for FDNAME=, which systemd applies to every name.
fn is_fd_name(name: &str) -> bool {
    /// `FDNAME_MAX` of systemd.
    const LENGTH_MAX: usize = 255;
    (1..=LENGTH_MAX).contains(&name.len())
        && name.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic())
}
