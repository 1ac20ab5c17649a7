"""Answers by region, stacked, with what failed on top."""

from collections.abc import Sequence

from atoll.picture.labels import inside, label, width
from atoll.picture.markup import Markup, join, tag
from atoll.picture.palette import Colour, series
from atoll.picture.path import area, stack
from atoll.picture.scale import Linear, ticks, top
from loadtests.drills.charts.data import Bin
from loadtests.drills.charts.frame import SMALL, Frame
from loadtests.drills.charts.panel import Key, Plot, heading, note, ruler

HEIGHT = 150.0
FAILED = "failed"


def traffic(frame: Frame, y: float, bins: Sequence[Bin], regions: Sequence[str]) -> Plot:
    """Each step is the mean over a bin. A region keeps its colour in all plots."""
    totals = _totals(bins, regions)
    failed = sum(sum(one.errors.values()) for one in bins)
    everything = sum(totals.values()) + failed
    keys = [
        Key(f"{region} {_share(totals[region], everything)}", series(number).fill)
        for number, region in enumerate(regions)
    ]
    if failed:
        keys.append(Key(f"{FAILED} {_share(failed, everything)}", "var(--ink)"))
    head = heading(frame, y, "Traffic", "requests a second, by the region that answered", keys)
    if everything == 0:
        return Plot(join(head.drawing, note(frame, head.bottom + 12, "nobody came")), head.bottom + 18)
    layers = [[one.answers.get(region, 0.0) for one in bins] for region in regions]
    layers.append([one.failed for one in bins])
    highest = top(max(map(sum, zip(*layers, strict=True))), 4)
    scale = Linear(0.0, highest, head.bottom + HEIGHT, head.bottom)
    colours: list[Colour | None] = [series(number) for number in range(len(regions))]
    drawn = [
        _layer(frame, scale, bins, edges, name, colour)
        for name, edges, colour in zip([*regions, FAILED], stack(layers), [*colours, None], strict=True)
        if any(high > low for low, high in zip(*edges, strict=True))
    ]
    marks = ruler(frame, scale, ticks(0.0, highest, 4), "/s")
    bottom = head.bottom + HEIGHT
    return Plot(join(head.drawing, marks, *drawn), bottom, ((head.bottom, bottom),))


def _totals(bins: Sequence[Bin], regions: Sequence[str]) -> dict[str, float]:
    return {
        region: sum(one.answers.get(region, 0.0) * (one.end_s - one.begin_s) for one in bins)
        for region in regions
    }


def _share(part: float, whole: float) -> str:
    """Never 0% of something that is there."""
    if whole == 0:
        return "0%"
    return "< 1%" if 0 < part < 0.005 * whole else f"{part / whole:.0%}"


def _layer(
    frame: Frame,
    scale: Linear,
    bins: Sequence[Bin],
    edges: tuple[list[float], list[float]],
    name: str,
    colour: Colour | None,
) -> Markup:
    """One region's area, with its name in it where there is room. No colour: what failed, in that of words."""
    x = frame.x
    lower, upper = (
        [
            (x(at), scale(value))
            for one, value in zip(bins, edge, strict=True)
            for at in (one.begin_s, one.end_s)
        ]
        for edge in edges
    )
    fill = "var(--ink)" if colour is None else colour.fill
    shape = tag("path", tag("title", name), d=area(upper, lower), fill=fill, class_="layer")
    if colour is None:
        return shape
    wide = width(name, SMALL, bold=True) + 10
    place = inside([at for at, _ in upper], [high for _, high in upper], [low for _, low in lower], wide, 16)
    if place is None:
        return shape
    return join(shape, label(name, place[0], place[1] + 4, SMALL, "middle", bold=True, ink=colour.ink))
