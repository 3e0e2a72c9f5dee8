"""The cost of idle connections: memory and processor time."""

import json
import socket
import subprocess
import time

from .servers import Servers

MEMORY_CONNECTIONS = 9900
MEMORY_SERVERS = ["ours", "epoll", "tokio", "io_uring"]
TIME_CONNECTIONS = 10
TIME_SERVERS = ["ours", "ours off", "epoll"]
SECONDS = 1.0


def run(servers: Servers) -> dict:
    return {"connections": MEMORY_CONNECTIONS, "servers": memory(servers),
            "milliseconds": processor_time(servers)}


def memory(servers: Servers) -> dict:
    """User memory for each idle connection."""
    found = {}
    for name in MEMORY_SERVERS:
        address = servers.restart(name, "tcp")
        command = [servers.ours, "bench", "--json", "-m", "idle", "-d", "0.5",
                   "-c", str(MEMORY_CONNECTIONS), address]
        seen = subprocess.run(command, capture_output=True, text=True)
        server = json.loads(seen.stdout)["servers"][0] if seen.stdout else {}
        found[name] = {
            "bytes": (server.get("memory_bytes_per_connection") or {}).get("median"),
            "answered": server.get("messages"),
            "errors": server.get("errors"),
            "stderr": seen.stderr.strip(),
        }
        servers.restart(name, "tcp")
    return found


def processor_time(servers: Servers) -> dict:
    """Milliseconds of CPU time in a second that each server uses while its peers are idle."""
    found = {}
    for name in TIME_SERVERS:
        host, port = servers.address(name, "tcp").removeprefix("tcp:").rsplit(":", 1)
        connections = [socket.create_connection((host, int(port)), 10)
                       for _ in range(TIME_CONNECTIONS)]
        for connection in connections:
            connection.sendall(b"hello")
            connection.recv(5)
        before = servers.cpu_ns(name, "tcp")
        time.sleep(SECONDS)
        found[name] = (servers.cpu_ns(name, "tcp") - before) / 1e6 / SECONDS
        for connection in connections:
            connection.close()
    return found
