"""The tables, in words for the terminal and as Markdown, and a plot of the ratios."""

import os
import platform
import subprocess
from math import log
from pathlib import Path
from xml.sax.saxutils import escape

COLUMNS = ["ours", "blocking", "epoll", "tokio", "io_uring", "cat", "two workers"]
TIE = 0.03
# The most CPU time of ours to that of the epoll loop, for each round trip.
CPU_LIMIT = 1.05
COLD_LIMIT = 1.1
IDLE_LIMIT = 64


def machine() -> dict:
    """What the figures were measured on."""
    model = "unknown"
    for text in Path("/proc/cpuinfo").read_text().splitlines():
        if text.startswith("model name"):
            model = text.split(":", 1)[1].strip()
            break
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True,
                            text=True, cwd=Path(__file__).parent).stdout.strip()
    return {
        "cpus": os.cpu_count(),
        "model": model,
        "kernel": platform.release(),
        "congestion": Path("/proc/sys/net/ipv4/tcp_congestion_control").read_text().strip(),
        "commit": commit,
        "load": Path("/proc/loadavg").read_text().split()[0],
    }


def rate(server: dict) -> str:
    """The figure of a server, in the unit of its scenario."""
    if server["messages_per_second"]:
        value = server["messages_per_second"]["median"]
        return f"{value / 1e6:.2f} M/s" if value >= 1e6 else f"{value / 1e3:.1f} k/s"
    return f"{server['bytes_per_second']['median'] / 1e6:.0f} MB/s"


def spread(ratio, digits: int = 2) -> str:
    if ratio is None:
        return "–"
    return f"{ratio['median']:.{digits}f} ({ratio['min']:.{digits}f}–{ratio['max']:.{digits}f})"


def verdict(row: dict) -> str:
    """Whether the goal is met; ties within 3% count for the goal of being level."""
    if row["goal"] is None:
        return ""
    if row["ratio"] is None:
        return "a round without a reply"
    slack = TIE if row["goal"] == 1.0 else 0.0
    return "met" if row["ratio"]["median"] >= row["goal"] - slack else "**short**"


def cpu_verdict(row: dict) -> str:
    """Whether the server's CPU time is within its limit."""
    over = row["cpu_ratio"] is not None and row["cpu_ratio"]["median"] > CPU_LIMIT
    return " **over**" if over else ""


def troubles(server: dict) -> str:
    """Lost datagrams, errors and wrong replies of a server, if there are any."""
    total = server["lost"] + server["messages"]
    words = []
    if server["lost"]:
        words.append(f"lost {100 * server['lost'] / max(total, 1):.1f}%")
    words += [f"{server[word]} {word}" for word in ("errors", "wrong") if server[word]]
    return ", ".join(words)


def line(row: dict) -> str:
    """One scenario for the terminal."""
    figures = []
    for name, server in row["servers"].items():
        p50 = (server["latency_us"]["p50"] or {}).get("median")
        p99 = (server["latency_us"]["p99"] or {}).get("median")
        latency = f" p50/p99 {p50:.0f}/{p99:.0f}µs" if p50 else ""
        cpu = server["server_cpu_ns_per_message"] or server["server_cpu_ns_per_mib"]
        used = f" cpu {cpu['median'] / 1e3:.2f}µs" if cpu else ""
        trouble = troubles(server)
        figures.append(f"{name} {rate(server)}{latency}{used}{' [' + trouble + ']' if trouble else ''}")
    goal = f" goal {row['goal']} {verdict(row)}" if row["goal"] else ""
    return (f"{row['key']}: ours/{row['best']} {spread(row['ratio'])}{goal}; "
            f"cpu ours/epoll {spread(row['cpu_ratio'])}\n    " + "\n    ".join(figures))


def cold_line(cold: dict) -> str:
    return "cold: " + ", ".join(f"{s['name']} {s['milliseconds']['median']:.2f} ms (ratio {spread(s['ratio'])})"
                                for s in cold["servers"])


def idle_line(idle: dict) -> str:
    return "idle: " + ", ".join(f"{name} {server['bytes']} B, {server['answered']} answered"
                                for name, server in idle["servers"].items())


def markdown(results: dict) -> str:
    """All tables."""
    info, pace = results["machine"], results["pace"]
    text = (f"Measured on {info['cpus']} CPUs ({info['model']}), Linux {info['kernel']}, TCP "
            f"{info['congestion']}, commit {info['commit']}; medians of {pace['rounds']} rounds of "
            f"{pace['duration']} s, in turns. Load average before the run, which is other work: "
            f"{info['load']}.\n\n")
    text += main_table(results["rows"])
    text += latency_table(results["rows"])
    if results["debian"]:
        text += debian_table(results["debian"])
    if "cold" in results:
        text += cold_table(results["cold"])
    if "idle" in results:
        text += idle_table(results["idle"])
    if "sizes" in results:
        text += sizes_table(results["sizes"])
    if "correctness" in results:
        text += correctness_table(results["correctness"])
    return text


def publish(folder: Path, name: str, text: str):
    """Puts a table into the page beside the folder, between two comments with its name; without
    such a page, into a file of its own."""
    page = folder.parent / "benchmarks.md"
    old = page.read_text() if page.exists() else ""
    before, begin, rest = old.partition(f"<!-- {name}: begin -->")
    _, end, after = rest.partition(f"<!-- {name}: end -->")
    if end:
        page.write_text(f"{before}{begin}\n\n{text.strip()}\n\n{end}{after}")
    else:
        Path(folder, f"{name}.md").write_text(text)


def table(heading: list[str], rows: list[list[str]]) -> str:
    lines = [heading, ["---"] * len(heading), *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines) + "\n"


def main_table(rows: list[dict]) -> str:
    heading = ["scenario", *COLUMNS, "ours to the best of them", "at least", "",
               "server CPU, ours to epoll"]
    body = []
    for row in rows:
        cells = [row["title"]]
        for name in COLUMNS:
            server = row["servers"].get(name)
            trouble = troubles(server) if server else ""
            cells.append((rate(server) + (f" ({trouble})" if trouble else "")) if server else "–")
        goal = f"{row['goal']:g}" if row["goal"] is not None else ""
        cells += [f"{spread(row['ratio'])} × {row['best']}", goal, verdict(row),
                  spread(row["cpu_ratio"]) + cpu_verdict(row)]
        body.append(cells)
    return "### Throughput\n\n" + table(heading, body)


def latency_table(rows: list[dict]) -> str:
    heading = ["scenario", "server", "p50 µs", "p90", "p99", "p99.9", "max", "server CPU µs each"]
    body = []
    for row in rows:
        for name, server in row["servers"].items():
            latency = server["latency_us"]
            if not latency["p50"]:
                continue
            cpu = server["server_cpu_ns_per_message"]
            body.append([row["title"], name]
                        + [f"{latency[p]['median']:.1f}" for p in
                           ("p50", "p90", "p99", "p99.9", "max")]
                        + [f"{cpu['median'] / 1e3:.2f}" if cpu else "–"])
    return ("### Latency\n\n<details><summary>Percentiles of every scenario</summary>\n\n"
            + table(heading, body) + "</details>\n\n")


def debian_table(rows: list[dict]) -> str:
    names = list(dict.fromkeys(name for row in rows for name in row["servers"]))
    body = []
    for row in rows:
        cells = [row["title"]]
        for name in names:
            server = row["servers"].get(name)
            trouble = troubles(server) if server else ""
            cells.append((rate(server) + (f" ({trouble})" if trouble else "")) if server else "–")
        body.append(cells + [f"{spread(row['ratio'])} × {row['best']}"])
    skipped = {name: why for row in rows for name, why in row["skipped"].items()}
    note = "".join(f"- Not measured: {name}, {why}.\n" for name, why in skipped.items())
    return ("### Servers in Debian\n\n"
            + table(["scenario", *names, "ours to the best of them"], body) + note + "\n")


def cold_table(cold: dict) -> str:
    body = [[s["name"], *(f"{s['milliseconds'][p]:.2f}" for p in ("p10", "median", "p90")),
             spread(s["ratio"])] for s in cold["servers"]]
    return ("### Cold start\n\n"
            f"{cold['rounds']} starts each, in turns: from fork(2) to the first echo. The goal is "
            f"{COLD_LIMIT} × the time of epoll at most.\n\n"
            + table(["server", "p10 ms", "median", "p90", "time, ratio to epoll"], body))


def idle_table(idle: dict) -> str:
    body = [[name, f"{server['bytes']:.0f} B" if server["bytes"] is not None else "–",
             f"{server['answered']} of {idle['connections']}" + (
                 f", {server['errors']} errors" if server["errors"] else "")]
            for name, server in idle["servers"].items()]
    return (f"### Idle connections\n\nUser memory of the server for each of {idle['connections']} "
            f"connections, and how many of them answered afterwards. The goal is {IDLE_LIMIT} B at "
            "most.\n\n"
            + table(["server", "for each connection", "answered"], body))


def sizes_table(sizes: dict) -> str:
    body = [[name, *(f"{size[key] / 1e6:.2f} MB" for key in
                     ("file_bytes", "rss_bytes", "anonymous_bytes")),
             str(size["system_calls"] if size["system_calls"] is not None else "–")]
            for name, size in sizes.items()]
    heading = ["server", "static binary", "resident after the first echo", "of it anonymous",
               "system calls before the first wait"]
    return "### Size\n\n" + table(heading, body)


def correctness_table(found: dict) -> str:
    checks = list(dict.fromkeys(check for server in found.values() for check in server))
    body = [[name, *(server.get(check, "–") for check in checks)]
            for name, server in found.items()]
    return "### Correctness\n\n" + table(["server", *checks], body)


def ratios_svg(results: dict) -> str:
    """A bar for each row: ours to the best of its rivals."""
    rows = [row for row in results["rows"] if row["ratio"]]
    title = "Round trips or bytes a second, ours to the best of its rivals"
    return bars(title, rows, [0.5, 1, 2, 5, 10, 20, 50])


def bars(title: str, rows: list[dict], ticks: list[float]) -> str:
    """A bar from 1 to the ratio of each row, with the ends of its spread and its goal."""
    width, left, step, top = 940, 400, 28, 60
    bottom = top + step * len(rows)
    height = bottom + 50

    def x(value: float) -> float:
        share = log(min(max(value, ticks[0]), ticks[-1]) / ticks[0]) / log(ticks[-1] / ticks[0])
        return left + share * (width - left - 130)

    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
             f'width="{width}" height="{height}" font-family="sans-serif" font-size="13">',
             '<rect width="100%" height="100%" fill="white"/>',
             f'<text x="16" y="28" font-size="16">{escape(title)}</text>']
    for tick in ticks:
        colour = "#444" if tick == 1 else "#ddd"
        parts.append(f'<line x1="{x(tick):.1f}" x2="{x(tick):.1f}" y1="{top - 8}" y2="{bottom}" '
                     f'stroke="{colour}"/>')
        parts.append(f'<text x="{x(tick):.1f}" y="{bottom + 20}" text-anchor="middle">{tick}×'
                     '</text>')
    for at, row in enumerate(rows):
        parts += bar(row, top + step * at, left, x)
    note = "bar: median of the rounds; black: all rounds"
    if any(row["goal"] for row in rows):
        note += "; green: the goal"
    parts.append(f'<text x="{left}" y="{height - 8}" fill="#555">{note}</text></svg>\n')
    return "\n".join(parts)


def bar(row: dict, y: float, left: float, x) -> list[str]:
    ratio = row["ratio"]
    start, end = sorted((x(1), x(ratio["median"])))
    colour = "#0072b2" if ratio["median"] >= 1 - TIE else "#d55e00"
    parts = [
        f'<text x="{left - 12}" y="{y + 15}" text-anchor="end">{escape(row["title"])}</text>',
        f'<rect x="{start:.1f}" y="{y + 3}" width="{max(end - start, 1):.1f}" height="15" '
        f'fill="{colour}"/>',
        f'<line x1="{x(ratio["min"]):.1f}" x2="{x(ratio["max"]):.1f}" y1="{y + 10.5}" '
        f'y2="{y + 10.5}" stroke="black"/>',
    ]
    if row["goal"]:
        goal = x(row["goal"])
        parts.append(f'<line x1="{goal:.1f}" x2="{goal:.1f}" y1="{y}" y2="{y + 21}" '
                     'stroke="#009e73" stroke-width="3"/>')
    words = f'{ratio["median"]:.2f} × {row["best"]}'.strip(" ×") + ("" if row["best"] else " ×")
    place = max(x(ratio["max"]), end, x(row["goal"] or 0)) + 8
    parts.append(f'<text x="{place:.1f}" y="{y + 15}">{escape(words)}</text>')
    return parts
