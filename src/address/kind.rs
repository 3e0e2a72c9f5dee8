//! The only table of the kinds of sockets that have an address. All code that depends on the kind
//! uses it: the parser, `Display`, socket(2), and the classification of inherited descriptors.

use std::fmt;

use socket2::{Domain, Protocol, Type};

use super::Address;

/// One kind of socket: a row of [`KINDS`].
#[derive(Debug, Clone, Copy)]
pub struct Kind {
    /// The scheme of its addresses, the part before the first colon.
    pub scheme: &'static str,
    /// What follows the colon, for messages and `--help`.
    pub form: &'static str,
    /// The variant of [`Address`] that its addresses have.
    pub transport: Transport,
    /// The socket type.
    pub style: Style,
    /// The protocol's number for socket(2), and its name; `None` where the family has just one.
    pub protocol: Option<(i32, &'static str)>,
    /// The files of /proc/net that list its sockets in the form of proc_net_tcp(5), over IPv4 and
    /// over IPv6; `None` if there are none.
    pub proc_net: Option<[&'static str; 2]>,
    /// The name in socat(1), without the 4 or 6 of the IP version; `None` if it has none.
    pub socat: Option<&'static str>,
}

/// The variant of [`Address`] that a kind has, without names and numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// Of [`Address::Inet`].
    Inet(Inet),
    /// Of [`Address::Unix`].
    Unix(Style),
    /// Of [`Address::Vsock`].
    Vsock(Style),
    /// Of [`Address::VsockMux`].
    VsockMux,
}

/// The protocols that run over IPv4 and IPv6.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Inet {
    /// tcp(7).
    Tcp,
    /// Multipath TCP, RFC 8684.
    Mptcp,
    /// sctp(7), one-to-one style: a stream.
    Sctp,
    /// sctp(7), one-to-many style: one seqpacket socket for all associations.
    SctpSeqpacket,
    /// udp(7).
    Udp,
    /// udplite(7).
    Udplite,
}

/// The socket type of socket(2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Style {
    /// `SOCK_STREAM`: a sequence of bytes.
    Stream,
    /// `SOCK_DGRAM`: messages without a connection.
    Datagram,
    /// `SOCK_SEQPACKET`: a connection that keeps message boundaries.
    Seqpacket,
}

/// The address family of a socket: `AF_*` of address_families(7).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// `AF_UNIX`.
    Unix,
    /// `AF_INET`.
    Inet,
    /// `AF_INET6`.
    Inet6,
    /// `AF_VSOCK`.
    Vsock,
    /// `AF_NETLINK`.
    Netlink,
    /// Any other, by its number.
    Other(i32),
}

/// Every kind of socket, in the order in which messages list them.
pub static KINDS: [Kind; 13] = {
    use Style::{Datagram, Seqpacket, Stream};
    use Transport::{Unix, Vsock, VsockMux};
    const TCP: [&str; 2] = ["tcp", "tcp6"];
    const UDP: [&str; 2] = ["udp", "udp6"];
    const UDPLITE: [&str; 2] = ["udplite", "udplite6"];
    [
        inet("tcp", Inet::Tcp, Stream, (libc::IPPROTO_TCP, "TCP")).listed(TCP).socat("tcp"),
        inet("udp", Inet::Udp, Datagram, (libc::IPPROTO_UDP, "UDP")).listed(UDP).socat("udp"),
        kind("unix", "/PATH or unix:@ABSTRACT", Unix(Stream)),
        kind("unix-dgram", "/PATH", Unix(Datagram)),
        kind("unix-seqpacket", "/PATH", Unix(Seqpacket)),
        kind("vsock", "CID:PORT (CID: a number, any, local or host)", Vsock(Stream)),
        kind("vsock-dgram", "CID:PORT", Vsock(Datagram)),
        kind("vsock-seqpacket", "CID:PORT", Vsock(Seqpacket)),
        kind("vsock-mux", "/PATH:PORT", VsockMux),
        // A Multipath TCP listener accepts plain TCP too, and /proc/net lists it with TCP.
        inet("mptcp", Inet::Mptcp, Stream, (libc::IPPROTO_MPTCP, "MPTCP")).listed(TCP).socat("tcp"),
        inet("sctp", Inet::Sctp, Stream, (libc::IPPROTO_SCTP, "SCTP")).socat("sctp"),
        inet("sctp-seqpacket", Inet::SctpSeqpacket, Seqpacket, (libc::IPPROTO_SCTP, "SCTP")),
        inet("udplite", Inet::Udplite, Datagram, (libc::IPPROTO_UDPLITE, "UDP-Lite"))
            .listed(UDPLITE),
    ]
};

const fn kind(scheme: &'static str, form: &'static str, transport: Transport) -> Kind {
    let style = match transport {
        Transport::Unix(style) | Transport::Vsock(style) => style,
        Transport::Inet(_) | Transport::VsockMux => Style::Stream,
    };
    Kind { scheme, form, transport, style, protocol: None, proc_net: None, socat: None }
}

const fn inet(
    scheme: &'static str,
    inet: Inet,
    style: Style,
    protocol: (i32, &'static str),
) -> Kind {
    let protocol = Some(protocol);
    Kind { style, protocol, ..kind(scheme, "HOST:PORT", Transport::Inet(inet)) }
}

impl Kind {
    const fn listed(self, files: [&'static str; 2]) -> Self {
        Self { proc_net: Some(files), ..self }
    }

    const fn socat(self, name: &'static str) -> Self {
        Self { socat: Some(name), ..self }
    }

    /// The kind with this scheme.
    pub fn of_scheme(scheme: &str) -> Option<&'static Self> {
        KINDS.iter().find(|kind| kind.scheme == scheme)
    }

    /// The kind of a socket with this family, type and protocol; without a protocol, the first kind
    /// that matches. `None` if no kind matches.
    pub fn of_socket(
        family: Family,
        r#type: Type,
        protocol: Option<Protocol>,
    ) -> Option<&'static Self> {
        let is_protocol = |own| protocol.is_none_or(|protocol| protocol == Protocol::from(own));
        KINDS.iter().find(|kind| {
            kind.is_of(family)
                && kind.style.socket_type() == r#type
                && kind.protocol.is_none_or(|(own, _)| is_protocol(own))
        })
    }

    fn is_of(&self, family: Family) -> bool {
        match self.transport {
            Transport::Inet(_) => matches!(family, Family::Inet | Family::Inet6),
            Transport::Unix(_) => family == Family::Unix,
            Transport::Vsock(_) => family == Family::Vsock,
            // To the kernel, it is a unix socket.
            Transport::VsockMux => false,
        }
    }

    /// Whether a server accepts connections on it. Otherwise one socket serves all peers.
    pub fn has_connections(&self) -> bool {
        // One socket carries all associations of SCTP's one-to-many style: it listens, but
        // accept(2) does not apply to it (RFC 6458, section 3).
        self.style != Style::Datagram && self.transport != Transport::Inet(Inet::SctpSeqpacket)
    }
}

impl Address {
    /// The kind of socket that has this address.
    pub fn kind(&self) -> &'static Kind {
        let transport = match *self {
            Self::Inet(inet, ..) => Transport::Inet(inet),
            Self::Unix(style, _) => Transport::Unix(style),
            Self::Vsock(style, ..) => Transport::Vsock(style),
            Self::VsockMux(..) => Transport::VsockMux,
        };
        let kind = KINDS.iter().find(|kind| kind.transport == transport);
        kind.expect("each transport has a row")
    }

    /// The scheme, the part before the first colon.
    pub fn scheme(&self) -> &'static str {
        self.kind().scheme
    }

    /// The socket type.
    pub fn style(&self) -> Style {
        self.kind().style
    }

    /// The protocol as socket(2) takes it; `None` where the family has just one.
    pub fn protocol(&self) -> Option<Protocol> {
        self.kind().protocol.map(|(number, _)| Protocol::from(number))
    }
}

impl Style {
    /// The socket type as socket(2) takes it.
    pub fn socket_type(self) -> Type {
        match self {
            Self::Stream => Type::STREAM,
            Self::Datagram => Type::DGRAM,
            Self::Seqpacket => Type::SEQPACKET,
        }
    }
}

impl Family {
    /// Whether [`KINDS`] has a kind of this family.
    pub fn is_known(self) -> bool {
        KINDS.iter().any(|kind| kind.is_of(self))
    }
}

impl From<Domain> for Family {
    fn from(domain: Domain) -> Self {
        match i32::from(domain) {
            libc::AF_UNIX => Self::Unix,
            libc::AF_INET => Self::Inet,
            libc::AF_INET6 => Self::Inet6,
            libc::AF_VSOCK => Self::Vsock,
            libc::AF_NETLINK => Self::Netlink,
            other => Self::Other(other),
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix => f.write_str("AF_UNIX"),
            Self::Inet => f.write_str("AF_INET"),
            Self::Inet6 => f.write_str("AF_INET6"),
            Self::Vsock => f.write_str("AF_VSOCK"),
            Self::Netlink => f.write_str("AF_NETLINK"),
            Self::Other(number) => write!(f, "AF_{number}"),
        }
    }
}
