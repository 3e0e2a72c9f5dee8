"""The tail and the shares: how others delay small peers, and whether equal peers get the same."""

import resource
import time
from contextlib import ExitStack, contextmanager

from .servers import CLIENT_CPU, Servers
from .turns import Interleaved, client, first_line, of_bench

PEERS = ["epoll", "tokio", "io_uring"]
BULK_PEERS, BULK_WRITE = 4, 64 * 1024
BURST, DEAF_PEERS = 5000, 20
# Messages in a second from all small peers together: they use a third of the client's CPU.
RATE = 5000
# The shortest turn in seconds, because the 99.9th percentile needs thousands of messages.
SECONDS = 1.0

# The title, the number of small peers, and the load at the same time.
ROWS = {
    "tail-alone": ("1,000 small peers alone", 1000, ""),
    "tail-bulk": (f"1,000 small peers beside {BULK_PEERS} bulk peers", 1000, "bulk"),
    "tail-burst": (f"100 small peers, and {BURST:,} connect at once", 100, "burst"),
    "tail-deaf": (f"100 small peers beside {DEAF_PEERS} that never read", 100, "deaf"),
    "tail-flood": ("100 small peers beside a UDP flood", 100, "flood"),
}


def run(servers: Servers, key: str, pace) -> dict:
    """Measures one row."""
    title, count, beside = ROWS[key]
    allow_descriptors()
    turns = Interleaved(["ours", *PEERS], "ours")
    turns.run(pace.rounds, lambda name: take(servers, name, count, beside, pace))
    goals = {p: turns.against(PEERS, lambda one, p=p: one["latency_us"][p], best=max)
             for p in ("p99", "p99.9")}
    return {"key": key, "title": title, "servers": turns.servers(), "goals": goals,
            "shares": {name: shares(rounds) for name, rounds in turns.rounds.items()}
            if beside == "bulk" else None,
            "skipped": turns.skipped, "rounds": turns.count()}


def allow_descriptors():
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def take(servers: Servers, name: str, count: int, beside: str, pace) -> dict:
    """One turn: the other load first, then the small peers while it lasts."""
    # A new server for each turn, so that an earlier load has no effect.
    address = servers.restart(name, "tcp")
    duration = max(pace.duration, SECONDS)
    seconds = duration + pace.warmup + 0.5
    with ExitStack() as stack:
        other = stack.enter_context(company(servers, name, beside, address, seconds))
        small = [servers.ours, "bench", "--json", "-d", str(duration),
                 "-w", str(pace.warmup), "-c", str(count), "-s", "64", "--rate", str(RATE), address]
        process = stack.enter_context(client(small, {CLIENT_CPU}, first=True))
        result = of_bench(small, process)
        if beside == "bulk":
            result["shares"] = first_line(other.args, other)["connections"]
        if beside == "burst":
            result["errors"] += first_line(other.args, other)["failed"]
    return result


@contextmanager
def company(servers: Servers, name: str, beside: str, address: str, seconds: float):
    """The load at the same time as the small peers."""
    plain = str(servers.binaries / "client")
    command = {
        "bulk": [plain, "bulk", address, str(BULK_WRITE), str(BULK_PEERS), str(seconds)],
        "burst": ["sh", "-c", 'sleep "$1"; shift; exec "$@"', "sh", str(seconds / 2),
                  plain, "burst", address, str(BURST)],
        "deaf": [plain, "deaf", address, str(DEAF_PEERS), "0.1"],
    }.get(beside)
    if beside == "flood":
        # A reference server has one socket, so a second one of its kind runs on the same CPU.
        flooded = servers.restart(name, "udp")
        command = [servers.ours, "bench", "--json", "-m", "flood", "-d", str(seconds), flooded]
    if command is None:
        yield None
        return
    with client(command, {CLIENT_CPU}) as process:
        if beside == "deaf":
            first_line(command, process)
        else:
            time.sleep(0.2)
        yield process


def shares(rounds: list[dict]) -> dict:
    """The smallest and the largest share of equal peers, in the median round."""
    found = sorted((max(one["shares"]) / max(min(one["shares"]), 1), one["shares"])
                   for one in rounds)
    ratio, middle = found[len(found) // 2]
    return {"least": min(middle), "most": max(middle), "ratio": ratio}
