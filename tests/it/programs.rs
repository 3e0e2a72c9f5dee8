//! The clients of other projects, all from Debian: the sockets of each, and its command line.

use std::fmt::Write as _;

use crate::activators::Kind;

/// A program that sends its standard input and prints what comes back.
pub(crate) struct Program {
    /// Its name, which begins each of its calls.
    pub(crate) tool: &'static str,
    /// Debian's package.
    package: &'static str,
    /// Whether it ends by itself, successfully, once everything is back: because it half-closes a
    /// stream after the last byte of its input, or has counted.
    pub(crate) ends: bool,
    /// What it does at the end of its input, over a stream.
    at_the_end: &'static str,
    /// The call for each kind of socket that it has.
    pub(crate) calls: &'static [(Kind, &'static str)],
}

/// Half-closes, as shutdown(2) with `SHUT_WR` does.
const HALF_CLOSES: &str = "half-closes";
/// UCSPI: the connection is descriptors 6 and 7 of a command, which is a shell here.
const COUNTS: &str =
    "does nothing: it cannot half-close, so the shell that it runs counts the bytes";

/// The programs, in the order of the page. Where a client has to be told to half-close, or how long
/// to wait for the rest afterwards, the call does.
pub(crate) const PROGRAMS: &[Program] = &[
    Program {
        tool: "socat",
        package: "socat",
        ends: true,
        at_the_end: HALF_CLOSES,
        calls: &[
            (Kind::Tcp4, "socat -t 60 - tcp4:IP:PORT"),
            (Kind::Tcp6, "socat -t 60 - tcp6:[IP]:PORT"),
            (Kind::Udp4, "socat - udp4:IP:PORT"),
            (Kind::Udp6, "socat - udp6:[IP]:PORT"),
            (Kind::UnixStream, "socat -t 60 - unix-connect:PATH"),
            (Kind::UnixAbstract, "socat -t 60 - abstract-connect:NAME"),
            (Kind::UnixSeqpacket, "socat -t 60 - unix-connect:PATH,type=5"),
            (Kind::UnixDatagram, "socat - unix-sendto:PATH,bind=PATH.socat"),
        ],
    },
    Program {
        tool: "ncat",
        package: "ncat",
        ends: true,
        at_the_end: HALF_CLOSES,
        calls: &[
            (Kind::Tcp4, "ncat IP PORT"),
            (Kind::Tcp6, "ncat IP PORT"),
            (Kind::Udp4, "ncat --udp IP PORT"),
            (Kind::Udp6, "ncat --udp IP PORT"),
            (Kind::UnixStream, "ncat --unixsock PATH"),
            (Kind::UnixDatagram, "ncat -uU PATH --source PATH.ncat"),
        ],
    },
    Program {
        tool: "nc.openbsd",
        package: "netcat-openbsd",
        ends: true,
        at_the_end: "half-closes only with `-N`",
        calls: &[
            (Kind::Tcp4, "nc.openbsd -N IP PORT"),
            (Kind::Tcp6, "nc.openbsd -N IP PORT"),
            (Kind::Udp4, "nc.openbsd -u IP PORT"),
            (Kind::Udp6, "nc.openbsd -u IP PORT"),
            (Kind::UnixStream, "nc.openbsd -NU PATH"),
            (Kind::UnixAbstract, "nc.openbsd -NU @NAME"),
            (Kind::UnixDatagram, "nc.openbsd -uU PATH -s PATH.nc"),
        ],
    },
    Program {
        tool: "busybox",
        package: "busybox",
        ends: true,
        at_the_end: HALF_CLOSES,
        calls: &[(Kind::Tcp4, "busybox nc IP PORT"), (Kind::Tcp6, "busybox nc IP PORT")],
    },
    Program {
        tool: "curl",
        package: "curl",
        ends: false,
        at_the_end: "keeps the connection open until the server ends it",
        calls: &[
            (Kind::Tcp4, "curl --silent --no-buffer telnet://IP:PORT"),
            (Kind::Tcp6, "curl --silent --no-buffer telnet://[IP]:PORT"),
            (Kind::UnixStream, "curl --silent --no-buffer --unix-socket PATH telnet://localhost"),
            (
                Kind::UnixAbstract,
                "curl --silent --no-buffer --abstract-unix-socket NAME telnet://localhost",
            ),
        ],
    },
    Program {
        tool: "python3",
        package: "python3",
        ends: true,
        at_the_end: "half-closes with `write_eof()`",
        calls: &[
            (Kind::Tcp4, "python3 tests/it/asyncio_client.py tcp IP PORT"),
            (Kind::Tcp6, "python3 tests/it/asyncio_client.py tcp IP PORT"),
            (Kind::Udp4, "python3 tests/it/asyncio_client.py udp IP PORT"),
            (Kind::Udp6, "python3 tests/it/asyncio_client.py udp IP PORT"),
            (Kind::UnixStream, "python3 tests/it/asyncio_client.py unix PATH"),
            (Kind::UnixDatagram, "python3 tests/it/asyncio_client.py unix-dgram PATH"),
        ],
    },
    Program {
        tool: "tcpclient",
        package: "ucspi-tcp",
        ends: true,
        at_the_end: COUNTS,
        calls: &[(Kind::Tcp4, "tcpclient -RHl0 IP PORT sh -c RELAY")],
    },
    Program {
        tool: "unixclient",
        package: "ucspi-unix",
        ends: true,
        at_the_end: COUNTS,
        calls: &[(Kind::UnixStream, "unixclient PATH sh -c RELAY")],
    },
    Program {
        tool: "s6-ipcclient",
        package: "s6",
        ends: true,
        at_the_end: COUNTS,
        calls: &[(Kind::UnixStream, "s6-ipcclient PATH sh -c RELAY")],
    },
];

/// The page of them.
pub(crate) fn page() -> String {
    let mut page = String::from(PREFACE);
    for Program { tool, package, at_the_end, calls, .. } in PROGRAMS {
        let _ = writeln!(
            page,
            "\n## {tool}\n\nPackage: `{package}`. At the end of its input it {at_the_end}."
        );
        let _ = writeln!(page, "\n| socket | command |\n|---|---|");
        for (kind, call) in *calls {
            let socket = match kind {
                Kind::Tcp4 => "IPv4 stream",
                Kind::Tcp6 => "IPv6 stream",
                Kind::Udp4 => "IPv4 datagram",
                Kind::Udp6 => "IPv6 datagram",
                Kind::UnixAbstract => "unix stream, abstract",
                Kind::UnixStream => "unix stream",
                Kind::UnixSeqpacket => "unix seqpacket",
                Kind::UnixDatagram => "unix datagram",
                other => unreachable!("{other:?} is called as one of these"),
            };
            let _ = writeln!(page, "| {socket} | `{call}` |");
        }
    }
    page
}

const PREFACE: &str = "\
# Clients of other projects

This page shows how to call the clients of other projects. The tests use these programs, from Debian 12, with the
server, through every activator. Over a stream they send 256 KiB and expect the same bytes back; over datagrams
they send one line after the other. `IP`, `PORT`, `PATH` and `NAME` stand for the server's address; `NAME` is the
name of an abstract unix socket. To get a reply, a unix datagram client must bind its own socket to a name; the
commands do so. `RELAY` is a line of shell that UCSPI clients run with the connection as descriptors 6 and 7:
`exec 3<&0; cat <&3 >&7 & exec head -c LENGTH <&6`, where `LENGTH` is the number of bytes that were sent.

To *half-close* means to shut down the sending direction only, so that the server sees the end of the data and the
client still receives. A client that does not half-close never sees the end of the echo, because the server cannot
know that no more data follows.
";

impl Program {
    /// The length of the file that is sent: more than a pipe, a unix socket or a program's own
    /// buffer takes.
    pub(crate) const FILE_LEN: usize = 256 << 10;

    /// The word of a call as the program receives it: a script is in the folder of the tests.
    pub(crate) fn expand(word: String) -> String {
        match word.as_str() {
            // Its standard input goes to descriptor 7, and what comes from 6 is printed.
            "RELAY" => format!("exec 3<&0; cat <&3 >&7 & exec head -c {} <&6", Self::FILE_LEN),
            script if script.ends_with(".py") => format!("{}/{script}", env!("CARGO_MANIFEST_DIR")),
            _ => word,
        }
    }
}
