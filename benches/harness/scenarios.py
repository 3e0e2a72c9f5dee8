"""What is measured: one entry for each row of the tables."""

from dataclasses import dataclass, field

RAW = ["epoll", "tokio", "io_uring"]


@dataclass
class Scenario:
    """One interleaved run. The ratios are ours to the best of `against`."""

    key: str
    title: str
    scheme: str
    flags: str
    peers: list[str]
    against: list[str]
    # What the ratio has to be at least; None is for information.
    goal: float | None = None
    plot: bool = False
    one_core: bool = False
    # What the peers lack: named in the table instead of a figure.
    missing: dict[str, str] = field(default_factory=dict)


SCENARIOS = [
    Scenario("tcp-1", "TCP, 1 connection, 64 B", "tcp", "-s 64",
             ["blocking", *RAW], ["blocking"], 3.0, plot=True),
    Scenario("tcp-1-one-core", "the same, client and server on one core", "tcp", "-s 64",
             ["blocking", *RAW], ["blocking"], 0.95, one_core=True),
    Scenario("tcp-1-polling", "TCP, 1 connection, 64 B, client that polls", "tcp", "-s 64 --busy",
             ["blocking", *RAW], ["blocking"]),
    Scenario("tcp-4", "TCP, 4 connections, 64 B", "tcp", "-c 4 -s 64",
             ["blocking", *RAW], RAW),
    Scenario("tcp-50", "TCP, 50 connections, 64 B", "tcp", "-c 50 -s 64",
             ["blocking", *RAW], RAW, 1.0, plot=True),
    Scenario("tcp-50-1000", "TCP, 50 connections, 1000 B", "tcp", "-c 50 -s 1000", RAW, RAW, 1.0),
    Scenario("tcp-500", "TCP, 500 connections, 64 B", "tcp", "-c 500 -s 64", RAW, RAW, 1.0),
    Scenario("tcp-500-1000", "TCP, 500 connections, 1000 B", "tcp", "-c 500 -s 1000",
             RAW, RAW, 1.0),
    Scenario("tcp-500-workers", "TCP, 500 connections, 64 B, two workers on both CPUs", "tcp",
             "-c 500 -s 64", ["two workers", "epoll"], ["two workers"]),
    Scenario("tcp-bulk", "TCP bulk", "tcp", "-m bulk",
             ["cat", "blocking", *RAW], ["cat", "blocking", "epoll"], 1.0),
    Scenario("unix-1", "unix stream, 1 connection, 64 B", "unix", "-s 64",
             ["blocking", *RAW], ["blocking"]),
    Scenario("unix-bulk", "unix stream bulk", "unix", "-m bulk",
             ["cat", "blocking", *RAW], ["epoll"], 1.2),
    Scenario("udp-1", "UDP, 1 socket, 64 B", "udp", "-s 64",
             ["blocking", *RAW], ["blocking"], 3.5, plot=True),
    Scenario("udp-50", "UDP, 50 sockets, 64 B", "udp", "-c 50 -s 64",
             ["blocking", *RAW], ["blocking"], 1.25),
    Scenario("udp-flood", "UDP flood, 64 B", "udp", "-m flood -s 64",
             ["blocking", *RAW], ["blocking"], 1.25),
    Scenario("udp-flood-gso", "UDP flood, 64 B, from a client that sends trains", "udp",
             "-m flood -s 64 --gso", ["blocking", *RAW], ["blocking"], 15.0),
    Scenario("unix-dgram-1", "unix datagrams, 1 socket, 64 B", "unix-dgram", "-s 64",
             ["blocking", "epoll"], ["blocking"]),
]

DEBIAN = ["Accept-yes", "xinetd", "socat", "ncat"]

DEBIAN_SCENARIOS = [
    Scenario("debian-1", "TCP, 1 connection, 64 B", "tcp", "-s 64", DEBIAN, DEBIAN),
    Scenario("debian-50", "TCP, 50 connections, 64 B", "tcp", "-c 50 -s 64", DEBIAN, DEBIAN),
    Scenario("debian-bulk", "TCP bulk", "tcp", "-m bulk", DEBIAN, DEBIAN),
]
