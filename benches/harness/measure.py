"""One row: a scenario, measured in turns until its result is stable."""

import subprocess
import sys
from collections import namedtuple
from pathlib import Path

from .polling import SURROUNDINGS, Unavailable
from .servers import CLIENT_CPU, Servers, available
from .turns import Interleaved, turn

# Rounds are added while the distance of the quartiles of the ratio exceeds `WIDTH_MAX` of the
# median, up to `rounds_max` rounds.
Pace = namedtuple("Pace", "rounds rounds_max duration warmup cold_rounds")
QUICK = Pace(rounds=5, rounds_max=5, duration=0.3, warmup=0.1, cold_rounds=100)
FULL = Pace(rounds=5, rounds_max=10, duration=0.5, warmup=0.15, cold_rounds=400)
WIDTH_MAX = 0.10

CONGESTION = Path("/proc/sys/net/ipv4/tcp_congestion_control")
AVAILABLE = Path("/proc/sys/net/ipv4/tcp_available_congestion_control")


def run(servers: Servers, scenario, pace: Pace, plots: Path) -> dict:
    """Measures one scenario: the figures of each server, and each goal with the result."""
    row = {"key": scenario.key, "title": scenario.title, "cpu_limit": scenario.cpu_limit}
    try:
        CONGESTION.write_text(scenario.congestion)
    except OSError as error:
        why = ("set net.ipv4.tcp_allowed_congestion_control on the machine" if
               scenario.congestion in AVAILABLE.read_text().split() else "the kernel has none")
        return row | {"missing": f"{scenario.congestion}: {error.strerror}; {why}"}
    turns = Interleaved(["ours", *scenario.peers], "ours")
    for name in list(turns.rounds):
        try:
            start(servers, name, scenario)
        except RuntimeError as error:
            turns.skip(name, str(error))
    try:
        processes = [servers.pid(name, scenario.scheme) for name in turns.rounds]
        with SURROUNDINGS[scenario.beside](processes):
            measure(turns, servers, scenario, pace)
    except Unavailable as error:
        return row | {"missing": str(error)}
    finally:
        if scenario.beside:
            for name in turns.rounds:
                servers.end(name, scenario.scheme)
    if scenario.plot:
        plot(servers, scenario, turns, plots)
    cpu = turns.against(["epoll", "ours off"], lambda one: one["cpu_ns"])["ratio"]
    goals = [{"at_least": goal.at_least, **turns.against(goal.against)} for goal in scenario.goals]
    return row | {"rounds": turns.count(), "servers": turns.servers(), "goals": goals,
                  "cpu_ratio": cpu, "skipped": turns.skipped}


def start(servers: Servers, name: str, scenario):
    """Makes sure that a server runs; starts a new one if the scenario needs that."""
    if not available(name):
        raise RuntimeError("not installed")
    (servers.restart if scenario.beside else servers.address)(name, scenario.scheme)


def measure(turns: Interleaved, servers: Servers, scenario, pace: Pace):
    server_cpus, client_cpus = scenario.cpus

    def take(name: str) -> dict:
        servers.pin(name, scenario.scheme, server_cpus)
        command = load(servers, scenario, servers.address(name, scenario.scheme), pace)
        return turn(command, client_cpus, lambda: servers.cpu_ns(name, scenario.scheme))

    turns.run(pace.rounds, take)
    while turns.count() < pace.rounds_max and width(turns, scenario) > WIDTH_MAX:
        turns.run(pace.rounds, take)


def width(turns: Interleaved, scenario) -> float:
    """The distance of the quartiles of the first goal's ratio."""
    ratio = turns.against(scenario.goals[0].against)["ratio"]
    return ratio["width"] if ratio else 0.0


def load(servers: Servers, scenario, address: str, pace: Pace) -> list[str]:
    """The command line of the client."""
    program, *flags = scenario.load.split()
    if program == "client":
        words = [word.format(address) for word in flags]
        return [str(servers.binaries / "client"), *words, str(pace.duration)]
    times = ["-d", str(pace.duration), "-w", str(pace.warmup)]
    return [servers.ours, "bench", "--json", *times, *flags, address]


def plot(servers: Servers, scenario, turns: Interleaved, plots: Path):
    """The distribution of the latencies, measured by `bench`."""
    targets = [f"{name}={servers.address(name, scenario.scheme)}" for name in turns.rounds]
    size = scenario.load.split()[-1] if scenario.load.startswith("client") else "64"
    flags = scenario.load.split()[1:] if scenario.load.startswith("bench") else ["-s", size]
    command = [servers.ours, "bench", "--compare", "-r", "5", "-d", "0.4", "-w", "0.1", "--cpu",
               str(CLIENT_CPU), *flags, "--plot", str(plots / f"latency-{scenario.key}.svg")]
    seen = subprocess.run([*command, *targets], capture_output=True, text=True)
    if seen.returncode != 0:
        print(f"no plot of {scenario.key}: {seen.stderr}", file=sys.stderr)
