"""Describes the machine of the measurement."""

import json
import os
import platform
import subprocess
from pathlib import Path

from .servers import SERVER_CPU

CPU = Path("/sys/devices/system/cpu")


def machine(client: Path | None = None) -> dict:
    """The machine; with the plain client, also how long one poll of a busy poller takes."""
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True,
                            text=True, cwd=Path(__file__).parent).stdout.strip()
    return {
        "cpus": os.cpu_count(),
        "model": model(),
        "governor": read(CPU / f"cpu{SERVER_CPU}/cpufreq/scaling_governor",
                         "none, the hypervisor decides"),
        "idle": read(CPU / "cpuidle/current_driver", "none"),
        "kernel": platform.release(),
        "commit": commit,
        "load": Path("/proc/loadavg").read_text().split()[0],
        "look_ns": look(client) if client else None,
    }


def model() -> str:
    for text in Path("/proc/cpuinfo").read_text().splitlines():
        if text.startswith("model name"):
            return text.split(":", 1)[1].strip()
    return platform.machine()


def read(path: Path, otherwise: str) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return otherwise


def look(client: Path) -> int:
    """Nanoseconds of one epoll_wait(2) that finds nothing and one sched_yield(2)."""
    command = ["taskset", "-c", str(SERVER_CPU), str(client), "look"]
    seen = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          check=True)
    return json.loads(seen.stdout)["look_ns"]


def words(info: dict, pace: dict) -> str:
    """The machine in one paragraph."""
    text = (f"Measured on {info['cpus']} CPUs ({info['model']}; governor: {info['governor']}; idle "
            f"driver: {info['idle']}), Linux {info['kernel']}, commit {info['commit']}; medians of "
            f"rounds of {pace['duration']} s, in turns. Load average before the run, which is "
            f"other work: {info['load']}.")
    if info["look_ns"]:
        text += f" One look of a poller (epoll_wait and sched_yield): {info['look_ns']} ns."
    return text + "\n\n"
