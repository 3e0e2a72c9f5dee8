"""One interleaved run of `bench --compare`, and what it says of us."""

import json
import subprocess
from collections import namedtuple
from pathlib import Path

from .servers import CLIENT_CPU, SERVER_CPU, Servers, available

Pace = namedtuple("Pace", "rounds duration warmup cold_rounds")
QUICK = Pace(rounds=5, duration=0.4, warmup=0.15, cold_rounds=100)
FULL = Pace(rounds=7, duration=0.6, warmup=0.2, cold_rounds=400)

IDLE_CONNECTIONS = 9900
IDLE_SERVERS = ["ours", "epoll", "tokio", "io_uring"]


def run(servers: Servers, scenario, pace: Pace, plots: Path) -> dict:
    """Measures one scenario; `ratio` is ours to the best of those that it is against."""
    names = ["ours"]
    skipped = {}
    for peer in scenario.peers:
        if peer in ("socat", "ncat", "xinetd", "Accept-yes") and not available(peer):
            skipped[peer] = "not installed"
            continue
        names.append(peer)
    targets = []
    for name in list(names):
        try:
            targets.append(f"{name}={servers.address(name, scenario.scheme)}")
        except RuntimeError as error:
            names.remove(name)
            skipped[name] = str(error)
    flags = scenario.flags.split()
    if scenario.plot:
        flags += ["--plot", str(plots / f"latency-{scenario.key}.svg")]
    cpu = SERVER_CPU if scenario.one_core else CLIENT_CPU
    command = [servers.ours, "bench", "--compare", "--json", "--cpu", str(cpu),
               "-r", str(pace.rounds), "-d", str(pace.duration), "-w", str(pace.warmup),
               *flags, *targets]
    seen = subprocess.run(command, capture_output=True, text=True)
    if not seen.stdout:
        raise RuntimeError(f"{' '.join(command)}: {seen.stderr}")
    document = json.loads(seen.stdout)
    by_name = {server["name"]: server for server in document["servers"]}
    best = max((name for name in scenario.against if name in by_name),
               key=lambda name: (by_name[name]["ratio"] or {"median": 0})["median"])
    return {
        "key": scenario.key,
        "title": scenario.title,
        "flags": scenario.flags,
        "goal": scenario.goal,
        "best": best,
        "ratio": inverse(by_name[best]["ratio"]),
        "cpu_ratio": inverse(by_name.get("epoll", {}).get("cpu_ratio")),
        "servers": by_name,
        "skipped": skipped,
    }


def inverse(spread):
    """The ratios of us to them, from those of them to us; none if a round brought no reply, as a
    machine under load can make it."""
    if not spread or not all(spread.values()):
        return None
    return {"median": 1 / spread["median"], "min": 1 / spread["max"], "max": 1 / spread["min"]}


def idle(servers: Servers) -> dict:
    """User memory for each idle connection."""
    found = {}
    for name in IDLE_SERVERS:
        address = servers.restart(name, "tcp")
        command = [servers.ours, "bench", "--json", "-m", "idle", "-d", "0.5",
                   "-c", str(IDLE_CONNECTIONS), address]
        seen = subprocess.run(command, capture_output=True, text=True)
        server = json.loads(seen.stdout)["servers"][0] if seen.stdout else {}
        found[name] = {
            "bytes": (server.get("memory_bytes_per_connection") or {}).get("median"),
            "answered": server.get("messages"),
            "errors": server.get("errors"),
            "stderr": seen.stderr.strip(),
        }
        servers.restart(name, "tcp")
    return {"connections": IDLE_CONNECTIONS, "servers": found}
