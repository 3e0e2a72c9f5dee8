"""A plot of ratios."""

from math import log
from xml.sax.saxutils import escape

TIE = 0.03


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
