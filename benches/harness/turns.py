"""Measures in turns: every server runs in every round, and the results are the ratios within each
round."""

import json
import os
import shlex
import statistics
import subprocess
from contextlib import contextmanager

PERCENTILES = ("p50", "p90", "p99", "p99.9", "max")
# The limit for a client that hangs.
CLIENT_SECONDS = 180


class TurnFailed(RuntimeError):
    """A client had no result; the message says why."""


def turn(command: list[str], cpus=None, cpu_ns=None) -> dict:
    """Runs one client against one server. `bench` and the plain client give the same document.
    `cpu_ns` reads the CPU time of the server, which the plain client does not."""
    before = cpu_ns() if cpu_ns else None
    with client(command, cpus) as process:
        if "bench" in command:
            return of_bench(command, process)
        document = first_line(command, process)
        # The connections are still open, so the server's threads and children for them count.
        used = cpu_ns() - before if before is not None else None
    unit = "bytes" if "bulk" in command else "messages"
    each = document["all"] / 1024 if unit == "bytes" else document["all"]
    return {"unit": unit, "rate": document["rate"], "latency_us": document.get("latency_us"),
            "connections": document.get("connections"), "lost": document.get("lost", 0),
            "messages": document["all"] if unit == "messages" else 0,
            "errors": document.get("missing", 0), "wrong": document.get("wrong", 0),
            "cpu_ns": used / each if used is not None and each else None}


@contextmanager
def client(command: list[str], cpus=None, first: bool = False):
    """A client that runs until the end of the block, for which the plain client waits. With
    `first`, it has priority on its CPU, if that is allowed (sched(7), SCHED_FIFO)."""
    def prepare():
        if cpus:
            os.sched_setaffinity(0, cpus)
        if first:
            try:
                os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
            except PermissionError:
                pass

    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, text=True, preexec_fn=prepare)
    try:
        yield process
        if process.poll() is None:
            process.communicate(timeout=CLIENT_SECONDS)
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def first_line(command: list[str], process) -> dict:
    """The result of the plain client, which still holds its connections."""
    line = process.stdout.readline()
    if not line:
        words = process.communicate()[1].strip().splitlines()
        # The first line of a panic has the place, the second one the reason.
        raise TurnFailed(f"{shlex.join(command[1:])}: {' '.join(words[:2]) or 'no output'}")
    return json.loads(line)


def of_bench(command: list[str], process) -> dict:
    """The result of one round of `bench --json`."""
    output, messages = process.communicate(timeout=CLIENT_SECONDS)
    document = json.loads(output) if output else {"error": messages.strip() or "no output"}
    if "error" in document:
        raise TurnFailed(document["error"].split(";")[0])
    server = document["servers"][0]
    middle = lambda spread: spread and spread["median"]  # noqa: E731
    is_bulk = document["mode"] == "bulk"
    cpu = middle(server["server_cpu_ns_per_mib" if is_bulk else "server_cpu_ns_per_message"])
    latency = {name: middle(spread) for name, spread in server["latency_us"].items()}
    return {"unit": "bytes" if is_bulk else "messages",
            "rate": middle(server["bytes_per_second" if is_bulk else "messages_per_second"]),
            "latency_us": latency if latency["p50"] is not None else None,
            "cpu_ns": cpu / 1024 if cpu is not None and is_bulk else cpu,
            **{count: server[count] for count in ("messages", "lost", "errors", "wrong")}}


class Interleaved:
    """The rounds of several servers, in turns."""

    def __init__(self, names: list[str], first: str):
        self.rounds: dict[str, list[dict]] = {name: [] for name in names}
        self.first = first
        self.skipped: dict[str, str] = {}

    def run(self, rounds: int, take_turn):
        """Adds rounds. Leaves out servers that cannot be measured, with the reason; not ours."""
        for _ in range(rounds):
            for name in list(self.rounds):
                try:
                    self.rounds[name].append(take_turn(name))
                except TurnFailed as error:
                    if name == self.first:
                        raise
                    self.skip(name, str(error))

    def skip(self, name: str, why: str):
        self.rounds.pop(name, None)
        self.skipped[name] = why
        print(f"{name} is left out: {why}", flush=True)

    def count(self) -> int:
        return len(self.rounds[self.first])

    def ratio(self, name: str, base: str, figure) -> dict | None:
        """The spread of the ratios of a figure within each round; None if a round lacks it."""
        pairs = zip(self.rounds.get(name, []), self.rounds.get(base, []))
        figures = [(figure(ours), figure(theirs)) for ours, theirs in pairs]
        if not all(ours and theirs for ours, theirs in figures):
            return None
        return spread([ours / theirs for ours, theirs in figures])

    def against(self, names, figure=lambda one: one["rate"], best=min) -> dict:
        """The ratio of the first server to the best of the others: the smallest ratio if more is
        better, the largest (`best=max`) if less is better."""
        ratios = {name: self.ratio(self.first, name, figure) for name in names}
        known = {name: ratio for name, ratio in ratios.items() if ratio}
        if not known:
            return {"best": None, "ratio": None}
        name = best(known, key=lambda name: known[name]["median"])
        return {"best": name, "ratio": known[name]}

    def servers(self) -> dict:
        """The results of each server: medians of the rounds, sums of the counts."""
        return {name: summary(rounds) for name, rounds in self.rounds.items()}


def summary(rounds: list[dict]) -> dict:
    middle = lambda key: median([one[key] for one in rounds])  # noqa: E731
    latencies = [one["latency_us"] for one in rounds if one["latency_us"]]
    return {"unit": rounds[0]["unit"], "rate": middle("rate"), "cpu_ns": middle("cpu_ns"),
            "latency_us": {p: median([one[p] for one in latencies]) for p in PERCENTILES}
            if latencies else None,
            **{count: sum(one[count] for one in rounds)
               for count in ("messages", "lost", "errors", "wrong")},
            "rates": [one["rate"] for one in rounds]}


def median(values: list) -> float | None:
    """The median; None if a value is missing."""
    return statistics.median(values) if values and None not in values else None


def spread(values: list[float]) -> dict | None:
    """The median, the extremes, and the distance of the quartiles relative to the median."""
    if not values:
        return None
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive") \
        if len(values) > 1 else values * 3
    return {"median": middle, "min": min(values), "max": max(values),
            "width": (high - low) / middle}
