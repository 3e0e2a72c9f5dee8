"""The surroundings of a server that polls: a busy process on its CPU, a quota, or neither."""

import os
import subprocess
from contextlib import contextmanager, nullcontext
from pathlib import Path

from .servers import SERVER_CPU

GROUP = "socket-activate-echo-bench"
PERIOD_US = 100_000


class Unavailable(RuntimeError):
    """The machine does not support it; the message says why."""


@contextmanager
def neighbour(_processes):
    """A process of normal priority that never sleeps, on the server's CPU."""
    spinner = subprocess.Popen(
        ["sh", "-c", "while :; do :; done"], stdin=subprocess.DEVNULL,
        preexec_fn=lambda: os.sched_setaffinity(0, {SERVER_CPU}))
    try:
        yield
    finally:
        spinner.kill()
        spinner.wait()


@contextmanager
def quota(processes: list[int]):
    """A control group for each server, which may run for half of each 100 ms."""
    made: list[tuple[Path, Path]] = []
    try:
        try:
            for number, pid in enumerate(processes):
                limit(number, pid, made)
        except OSError as error:
            raise Unavailable(f"no group with a quota can be made: {error}") from error
        yield
    finally:
        for root, group in made:
            for pid in (group / "cgroup.procs").read_text().split():
                (root / "cgroup.procs").write_text(pid)
            group.rmdir()


def limit(number: int, pid: int, made: list):
    """Puts a process into a new control group with half a CPU."""
    root = hierarchy()
    group = root / f"{GROUP}-{os.getpid()}-{number}"
    group.mkdir()
    made.append((root, group))
    if (group / "cpu.max").exists():
        (group / "cpu.max").write_text(f"{PERIOD_US // 2} {PERIOD_US}")
    else:
        (group / "cpu.cfs_period_us").write_text(str(PERIOD_US))
        (group / "cpu.cfs_quota_us").write_text(str(PERIOD_US // 2))
    (group / "cgroup.procs").write_text(str(pid))


def hierarchy() -> Path:
    """The directory for control groups with a quota: cgroup v2, or the cpu controller of v1."""
    root = Path("/sys/fs/cgroup")
    control = root / "cgroup.subtree_control"
    if control.exists():
        control.write_text("+cpu")
        return root
    if (root / "cpu" / "cpu.cfs_quota_us").exists() or (root / "cpu" / "cgroup.procs").exists():
        return root / "cpu"
    raise Unavailable("no cpu controller under /sys/fs/cgroup")


SURROUNDINGS = {"": lambda _processes: nullcontext(), "neighbour": neighbour, "quota": quota}
