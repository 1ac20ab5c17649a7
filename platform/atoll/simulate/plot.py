"""Traffic by region over time, as a picture: self-contained SVG for files, blocks for terminals."""

from collections.abc import Mapping, Sequence

from atoll.picture.labels import label, shorten, width, wrap
from atoll.picture.markup import Markup, tag
from atoll.picture.palette import series
from atoll.picture.path import area, stack
from atoll.picture.scale import Linear, number, ticks, time_ticks, top
from atoll.picture.theme import NAMESPACE, THEME
from atoll.simulate.report import SimulationDocument

WIDTH, HEIGHT = 960.0, 420.0
LEFT, RIGHT, TOP, BOTTOM = 56.0, WIDTH - 16.0, 64.0, HEIGHT - 72.0
SIZE = 12.0
STYLE = (
    "text{font-family:system-ui,sans-serif;fill:var(--ink)} .grid{stroke:var(--grid)} .fault{fill:var(--shade)}"
    " .layer{stroke:var(--ground);stroke-width:.7}"
)
BLOCKS = " ▁▂▃▄▅▆▇█"
COLUMNS = 72


def svg(document: SimulationDocument) -> str:
    """Answers a second, stacked by region, with the faults in force marked above."""
    seconds = max(1, len(next(iter(document.traffic.values()), ())))
    highest = top(max(map(sum, zip(*document.traffic.values(), strict=True)), default=0), 4)
    x = Linear(0.0, max(1, seconds - 1), LEFT, RIGHT)
    y = Linear(0.0, highest, BOTTOM, TOP)
    parts = [
        tag("style", Markup(THEME + STYLE)),
        tag("rect", width=WIDTH, height=HEIGHT, fill="var(--ground)"),
        label(shorten(document.title, RIGHT - LEFT, 15, bold=True), LEFT, 24, 15, bold=True),
        *_phases(document, x, seconds - 1),
    ]
    for tick in ticks(0, highest, 4):
        parts.append(tag("line", x1=LEFT, x2=RIGHT, y1=y(tick), y2=y(tick), class_="grid"))
        parts.append(label(f"{number(tick)}/s", LEFT - 6, y(tick) + 4, SIZE, "end"))
    parts += [
        label(f"{tick:.0f} s", x(tick), BOTTOM + 18, SIZE, "middle")
        for tick in time_ticks(0, seconds - 1, 12)
    ]
    parts += [*_layers(document.traffic, x, y), *_legend(tuple(document.traffic))]
    return tag("svg", *parts, xmlns=NAMESPACE, viewBox=f"0 0 {WIDTH:g} {HEIGHT:g}") + "\n"


def _phases(document: SimulationDocument, x: Linear, end_s: float) -> list[Markup]:
    """Faults are shaded; each phase's name stands above it, as far as there is room."""
    parts = []
    for phase in document.phases:
        begin, end = x(phase.begin_s), x(min(phase.end_s, end_s))
        if phase.name not in {"before", "after"}:
            wide = max(0.0, end - begin)
            parts.append(tag("rect", x=begin, y=TOP, width=wide, height=BOTTOM - TOP, class_="fault"))
        parts.append(label(shorten(phase.name, end - begin - 4, 10), begin + 3, TOP - 6, 10))
    return parts


def _layers(traffic: Mapping[str, Sequence[int]], x: Linear, y: Linear) -> list[Markup]:
    parts = []
    for order, (region, edges) in enumerate(zip(traffic, stack(list(traffic.values())), strict=True)):
        lower, upper = ([(x(second), y(value)) for second, value in enumerate(edge)] for edge in edges)
        fill = series(order).fill
        parts.append(tag("path", tag("title", region), d=area(upper, lower), fill=fill, class_="layer"))
    return parts


def _legend(regions: Sequence[str]) -> list[Markup]:
    parts = []
    places = wrap([16 + width(region, SIZE) for region in regions], RIGHT - LEFT, 14)
    for order, (region, (row, left)) in enumerate(zip(regions, places, strict=True)):
        across, down = LEFT + left, BOTTOM + 44 + row * 16
        parts.append(tag("rect", x=across, y=down - 9, width=10, height=10, fill=series(order).fill))
        parts.append(label(region, across + 16, down, SIZE))
    return parts


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


def _block(count: int, highest: int) -> str:
    if count == 0:
        return BLOCKS[0]
    return BLOCKS[max(1, round(count / highest * (len(BLOCKS) - 1)))]
