"""The tables, in words for the terminal and as Markdown."""

from pathlib import Path

from .bars import TIE, bars
from .machine import words
from .scenarios import TABLES
from .tail import RATE

PERCENTILES = ("p50", "p90", "p99", "p99.9", "max")
COLD_LIMIT = 1.1
IDLE_LIMIT = 64


def quantity(rate: float | None, unit: str) -> str:
    """Messages or bytes a second."""
    if rate is None:
        return "–"
    if unit == "bytes":
        return f"{rate / 1e6:.0f} MB/s"
    return f"{rate / 1e6:.2f} M/s" if rate >= 1e6 else f"{rate / 1e3:.1f} k/s"


def spread(ratio, digits: int = 2) -> str:
    if ratio is None:
        return "–"
    return f"{ratio['median']:.{digits}f} ({ratio['min']:.{digits}f}–{ratio['max']:.{digits}f})"


def verdict(goal: dict) -> str:
    """Whether the goal is met. For the goal of being level, a difference within 3% is a tie."""
    if goal["at_least"] is None:
        return ""
    if goal["ratio"] is None:
        return f"≥ {goal['at_least']:g}: a round without a reply"
    slack = TIE if goal["at_least"] == 1.0 else 0.0
    met = round(goal["ratio"]["median"], 2) >= goal["at_least"] - slack
    return f"≥ {goal['at_least']:g}: {'met' if met else '**short**'}"


def cpu_verdict(row: dict) -> str:
    """The server's CPU time relative to the epoll loop's, and whether it is within the limit."""
    ratio = row["cpu_ratio"]
    limit = row["cpu_limit"]
    over = ratio and limit and round(ratio["median"], 2) > limit
    return spread(ratio) + (f" **over {limit:g}**" if over else "")


def cpu_time(server: dict) -> str:
    """The CPU time of the server for each message, or for each KiB."""
    if server["cpu_ns"] is None:
        return "–"
    if server["unit"] == "bytes":
        return f"{server['cpu_ns']:.0f} ns/KiB"
    return f"{server['cpu_ns'] / 1e3:.2f} µs"


def troubles(server: dict) -> str:
    """Lost datagrams, errors and wrong replies of a server, if there are any."""
    total = server["lost"] + server["messages"]
    found = [f"lost {100 * server['lost'] / max(total, 1):.1f}%"] if server["lost"] else []
    found += [f"{server[word]} {word}" for word in ("errors", "wrong") if server[word]]
    return f" ({', '.join(found)})" if found else ""


def line(row: dict) -> str:
    """One row for the terminal."""
    if "missing" in row:
        return f"{row['title']}: not measured, {row['missing']}"
    goals = "; ".join(f"× {goal['best']} {spread(goal['ratio'])} {verdict(goal)}"
                      for goal in row["goals"])
    servers = "\n".join(f"    {name} {quantity(server['rate'], server['unit'])}, CPU "
                        f"{cpu_time(server)}{troubles(server)}"
                        for name, server in row["servers"].items())
    return (f"{row['title']}: {goals}; CPU to epoll {cpu_verdict(row)}; {row['rounds']} rounds\n"
            f"{servers}")


def markdown(results: dict) -> str:
    """All tables."""
    text = words(results["machine"], results["pace"])
    for name, (heading, scenarios) in TABLES.items():
        keys = [scenario.key for scenario in scenarios]
        rows = [row for row in results["rows"] if row["key"] in keys]
        if rows:
            text += f"### {heading}\n\n" + rates_table(rows)
    if results["tail"]:
        text += tail_table(results["tail"])
    text += latency_table([row for row in results["rows"] if "missing" not in row])
    for name, write in (("cold", cold_table), ("idle", idle_table), ("sizes", sizes_table),
                        ("correctness", correctness_table)):
        if name in results:
            text += write(results[name])
    return text


def publish(folder: Path, name: str, text: str):
    """Writes a table into the page next to the directory, between two comments with its name.
    Without such a page, it writes a separate file."""
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


def rates_table(rows: list[dict]) -> str:
    names = list(dict.fromkeys(name for row in rows for name in row.get("servers", {})))
    heading = ["scenario", *names, "ours to the best of them", "goal", "CPU each: ours",
               "of the best", "CPU, ours to epoll", "rounds"]
    body, notes = [], {}
    for row in rows:
        if "missing" in row:
            notes[row["title"]] = row["missing"]
            continue
        servers = row["servers"]
        best = row["goals"][0]["best"]
        goals = [(f"{spread(goal['ratio'])} × {goal['best']}", verdict(goal))
                 for goal in row["goals"] if goal["best"]]
        body.append([
            row["title"],
            *(quantity(servers[name]["rate"], servers[name]["unit"]) + troubles(servers[name])
              if name in servers else "–" for name in names),
            "; ".join(ratio for ratio, _ in goals), "; ".join(filter(None, (v for _, v in goals))),
            cpu_time(servers["ours"]), cpu_time(servers[best]) if best else "–",
            cpu_verdict(row), str(row["rounds"])])
        notes |= {f"{row['title']}, {name}": why for name, why in row["skipped"].items()}
    note = "".join(f"- Not measured: {what}: {why}\n" for what, why in notes.items())
    return table(heading, body) + (note + "\n" if note else "")


def tail_table(rows: list[dict]) -> str:
    heading = ["scenario", "server", *(f"{p} µs" for p in PERCENTILES),
               "each bulk peer, MB/s", "most to least"]
    body = []
    for row in rows:
        for name, server in row["servers"].items():
            cells = [row["title"], name + troubles(server),
                     *(f"{server['latency_us'][p]:.0f}" for p in PERCENTILES)]
            shares = row["shares"] and row["shares"][name]
            cells += [f"{shares['least'] / 1e6:.0f} to {shares['most'] / 1e6:.0f}",
                      f"{shares['ratio']:.2f}"] if shares else ["", ""]
            body.append(cells)
    goals = "".join(f"- {tail_goal(row)}" for row in rows)
    return (f"### Tail and fairness\n\nLatencies of small peers that send {RATE:,} messages of 64 B "
            "a second in all, on a schedule, over TCP; medians of the rounds.\n\n"
            + table(heading, body) + "Ours to the best of the others, where at most 1 is wanted:\n\n"
            + goals + "\n")


def tail_goal(row: dict) -> str:
    """Our server relative to the best of the others, and how equal the shares are."""
    goals = "; ".join(f"{p} {spread(goal['ratio'])} × {goal['best']}"
                      for p, goal in row["goals"].items())
    shares = f"; shares {row['shares']['ours']['ratio']:.2f}" if row["shares"] else ""
    return f"{row['title']}: {goals}{shares} ({row['rounds']} rounds)\n"


def latency_table(rows: list[dict]) -> str:
    heading = ["scenario", "server", *(f"{p} µs" for p in PERCENTILES)]
    body = [[row["title"], name, *(f"{server['latency_us'][p]:.1f}" for p in PERCENTILES)]
            for row in rows for name, server in row["servers"].items() if server["latency_us"]]
    return ("### Latency\n\n<details><summary>Percentiles of every row</summary>\n\n"
            + table(heading, body) + "</details>\n\n")


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
    times = ", ".join(f"{name} {ms:.2f} ms" for name, ms in idle["milliseconds"].items())
    return (f"### Idle connections\n\nUser memory of the server for each of {idle['connections']} "
            f"connections, and how many of them answered afterwards. The goal is {IDLE_LIMIT} B at "
            "most.\n\n" + table(["server", "for each connection", "answered"], body)
            + f"CPU time in one second with connections that have said something before: {times}.\n\n")


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
    """A bar for each row: our server relative to the best of the others."""
    rows = []
    for heading, scenarios in TABLES.values():
        keys = [scenario.key for scenario in scenarios]
        of_table = [{"title": row["title"], "best": goal["best"], "ratio": goal["ratio"],
                     "goal": goal["at_least"]}
                    for row in results["rows"] if row["key"] in keys and "missing" not in row
                    for goal in row["goals"][:1] if goal["ratio"]]
        rows += [{"heading": heading}, *of_table] if of_table else []
    title = "Throughput of socket-activate-echo, compared with the best other server"
    axis = "round trips or bytes a second, as a multiple of the other server's"
    return bars(title, axis, rows)
