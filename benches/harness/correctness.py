"""Checks that the servers echo correctly; each check returns a word for the table."""

import json
import os
import socket
import subprocess
import threading

from .servers import Servers, available

STREAMS = ["ours", "blocking", "epoll", "tokio", "io_uring", "cat", "Accept-yes", "xinetd",
           "socat", "ncat"]
DATAGRAMS = ["ours", "blocking", "epoll", "tokio", "io_uring"]
SLOW_BYTES = 8 << 20


def run(servers: Servers) -> dict:
    """Runs every check on every server."""
    found = {}
    for name in STREAMS:
        if not available(name):
            continue
        found[name] = streams(servers, name)
        if name in DATAGRAMS:
            found[name] |= datagrams(servers, name)
        print(f"correctness: {name}: {found[name]}", flush=True)
    return found


def streams(servers: Servers, name: str) -> dict:
    try:
        address = servers.address(name, "tcp")
    except RuntimeError as error:
        return {"bulk verified": f"does not start: {error}"}
    words = {
        "bulk verified": bench(servers, "-m", "bulk", "--verify", "-d", "1", address),
        "2000 connections": bench(servers, "-c", "2000", "-d", "2", "-t", "20", address),
        "slow reader": slow_reader(address),
        "half-close": half_close(address),
    }
    servers.restart(name, "tcp")
    return words


def datagrams(servers: Servers, name: str) -> dict:
    address = servers.address(name, "udp")
    return {
        "0 bytes": bench(servers, "-s", "0", "-d", "0.3", address),
        "65507 bytes": bench(servers, "-s", "65507", "-d", "0.3", address),
        "replies from the address asked": wildcard(servers, name),
    }


def bench(servers: Servers, *arguments: str) -> str:
    """Whether a run of `bench` finds nothing wrong."""
    seen = subprocess.run([servers.ours, "bench", "--json", *arguments],
                          capture_output=True, text=True, timeout=90)
    if seen.returncode == 0:
        server = json.loads(seen.stdout)["servers"][0]
        return "yes" if not server["lost"] else f"lost {server['lost']}"
    document = json.loads(seen.stdout or "{}")
    if "servers" not in document:
        return f"no: {seen.stderr.strip().removeprefix('socket-activate-echo: ')[:60]}"
    server = document["servers"][0]
    return f"no: {server['errors']} errors, {server['wrong']} wrong"


def connect(address: str) -> socket.socket:
    host, port = address.removeprefix("tcp:").rsplit(":", 1)
    connection = socket.create_connection((host, int(port)), timeout=20)
    return connection


def exchange(connection: socket.socket, data: bytes, chunk: int, pause) -> str:
    """Writes everything while reading the echo; whether it was complete and then ended."""
    def write():
        try:
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    writer = threading.Thread(target=write)
    writer.start()
    received = bytearray()
    try:
        while part := connection.recv(chunk):
            received += part
            pause()
    except OSError as error:
        return f"no: {error}"
    finally:
        connection.close()
        writer.join()
    if received == data:
        return "yes"
    return f"no: {len(received)} of {len(data)} bytes"


def slow_reader(address: str) -> str:
    """Small reads with a pause after each, so that the server must slow down the writer."""
    waits = threading.Event()
    return exchange(connect(address), os.urandom(SLOW_BYTES), 16384, lambda: waits.wait(0.0005))


def half_close(address: str) -> str:
    """After the peer has half-closed the connection, it must still get the rest of the echo."""
    return exchange(connect(address), os.urandom(300_000), 65536, lambda: None)


def wildcard(servers: Servers, name: str) -> str:
    """A wildcard socket must answer a datagram for 127.0.0.2 from 127.0.0.2."""
    process = None
    try:
        port = int(servers.new_address(name, "udp").rsplit(":", 1)[1])
        process = subprocess.Popen(servers.command(name, f"udp:0.0.0.0:{port}"),
                                   stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                   stderr=subprocess.DEVNULL)
        subprocess.run([servers.ours, "probe", "--wait", "--timeout", "10",
                        f"udp:127.0.0.1:{port}"], capture_output=True, check=False)
        client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        client.settimeout(3)
        client.sendto(b"hello", ("127.0.0.2", port))
        sender = client.recvfrom(64)[1][0]
        return "yes" if sender == "127.0.0.2" else f"no: from {sender}"
    except TimeoutError:
        return "no reply"
    finally:
        if process:
            process.kill()
            process.wait()
