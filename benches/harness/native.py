"""The ways into a container, and the rates that each reaches."""

import json
import os
import shlex
import signal
import subprocess
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

from . import machine, report
from .bars import bars
from .build import ROOT
from .measure import FULL, QUICK

IMAGE = "localhost/socket-activate-echo:native"

START_SECONDS = 20

# The others are compared with the first one.
WAYS = {
    "activated socket": ["--network=none"],
    "pasta": ["--network=pasta"],
    "slirp4netns, rootlesskit's ports": ["--network=slirp4netns:port_handler=rootlesskit"],
    "slirp4netns, its own ports": ["--network=slirp4netns:port_handler=slirp4netns"],
    "host network": ["--network=host"],
    "no container": [],
}

LOADS = [
    ("TCP, 1 connection, 64 B", "tcp", "-s 64", "native-tcp-1"),
    ("TCP, 50 connections, 64 B", "tcp", "-c 50 -s 64", None),
    ("TCP bulk", "tcp", "-m bulk", None),
    ("UDP, 1 socket, 64 B", "udp", "-s 64", None),
    ("UDP, 50 sockets, 64 B", "udp", "-c 50 -s 64", None),
]


class Place:
    """Where the commands run: on this machine, or in the bed as its user."""

    def __init__(self, prefix: list[str], program: str):
        self.prefix = prefix
        self.program = program

    def run(self, *command: str, **options):
        return subprocess.run([*self.prefix, *command], text=True, capture_output=True, **options)

    def start(self, *command: str) -> subprocess.Popen:
        return subprocess.Popen([*self.prefix, *command], stdin=subprocess.DEVNULL,
                                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                                process_group=0)


@contextmanager
def here(binaries: Path):
    """This machine, as the present user."""
    with tempfile.TemporaryDirectory() as folder:
        pack(binaries, Path(folder))
        place = Place([], str(binaries / "socket-activate-echo"))
        import_image(place, f"{folder}/image.tar")
        yield place


@contextmanager
def bed(binaries: Path):
    """Debian 13 in systemd-nspawn, with a dummy network interface, as the user `demo`."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        pack(binaries, Path(folder))
        nspawn = subprocess.Popen([str(ROOT / "tests/beds/nspawn"), folder], text=True,
                                  stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        try:
            words = (nspawn.stdout.readline() or "no answer").split()
            if words[0] != "ready":
                raise SystemExit("the bed does not boot; its messages are above")
            enter = ["nsenter", "-t", words[1], "-a"]
            # pasta copies the addresses and routes of an interface, so it needs one.
            subprocess.run([*enter, "sh", "-ec", """
                ip link set lo up
                ip link add eth0 type veth peer name far0
                ip link set far0 up
                ip address add 192.0.2.2/24 dev eth0
                ip link set eth0 up
                ip route add default via 192.0.2.1
                echo reno > /proc/sys/net/ipv4/tcp_congestion_control
            """], check=True)
            user = ["runuser", "-u", "demo", "--", "env", "-C", "/home/demo",
                    "XDG_RUNTIME_DIR=/run/user/1000", "HOME=/home/demo"]
            place = Place([*enter, *user], "/srv/socket-activate-echo")
            import_image(place, "/srv/image.tar")
            yield place
        finally:
            nspawn.stdin.close()
            nspawn.wait()


def pack(binaries: Path, folder: Path):
    """The content of the image: the program, as in the `minimal` target of the Containerfile."""
    program = binaries / "socket-activate-echo"
    (folder / "socket-activate-echo").write_bytes(program.read_bytes())
    (folder / "socket-activate-echo").chmod(0o755)
    subprocess.run(["tar", "-C", str(folder), "-cf", str(folder / "image.tar"),
                    "socket-activate-echo"], check=True)


def import_image(place: Place, tar: str):
    seen = place.run("podman", "import", "--quiet", "--change",
                     'CMD ["/socket-activate-echo"]', tar, IMAGE)
    if seen.returncode != 0:
        raise SystemExit(f"podman import: {seen.stderr}")


def command(place: Place, way: str, port: int) -> list[str]:
    """The command that listens on `port`, TCP and UDP, and echoes."""
    sockets = [f"-l=tcp:127.0.0.1:{port}", f"-l=udp:127.0.0.1:{port}"]
    if way == "no container":
        return [place.program, "activate", "--now", *sockets]
    podman = ["podman", "run", "--rm", "--name", container(way), *WAYS[way]]
    if way == "activated socket":
        return [place.program, "activate", "--now", *sockets, "--", *podman, IMAGE]
    inside = ["/socket-activate-echo", "activate", "--now"]
    if way == "host network":
        return [*podman, IMAGE, *inside, *sockets]
    # A new network namespace takes the congestion control of the machine, not of the bed.
    congestion = Path("/proc/sys/net/ipv4/tcp_available_congestion_control").read_text().split()
    if "reno" in congestion:
        podman += ["--sysctl", "net.ipv4.tcp_congestion_control=reno"]
    ports = ["-p", f"127.0.0.1:{port}:3000/tcp", "-p", f"127.0.0.1:{port}:3000/udp"]
    return [*podman, *ports, IMAGE, *inside, "-l=tcp:0.0.0.0:3000", "-l=udp:0.0.0.0:3000"]


def container(way: str) -> str:
    return "native-" + "".join(char if char.isalnum() else "-" for char in way)


def start_all(place: Place) -> tuple[dict, dict, list]:
    """Starts every way in. Returns the addresses by scheme, the reasons for missing ones, and the
    processes."""
    addresses, missing, processes = {"tcp": {}, "udp": {}}, {}, []
    for number, way in enumerate(WAYS):
        port = 7800 + number
        line = command(place, way, port)
        processes.append(place.start(*line))
        for scheme, reached in addresses.items():
            address = f"{scheme}:127.0.0.1:{port}"
            why = probe(place, address)
            if why is None:
                reached[way] = address
            else:
                missing[f"{way}, {scheme}"] = why
                print(f"{way}: {why}\n    {shlex.join(line)}", flush=True)
    return addresses, missing, processes


def probe(place: Place, address: str) -> str | None:
    """The reason if nothing echoes there. A forwarder accepts and resets connections before its
    container listens, so every failure is tried again, not only a refusal."""
    why = "never tried"
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        seen = place.run(place.program, "probe", "--wait", "--timeout", "5", address)
        if seen.returncode == 0:
            return None
        why = reason(seen.stderr)
        time.sleep(0.1)
    return why


def raise_priority(place: Place):
    """Raises the priority of the bed. conmon starts new sessions, and each session is a scheduling
    group (sched(7))."""
    for process in Path("/proc").glob("[0-9]*") if place.prefix else []:
        try:
            # The user of the bed. Another user of the machine may have the same number; a higher
            # priority of their processes does no harm.
            if process.stat().st_uid == 1000:
                (process / "autogroup").write_text("-20")
        except OSError:
            pass
    try:
        Path("/proc/self/autogroup").write_text("-20")
    except OSError:
        pass


def measure(place: Place, addresses: dict, missing: dict, pace, folder: Path) -> list[dict]:
    rows = []
    for title, scheme, flags, plot in LOADS:
        target = f"/tmp/{plot}.svg"
        words = [*flags.split(), *(["--plot", target] if plot else [])]
        servers = compare(place, title, dict(addresses[scheme]), words, missing, pace)
        if plot:
            (folder / f"{plot}.svg").write_text(place.run("cat", target).stdout)
        rows.append({"title": title, "servers": servers})
        print(f"{title}: " + ", ".join(
            f"{name} {rate(server)} ({report.spread(server['ratio'])})"
            for name, server in servers.items()), flush=True)
    return rows


def compare(place: Place, title: str, ways: dict, flags: list[str], missing: dict, pace) -> dict:
    """One interleaved run, without the ways in that cannot be connected to under this load."""
    while True:
        targets = [f"{way}={address}" for way, address in ways.items()]
        seen = place.run(place.program, "bench", "--compare", "--json", "-r", str(pace.rounds),
                         "-d", str(pace.duration), "-w", str(pace.warmup), *flags, *targets)
        # A failed run has a document too, with the error.
        document = json.loads(seen.stdout or "{}")
        if "servers" in document:
            return {one["name"]: one for one in document["servers"]}
        failed = [way for way, address in ways.items() if f" {address}:" in seen.stderr]
        if len(failed) != 1:
            raise SystemExit(f"bench: {seen.stderr}")
        missing[f"{failed[0]}, {title}"] = reason(seen.stderr)
        print(f"{failed[0]}: {reason(seen.stderr)}", flush=True)
        del ways[failed[0]]


def rate(server: dict) -> str:
    messages = server["messages_per_second"]
    unit, figure = ("messages", messages) if messages else ("bytes", server["bytes_per_second"])
    return report.quantity(figure["median"], unit)


def reason(stderr: str) -> str:
    """The last error of our program, without its remedy."""
    last = (stderr.strip().splitlines() or ["no message"])[-1]
    return last.removeprefix("socket-activate-echo: ").split(";")[0]


def run(options, binaries: Path):
    pace = QUICK if options.quick else FULL
    folder = Path(options.docs)
    folder.mkdir(parents=True, exist_ok=True)
    with (bed if options.bed else here)(binaries) as place:
        addresses, missing, processes = start_all(place)
        try:
            raise_priority(place)
            rows = measure(place, addresses, missing, pace, folder)
            versions = place.run("podman", "--version").stdout.strip()
        finally:
            for way in WAYS:
                place.run("podman", "rm", "--force", "--time=0", container(way))
            for process in processes:
                end(process)
    results = {"machine": machine.machine(), "pace": pace._asdict(), "engine": versions,
               "missing": missing, "rows": rows}
    (folder / "native.json").write_text(json.dumps(results) + "\n")
    (folder / "native.svg").write_text(svg(results))
    report.publish(folder, "native", markdown(results))


def end(process: subprocess.Popen):
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    process.wait()


def markdown(results: dict) -> str:
    heading = ["load", "way in", "round trips or bytes a second", "to the activated socket",
               "p50 µs", "p99 µs", "lost"]
    body = []
    for row in results["rows"]:
        for name, server in row["servers"].items():
            p50, p99 = (server["latency_us"][p] for p in ("p50", "p99"))
            body.append([row["title"], name, rate(server), report.spread(server["ratio"]),
                         f"{p50['median']:.0f}" if p50 else "–",
                         f"{p99['median']:.0f}" if p99 else "–",
                         str(server["lost"] + server["errors"])])
    missing = "".join(f"- Not measured: {way}: {why}\n" for way, why in results["missing"].items())
    info, pace = results["machine"], results["pace"]
    return (f"Rootless {results['engine']}, Linux {info['kernel']}, {info['cpus']} CPUs "
            f"({info['model']}), commit {info['commit']}; medians of {pace['rounds']} rounds of "
            f"{pace['duration']} s, in turns.\n\n" + report.table(heading, body) + missing)


def svg(results: dict) -> str:
    """The rate of each way in, relative to that of the activated socket."""
    rows = [{"title": f"{row['title']}: {name}", "best": "", "goal": None,
             "ratio": server["ratio"]}
            for row in results["rows"] for name, server in row["servers"].items()
            if name != "activated socket" and server["ratio"]]
    title = "Throughput of the ways into a container, compared with an activated socket"
    axis = "round trips or bytes a second, as a multiple of the activated socket's"
    return bars(title, axis, rows)
