//! What `serve` needs once it serves: nothing else is allowed then.

use super::logging;
use crate::activation::{Family, InheritedSocket, Service};
use crate::address::UnixName;
use crate::cli::ServeArgs;
use crate::error::Result;
use crate::notify::NotifySocket;
use crate::sandbox::{self, Needs, Sandbox};
use crate::server::{BusyPoll, Config};

/// The sandbox of a server with these sockets, and with connections that an earlier process has
/// kept, whatever their kind.
///
/// # Errors
///
/// Those of [`Sandbox::prepare`].
pub(super) fn prepare(
    args: &ServeArgs,
    sockets: &[InheritedSocket],
    has_kept: bool,
    config: &Config,
) -> Result<Sandbox> {
    let mut needs = needs(args, sockets, config);
    needs.unix_streams |= has_kept;
    needs.seqpackets |= has_kept;
    Sandbox::prepare(args.sandbox, &needs, logging::of_sandbox())
}

fn needs(args: &ServeArgs, sockets: &[InheritedSocket], config: &Config) -> Needs {
    let any = |wanted: fn(&InheritedSocket) -> bool| sockets.iter().any(wanted);
    let unix_datagrams =
        any(|socket| socket.service == Service::Datagram && socket.kind.family == Family::Unix);
    let manager = manager().filter(|_| args.sdnotify || config.keeps_connections);
    Needs {
        unix_streams: any(|socket| is_stream(socket.service) && socket.kind.family == Family::Unix),
        seqpackets: any(|socket| is_seqpacket(socket.service)),
        datagrams: any(|socket| socket.service == Service::Datagram),
        unix_datagrams,
        lacks_openat2: unix_datagrams && !sandbox::has_openat2(),
        busy_polls: config.busy_poll != BusyPoll::Off,
        has_threads: config.workers > 1,
        names_peers: args.debug || args.connections_max_per_source.is_some(),
        answers: config.answer.is_some(),
        abstract_manager: matches!(manager, Some(NotifySocket::Unix(UnixName::Abstract(_)))),
        vsock_manager: matches!(manager, Some(NotifySocket::Vsock(_))),
        keeps_connections: config.keeps_connections,
    }
}

fn is_stream(service: Service) -> bool {
    matches!(service, Service::StreamListener | Service::StreamConnection)
}

fn is_seqpacket(service: Service) -> bool {
    matches!(service, Service::SeqpacketListener | Service::SeqpacketConnection)
}

fn manager() -> Option<NotifySocket> {
    NotifySocket::parse(&std::env::var_os("NOTIFY_SOCKET")?).ok()
}
