"""Cold starts, from fork to the first echo: our server and the reference servers in turns."""

import json
import subprocess

from .servers import Servers

# The others are compared with the first one.
SERVERS = ["epoll", "ours", "blocking", "tokio", "io_uring"]


def run(servers: Servers, pace) -> dict:
    """Starts each server `cold_rounds` times, handing it a TCP socket as a manager does."""
    command = [servers.ours, "bench", "-m", "cold", "--json", "-r", str(pace.cold_rounds)]
    for name in SERVERS:
        program = servers.ours if name == "ours" else servers.command(name, ":")[0]
        command += ["--run", f"{name}={program}"]
    seen = subprocess.run(command, capture_output=True, text=True)
    if seen.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}: {seen.stderr}")
    return json.loads(seen.stdout) | {"rounds": pace.cold_rounds}
