"""The scenarios: one entry for each row of the tables."""

from collections import namedtuple
from dataclasses import dataclass, field

# The least ratio of our server to the best of `against`; None is for information.
Goal = namedtuple("Goal", "against at_least")

RAW = ["epoll", "tokio", "io_uring"]
# The servers of the goal "the better of the loops".
LOOPS = ["blocking", "epoll"]

# The CPUs of the server and of the client; None leaves it to the scheduler.
OTHER_CORE = ({0}, {1})
ONE_CORE = ({0}, {0})
ANYWHERE = (None, None)


@dataclass
class Scenario:
    """One interleaved run."""

    key: str
    title: str
    scheme: str
    # `bench` with its flags, or the plain `client` with {} for the address.
    load: str
    peers: list[str]
    goals: list[Goal] = field(default_factory=list)
    cpus: tuple = OTHER_CORE
    plot: bool = False
    congestion: str = "reno"
    # The largest ratio of our server's CPU time to the epoll loop's, for each message or byte; None
    # if the server polls and uses all of it.
    cpu_limit: float | None = 1.05
    # What runs at the same time: a key of polling.SURROUNDINGS.
    beside: str = ""


def informative(against: list[str]) -> list[Goal]:
    return [Goal(against, None)]


def plain(key: str, title: str, scheme: str, size: int, cpus: tuple, at_least: float,
          peers: list[str], **more) -> Scenario:
    """One connection or socket of the plain client."""
    return Scenario(key, f"{title}, {size} B", scheme, f"client pingpong {{}} {size}", peers,
                    [Goal(LOOPS, at_least)], cpus, cpu_limit=None, **more)


TCP, UDP, FREE = "TCP, 1 connection", "UDP, 1 socket", "nothing pinned"
LONE = [
    plain("tcp-1", TCP, "tcp", 64, OTHER_CORE, 2.8, ["blocking", *RAW], plot=True),
    plain("tcp-1-free", f"{TCP}, {FREE}", "tcp", 64, ANYWHERE, 2.3, LOOPS),
    plain("tcp-1-512", TCP, "tcp", 512, OTHER_CORE, 2.8, LOOPS),
    plain("tcp-1-512-free", f"{TCP}, {FREE}", "tcp", 512, ANYWHERE, 2.3, LOOPS),
    plain("tcp-1-one-core", f"{TCP}, client and server on one core", "tcp", 64, ONE_CORE, 0.97,
          LOOPS),
    plain("udp-1", UDP, "udp", 64, OTHER_CORE, 2.8, ["blocking", *RAW], plot=True),
    plain("udp-1-free", f"{UDP}, {FREE}", "udp", 64, ANYWHERE, 2.3, LOOPS),
    plain("udp-1-one-core", f"{UDP}, client and server on one core", "udp", 64, ONE_CORE, 0.97,
          LOOPS),
]


def many(key: str, title: str, flags: str, peers: list[str], plot: bool = False) -> Scenario:
    """Many connections: level with the readiness loops, and not far behind io_uring."""
    return Scenario(key, title, "tcp", f"bench {flags}", peers,
                    [Goal(["epoll", "tokio"], 1.0), Goal(["io_uring"], 0.95)], plot=plot)


MANY = [
    Scenario("tcp-1-polling", f"{TCP}, 64 B, client that polls", "tcp", "bench -s 64 --busy",
             LOOPS, informative(["blocking"])),
    Scenario("tcp-4", "TCP, 4 connections, 64 B", "tcp", "bench -c 4 -s 64",
             ["blocking", *RAW], [Goal(RAW, 1.7)]),
    many("tcp-50", "TCP, 50 connections, 64 B", "-c 50 -s 64", ["blocking", *RAW], plot=True),
    many("tcp-50-1000", "TCP, 50 connections, 1000 B", "-c 50 -s 1000", RAW),
    many("tcp-500", "TCP, 500 connections, 64 B", "-c 500 -s 64", RAW),
    many("tcp-500-1000", "TCP, 500 connections, 1000 B", "-c 500 -s 1000", RAW),
    Scenario("tcp-500-workers", "TCP, 500 connections, 64 B, two workers on both CPUs", "tcp",
             "bench -c 500 -s 64", ["two workers"], informative(["two workers"])),
    Scenario("unix-1", "unix stream, 1 connection, 64 B", "unix", "bench -s 64",
             LOOPS, informative(["blocking"])),
    Scenario("udp-50", "UDP, 50 sockets, 64 B", "udp", "bench -c 50 -s 64",
             ["blocking", *RAW], [Goal(["blocking"], 1.1)]),
    Scenario("udp-flood", "UDP flood, 64 B", "udp", "bench -m flood -s 64",
             ["blocking", *RAW], [Goal(["blocking"], 1.25)]),
    Scenario("udp-flood-gso", "UDP flood, 64 B, from a client that sends trains", "udp",
             "bench -m flood -s 64 --gso", LOOPS, [Goal(["blocking"], 15.0)]),
    Scenario("unix-dgram-1", "unix datagrams, 1 socket, 64 B", "unix-dgram", "bench -s 64",
             LOOPS, informative(["blocking"])),
]


def bulk(scheme: str, size: int, congestion: str = "reno", **more) -> Scenario:
    """The bulk load of the plain client, with the default socket buffers."""
    word = {"tcp": f"TCP, {congestion}", "unix": "unix stream"}[scheme]
    key = f"{scheme}-bulk-{size}" + ("" if congestion == "reno" else f"-{congestion}")
    return Scenario(key, f"{word}, writes of {size} KiB", scheme,
                    f"client bulk {{}} {size * 1024} 1", ["epoll"],
                    [Goal(["epoll"], 1.0 if size == 64 else None)], congestion=congestion, **more)


BULK = [
    Scenario("tcp-bulk", "TCP, reno, writes of 64 KiB, our own client", "tcp", "bench -m bulk",
             ["cat", "blocking", *RAW], [Goal(["cat", "blocking", "epoll"], 1.0)]),
    *(bulk("tcp", size, congestion) for congestion in ("reno", "cubic", "bbr")
      for size in (16, 64, 256)),
    Scenario("unix-bulk", "unix stream, writes of 64 KiB, our own client", "unix",
             "bench -m bulk", ["cat", "blocking", *RAW], [Goal(["epoll"], 1.2)]),
    *(bulk("unix", size, cpu_limit=0.85 if size == 64 else 1.05) for size in (16, 64, 256)),
]

# Where polling takes the processor from another process, and where it does not.
POLLING = [
    Scenario(key, title, "tcp", "client pingpong {} 64", ["ours off", "epoll"],
             [Goal(["ours off"], at_least)], beside=beside, cpu_limit=cpu_limit)
    for key, title, at_least, beside, cpu_limit in [
        ("polling-alone", "nobody else", None, "", None),
        ("polling-neighbour", "a busy neighbour on the server's core", 0.97, "neighbour", 1.05),
        ("polling-quota", "a CPU quota of 50%", 0.97, "quota", 1.05),
    ]
]

DEBIAN_PEERS = ["Accept-yes", "xinetd", "socat", "ncat"]
DEBIAN = [
    Scenario(key, title, "tcp", f"bench {flags}", DEBIAN_PEERS, informative(DEBIAN_PEERS))
    for key, title, flags in [
        ("debian-1", "TCP, 1 connection, 64 B", "-s 64"),
        ("debian-50", "TCP, 50 connections, 64 B", "-c 50 -s 64"),
        ("debian-bulk", "TCP bulk", "-m bulk"),
    ]
]

# The tables and their headings.
TABLES = {
    "lone": ("One at a time", LONE),
    "many": ("Many, and what a plain client cannot do", MANY),
    "bulk": ("Bulk", BULK),
    "polling": ("Where polling could cost", POLLING),
    "debian": ("Servers in Debian", DEBIAN),
}
