"""Traffic by region over time, as a picture: self-contained SVG for files, blocks for terminals."""

from collections.abc import Mapping, Sequence
from html import escape

from atoll.simulate.report import SimulationDocument

COLOURS = (
    "#4e79a7",
    "#f28e2b",
    "#59a14f",
    "#e15759",
    "#b07aa1",
    "#76b7b2",
    "#edc948",
    "#ff9da7",
    "#9c755f",
    "#bab0ac",
)
"""Tableau's ten, which are told apart by most people with impaired colour vision."""

WIDTH, HEIGHT = 960, 420
LEFT, RIGHT, TOP, BOTTOM = 56, 16, 64, 72
FONT = 'font-family="sans-serif" font-size="12"'
BLOCKS = " ▁▂▃▄▅▆▇█"
COLUMNS = 72


def svg(document: SimulationDocument) -> str:
    """Answers a second, stacked by region, with the faults in force marked above."""
    seconds = max(1, len(next(iter(document.traffic.values()), ())))
    totals = [sum(counts[second] for counts in document.traffic.values()) for second in range(seconds)]
    highest = max(1, *totals)
    x_scale = (WIDTH - LEFT - RIGHT) / max(1, seconds - 1)
    y_scale = (HEIGHT - TOP - BOTTOM) / highest
    base = HEIGHT - BOTTOM
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" {FONT}>',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        f'<text x="{LEFT}" y="20" font-size="15">{escape(document.title)}</text>',
    ]
    for phase in document.phases:
        x = LEFT + phase.begin_s * x_scale
        width = (min(phase.end_s, seconds - 1) - phase.begin_s) * x_scale
        fill = "none" if phase.name in ("before", "after") else "#fbe3e4"
        parts.append(
            f'<rect x="{x:.1f}" y="{TOP}" width="{max(0.0, width):.1f}" height="{base - TOP}" fill="{fill}"/>'
        )
        parts.append(f'<text x="{x + 3:.1f}" y="{TOP - 6}" font-size="10">{escape(phase.name)}</text>')
    below = [0.0] * seconds
    for index, (region, counts) in enumerate(document.traffic.items()):
        above = [low + count for low, count in zip(below, counts, strict=True)]
        points = [*_points(above, x_scale, y_scale, base), *reversed(_points(below, x_scale, y_scale, base))]
        colour = COLOURS[index % len(COLOURS)]
        parts.append(
            f'<polygon points="{" ".join(points)}" fill="{colour}" fill-opacity="0.85">'
            f"<title>{escape(region)}</title></polygon>"
        )
        legend_x, legend_y = LEFT + (index % 7) * 128, HEIGHT - 28 + (index // 7) * 14
        parts.append(f'<rect x="{legend_x}" y="{legend_y - 9}" width="10" height="10" fill="{colour}"/>')
        parts.append(f'<text x="{legend_x + 14}" y="{legend_y}">{escape(region)}</text>')
        below = above
    for share in (0.0, 0.5, 1.0):
        y = base - share * highest * y_scale
        parts.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="#ddd"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{share * highest:.0f}/s</text>')
    for tick in range(0, seconds, max(1, seconds // 10)):
        x = LEFT + tick * x_scale
        parts.append(f'<text x="{x:.1f}" y="{base + 16}" text-anchor="middle">{tick} s</text>')
    parts.append("</svg>\n")
    return "\n".join(parts)


def lines(traffic: Mapping[str, Sequence[int]]) -> list[str]:
    """A line a region: how high a block stands says how many answers it gave, on one scale for all."""
    if not traffic:
        return []
    seconds = len(next(iter(traffic.values())))
    step = max(1, -(-seconds // COLUMNS))
    binned = {
        region: [sum(counts[at : at + step]) for at in range(0, seconds, step)]
        for region, counts in traffic.items()
    }
    highest = max(1, *(max(counts) for counts in binned.values()))
    width = max(len(region) for region in traffic)
    return [
        f"{region:<{width}}  " + "".join(_block(count, highest) for count in counts)
        for region, counts in binned.items()
    ]


def _points(values: Sequence[float], x_scale: float, y_scale: float, base: float) -> list[str]:
    return [
        f"{LEFT + index * x_scale:.1f},{base - value * y_scale:.1f}" for index, value in enumerate(values)
    ]


def _block(count: int, highest: int) -> str:
    if count == 0:
        return BLOCKS[0]
    return BLOCKS[max(1, round(count / highest * (len(BLOCKS) - 1)))]
