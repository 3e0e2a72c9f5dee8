"""A plot of ratios."""

from math import log
from xml.sax.saxutils import escape

TIE = 0.03

WIDTH, LEFT, RIGHT, STEP, TOP = 940, 400, 810, 28, 104
TICKS = [step * 10.0**decade for decade in range(-4, 5) for step in (1, 2, 5)]


def bars(title: str, axis: str, rows: list[dict]) -> str:
    """Draws for each row a heading, or a bar from 1 to its ratio with the range of the rounds and
    the goal. A ratio above 1 is better."""
    ratios = [row["ratio"] for row in rows if "ratio" in row]
    goals = [row["goal"] for row in rows if row.get("goal")]
    ticks = spanning(min([0.5, *goals, *(ratio["min"] for ratio in ratios)]),
                     max([2, *goals, *(ratio["max"] for ratio in ratios)]))
    bottom = TOP + STEP * len(rows)
    height = bottom + 56

    def x(value: float) -> float:
        share = log(max(value, ticks[0]) / ticks[0]) / log(ticks[-1] / ticks[0])
        return LEFT + share * (RIGHT - LEFT)

    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
             f'width="{WIDTH}" height="{height}" font-family="sans-serif" font-size="13">',
             f'<title>{escape(title)}</title>',
             '<rect width="100%" height="100%" fill="white"/>',
             f'<text x="16" y="26" font-size="17">{escape(title)}</text>']
    parts += legend(bool(goals))
    parts += [text(x(1) - 12, TOP - 16, "◂ slower", "end"), text(x(1) + 12, TOP - 16, "faster ▸")]
    for tick in ticks:
        colour = "#444" if tick == 1 else "#ddd"
        parts.append(f'<line x1="{x(tick):.1f}" x2="{x(tick):.1f}" y1="{TOP - 8}" y2="{bottom}" '
                     f'stroke="{colour}"/>')
        parts.append(text(x(tick), bottom + 18, f"{tick:g}×", "middle"))
    for at, row in enumerate(rows):
        y = TOP + STEP * at
        parts += [heading(y, row["heading"])] if "heading" in row else bar(row, y, x)
    parts.append(text((LEFT + RIGHT) / 2, height - 12, f"{axis} (logarithmic)", "middle"))
    return "\n".join([*parts, "</svg>\n"])


def spanning(low: float, high: float) -> list[float]:
    """The ticks from the last one at most `low` to the first one at least `high`."""
    first = max(at for at, tick in enumerate(TICKS) if tick <= max(low, TICKS[0]))
    last = min(at for at, tick in enumerate(TICKS) if tick >= min(high, TICKS[-1]))
    return TICKS[first:last + 1]


def heading(y: float, words: str) -> str:
    return f'<text x="16" y="{y + 15}" font-weight="bold">{escape(words)}</text>'


def text(x: float, y: float, words: str, anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(words)}</text>'


def legend(has_goals: bool) -> list[str]:
    """The legend. Bars of slower servers have an outline, for readers without colours."""
    places = [(16, lambda x: box(x, 42, 26, 1.5), "median, faster or level"),
              (250, lambda x: box(x, 42, 26, 0.5), "median, slower"),
              (430, lambda x: whisker(x, x + 26, 49.5), "range of all rounds")]
    if has_goals:
        places.append((640, lambda x: goal(x + 13, 39), "goal: the least that is wanted"))
    return [part for x, draw, words in places for part in (draw(x), text(x + 36, 54, words))]


def box(x: float, y: float, width: float, ratio: float) -> str:
    style = ('fill="#0072b2" stroke="#0072b2"' if ratio >= 1 - TIE else
             'fill="white" stroke="#d55e00" stroke-width="2.5"')
    return f'<rect x="{x:.1f}" y="{y}" width="{width:.1f}" height="15" {style}/>'


def whisker(start: float, end: float, y: float) -> str:
    """Black with a white border, so that it is visible on a bar too."""
    path = (f'M{start:.1f},{y}H{end:.1f}M{start:.1f},{y - 4}v8M{end:.1f},{y - 4}v8')
    return "".join(f'<path d="{path}" stroke="{colour}" stroke-width="{width}"/>'
                   for colour, width in (("white", 3), ("black", 1)))


def goal(x: float, y: float) -> str:
    """A green line with a head, which no other mark has."""
    return (f'<path d="M{x:.1f},{y + 2}v19m-5,-22h10l-5,7z" fill="#009e73" stroke="#009e73" '
            'stroke-width="2"/>')


def bar(row: dict, y: float, x) -> list[str]:
    ratio = row["ratio"]
    start, end = sorted((x(1), x(ratio["median"])))
    parts = [text(LEFT - 12, y + 15, row["title"], "end"),
             box(start, y + 3, max(end - start, 1), ratio["median"]),
             whisker(x(ratio["min"]), x(ratio["max"]), y + 10.5)]
    if row["goal"]:
        parts.append(goal(x(row["goal"]), y))
    words = f'{ratio["median"]:.2f} × {row["best"]}'.strip(" ×") + ("" if row["best"] else " ×")
    place = max(x(ratio["max"]), end, x(row["goal"] or 0)) + 10
    return [*parts, text(place, y + 15, words)]
