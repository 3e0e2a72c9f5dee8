"""The cost of an unused server: file size, memory, system calls until it is ready."""

import os
import re
import shutil
import subprocess
from pathlib import Path

from .servers import Servers, stop

SERVERS = ["ours", "epoll", "blocking", "tokio", "io_uring"]
READY = re.compile(r"\b(epoll_wait|epoll_pwait|epoll_pwait2|accept4?|io_uring_enter)\(")


def run(servers: Servers) -> dict:
    """The figures of each server."""
    return {name: one(servers, name) for name in SERVERS}


def one(servers: Servers, name: str) -> dict:
    program = servers.ours if name == "ours" else servers.command(name, ":")[0]
    # The start of a server includes a probe, so this is after its first echo.
    servers.restart(name, "tcp")
    process = servers.running[name, "tcp"][1]
    memory = Path(f"/proc/{process.pid}/smaps_rollup").read_text()
    return {
        "file_bytes": os.stat(program).st_size,
        "rss_bytes": kilobytes(memory, "Rss") * 1024,
        "anonymous_bytes": kilobytes(memory, "Anonymous") * 1024,
        "system_calls": system_calls(servers, name, program),
    }


def kilobytes(text: str, key: str) -> int:
    return int(re.search(rf"^{key}:\s+(\d+) kB", text, re.MULTILINE).group(1))


def system_calls(servers: Servers, name: str, program: str) -> int | None:
    """From execve(2) to the first wait for a client, with an activated socket."""
    if not shutil.which("strace"):
        return None
    trace = Path(servers.folder.name) / "trace"
    address = servers.new_address(name, "tcp")
    command = ["strace", "-o", str(trace), servers.ours, "activate", "--now", "-l", address, "--",
               program]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL, process_group=0)
    subprocess.run([servers.ours, "probe", "--wait", address], capture_output=True)
    stop(process)
    count = None
    for line in trace.read_text().splitlines():
        if "execve(" in line:
            count = 0
        elif count is not None and READY.search(line):
            return count
        elif count is not None:
            count += 1
    return None
