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
mod holder;
pub(super) mod prepared;
mod target;
mod unix_file;
mod wait;

use std::os::fd::OwnedFd;

use self::target::Target;
use self::wait::{Signals, Waited};
use super::{Outcome, logging};
use crate::address::{Address, Inet, Style};
use crate::cli::ActivateArgs;
use crate::error::{Error, ErrorKind, Result};

/// What systemd calls the one socket of a process that `Accept=yes` started.
const CONNECTION_NAME: &str = "connection";

/// A socket to hand over.
#[derive(Debug)]
struct Bound {
    fd: OwnedFd,
    /// The address as the kernel has it: with the port that was chosen, if it was 0.
    address: Address,
    /// Its name in LISTEN_FDNAMES.
    name: String,
}

pub(super) fn run(args: &ActivateArgs) -> Outcome {
    logging::init(false);
    let mut names = check(args)?;
    if args.accept && names.is_empty() {
        names.push(CONNECTION_NAME.to_owned());
    }
    let target = Target::new(args)?;
    let sockets = if args.listen.is_empty() {
        demo::bind(args.backlog, &names)?
    } else {
        bind::bind_all(&args.listen, &names, args.backlog)?
    };
    if args.inetd && !args.accept && sockets.len() != 1 {
        return Err(one_socket_for_inetd());
    }
    let signals = Signals::block()?;
    announce::announce(&sockets, args);
    if args.accept {
        return accept::run(sockets, &target, &signals, args.connections_max);
    }
    if !args.now {
        if let Waited::Stopped = wait::for_traffic(&sockets, &signals)? {
            return Ok(0);
        }
    }
    let fds = sockets.into_iter().map(|socket| (socket.fd, socket.name)).collect();
    Err(hand_over::exec(&target, fds, &[]))
}

/// Refuses what cannot work before anything is bound; gives the names of `--fdname`.
fn check(args: &ActivateArgs) -> Result<Vec<String>> {
    let usage = |message: String| Error::new(ErrorKind::Usage, message);
    if args.inetd && !args.accept && args.listen.len() != 1 {
        // Without any, it is the demo set.
        return Err(one_socket_for_inetd());
    }
    if args.accept && args.listen.is_empty() {
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
