"""Starts and stops the servers, sets their CPUs, and reads their CPU time."""

import os
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

SERVER_CPU = 0
CLIENT_CPU = 1
# These use every CPU, including the client's, because a machine may have only two.
SEVERAL_CPUS = ["two workers"]


class Servers:
    """The running servers with their addresses. The end of the `with` block stops them."""

    def __init__(self, binaries: Path):
        self.binaries = binaries
        self.ours = str(binaries / "socket-activate-echo")
        self.folder = tempfile.TemporaryDirectory(prefix="echo-bench-")
        self.running: dict[tuple[str, str], tuple[str, subprocess.Popen]] = {}
        self.port = 7000

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for _, process in self.running.values():
            stop(process)
        self.folder.cleanup()

    def address(self, name: str, scheme: str) -> str:
        """The address of server `name`, which is started if necessary."""
        if (name, scheme) not in self.running:
            self.running[name, scheme] = self.start(name, scheme)
        return self.running[name, scheme][0]

    def restart(self, name: str, scheme: str) -> str:
        """A new server."""
        if (name, scheme) in self.running:
            self.end(name, scheme)
        return self.address(name, scheme)

    def end(self, name: str, scheme: str):
        stop(self.running.pop((name, scheme))[1])

    def start(self, name: str, scheme: str) -> tuple[str, subprocess.Popen]:
        address = self.new_address(name, scheme)
        command = self.command(name, address)
        # In a new process group, so that a forking server is stopped with all its children. Not in
        # a new session, because each session is a scheduling group (sched(7), autogroup).
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL, process_group=0,
        )
        probe = [self.ours, "probe", "--wait", "--timeout", "10", address]
        seen = subprocess.run(probe, capture_output=True, text=True)
        if seen.returncode != 0:
            stop(process)
            raise RuntimeError(f"{' '.join(command)}: {seen.stdout}{seen.stderr}")
        # Only after the start, when a server may ask how many CPUs it can use: it sees all of
        # them, as without the measurement.
        if name not in SEVERAL_CPUS:
            pin(process.pid, {SERVER_CPU})
        return address, process

    def pin(self, name: str, scheme: str, cpus: set[int] | None):
        """Sets the CPUs of a running server and its children; None means all CPUs."""
        if name not in SEVERAL_CPUS:
            pin(self.pid(name, scheme), cpus or set(range(os.cpu_count())))

    def pid(self, name: str, scheme: str) -> int:
        return self.running[name, scheme][1].pid

    def cpu_ns(self, name: str, scheme: str) -> int:
        """The CPU time of the present threads and children of a running server."""
        return sum(map(thread_time, threads(self.pid(name, scheme))))

    def new_address(self, name: str, scheme: str) -> str:
        if scheme.startswith("unix"):
            return f"{scheme}:{self.folder.name}/{name}-{scheme}"
        self.port += 1
        return f"{scheme}:127.0.0.1:{self.port}"

    def command(self, name: str, address: str) -> list[str]:
        port = address.rsplit(":", 1)[-1]
        match name:
            case "ours":
                return [self.ours, "activate", "--now", "-l", address]
            case "ours off":
                return [self.ours, "activate", "--now", "-l", address, "--",
                        self.ours, "serve", "--busy-poll", "off"]
            case "two workers":
                return [self.ours, "activate", "--now", "-l", address, "--",
                        self.ours, "serve", "--workers", "2"]
            case "blocking" | "epoll" | "tokio" | "io_uring":
                binary = {"io_uring": "uring"}.get(name, name)
                return [str(self.binaries / f"{binary}-echo"), address]
            case "cat":
                return [self.ours, "activate", "--accept", "--inetd", "-l", address, "--", "cat"]
            case "Accept-yes":
                return ["systemd-socket-activate", "--accept", "--inetd",
                        "-l", f"127.0.0.1:{port}", "/bin/cat"]
            case "socat":
                return ["socat",
                        f"TCP-LISTEN:{port},bind=127.0.0.1,fork,reuseaddr,nodelay,backlog=4096",
                        "PIPE"]
            case "ncat":
                return ["ncat", "-l", "-k", "-m", "4096", "--exec", "/bin/cat", "127.0.0.1", port]
            case "xinetd":
                return ["xinetd", "-dontfork", "-f", self.xinetd(port)]
        raise ValueError(name)

    def xinetd(self, port: str) -> str:
        path = Path(self.folder.name) / f"xinetd-{port}.conf"
        path.write_text(f"""defaults
{{
    instances = UNLIMITED
    per_source = UNLIMITED
    cps = 100000 1
}}
service bench
{{
    type = UNLISTED
    port = {port}
    bind = 127.0.0.1
    socket_type = stream
    protocol = tcp
    wait = no
    user = root
    server = /bin/cat
}}
""")
        return str(path)


def threads(pid: int) -> list[Path]:
    """The threads of a process and of all its descendants, as directories of /proc."""
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(stat.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
        children.setdefault(parent, []).append(int(stat.parent.name))
    found, rest = [], [pid]
    while rest:
        one = rest.pop()
        found += Path(f"/proc/{one}/task").glob("*")
        rest += children.pop(one, [])
    return found


def thread_time(thread: Path) -> int:
    """The CPU time in nanoseconds; 0 for a thread that has just ended."""
    try:
        return int((thread / "schedstat").read_text().split()[0])
    except OSError:
        return 0


def pin(pid: int, cpus: set[int]):
    """Sets the CPUs, which later threads and children inherit."""
    for thread in threads(pid):
        try:
            os.sched_setaffinity(int(thread.name), cpus)
        except ProcessLookupError:
            pass


def available(name: str) -> bool:
    """Whether a server is installed. Only those from Debian's packages may be missing."""
    program = {"Accept-yes": "systemd-socket-activate"}.get(name, name)
    if program not in ("systemd-socket-activate", "xinetd", "socat", "ncat"):
        return True
    return shutil.which(program, path=os.environ["PATH"] + ":/usr/sbin:/sbin") is not None


def stop(process: subprocess.Popen):
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    process.wait()
