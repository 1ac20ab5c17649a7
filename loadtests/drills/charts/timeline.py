"""All plots of a drill on top of each other, over one time axis."""

from collections.abc import Callable, Sequence

from atoll.picture.markup import Markup, join, tag
from atoll.picture.scale import number
from loadtests.drills.charts.busy import busy
from loadtests.drills.charts.data import Bin, BusyPoint, Picture, merged
from loadtests.drills.charts.errors import errors
from loadtests.drills.charts.frame import Frame
from loadtests.drills.charts.lanes import lanes
from loadtests.drills.charts.latency import latency
from loadtests.drills.charts.panel import SPACE, Plot
from loadtests.drills.charts.replicas import replicas
from loadtests.drills.charts.traffic import traffic

HEADER = 22.0
WIDEST_COLUMN = 6.0
"""Pixels of what answers to a pointer."""


def timeline(picture: Picture, width: float, title: str, description: str) -> Markup:
    """The whole picture, `width` pixels wide. Nothing in it lies over words."""
    frame = Frame(width, picture.begin_s, picture.heal_s, picture.end_s, picture.origin)
    bins = merged(picture.bins, frame.each(len(picture.bins)))
    regions = picture.regions
    parts: list[Markup] = []
    y = HEADER
    plots: tuple[Callable[[float], Plot], ...] = (
        lambda top: traffic(frame, top, bins, regions),
        lambda top: latency(frame, top, bins, picture.latency),
        lambda top: errors(frame, top, bins),
        lambda top: replicas(frame, top, picture.replicas, regions),
        lambda top: busy(frame, top, picture.busy, picture.busy_limit),
    )
    for draw in plots:
        plot = draw(y)
        parts += [*(frame.background(*area) for area in plot.areas), plot.drawing]
        y = plot.bottom + SPACE
    floor = y - SPACE
    below = lanes(frame, floor + 40, picture.events)
    return tag(
        "svg",
        tag("title", title),
        tag("desc", description),
        frame.axis(floor),
        frame.header(picture.fault, HEADER - 8),
        *parts,
        _columns(frame, picture.bins, picture.busy, floor),
        below.drawing,
        viewBox=f"0 0 {width:g} {below.bottom:g}",
        width=f"{width:g}",
        role="img",
    )


def _columns(frame: Frame, bins: Sequence[Bin], busy: Sequence[BusyPoint], floor: float) -> Markup:
    """What a pointer finds: the figures of the stretch of time below it."""
    each = max(1, -(-len(bins) * int(WIDEST_COLUMN) // max(1, int(frame.right - frame.left))))
    return join(
        *(
            tag(
                "rect",
                tag(
                    "title",
                    _figures(
                        one,
                        frame.origin,
                        [point.share for point in busy if one.begin_s < point.at_s <= one.end_s],
                    ),
                ),
                x=frame.x(one.begin_s),
                y=HEADER,
                width=frame.x(one.end_s) - frame.x(one.begin_s),
                height=floor - HEADER,
                class_="column",
            )
            for one in merged(bins, each)
        )
    )


def _figures(one: Bin, origin: str, busy: Sequence[float]) -> str:
    lines = [f"{one.begin_s:.0f} to {one.end_s:.0f} s from {origin}".replace("-", "\u2212")]
    lines += [f"{region} {number(round(rate, 1))}/s" for region, rate in sorted(one.answers.items())]
    if one.p50_ms is not None and one.p99_ms is not None:
        lines.append(f"p50 {number(round(one.p50_ms, 1))} ms, p99 {number(round(one.p99_ms, 1))} ms")
    lines += [f"{kind}: {count:.0f} failed" for kind, count in sorted(one.errors.items()) if count]
    if busy:
        lines.append(f"processor {sum(busy) / len(busy):.0%}")
    return "\n".join(lines)
