"""Replicas of each region: a strip each, so that equal counts don't hide each other."""

from collections.abc import Mapping, Sequence

from atoll.picture.labels import label, shorten, width
from atoll.picture.markup import Markup, join, tag
from atoll.picture.palette import series
from atoll.picture.path import area, steps
from atoll.picture.scale import Linear
from loadtests.drills.charts.data import ReplicaPoint
from loadtests.drills.charts.frame import SMALL, Frame
from loadtests.drills.charts.panel import Key, Plot, heading, note

STRIP = 24.0
CAPTION = 15.0


def replicas(
    frame: Frame, y: float, counts: Mapping[str, Sequence[ReplicaPoint]], regions: Sequence[str]
) -> Plot:
    """All strips have one scale, from 0 to the highest count."""
    keys = [Key("running", class_="running"), Key("wanted", class_="wanted")]
    head = heading(frame, y, "Replicas", "of all services together", keys if counts else ())
    if not any(counts.values()):
        words = "the run did not say how many there were"
        return Plot(join(head.drawing, note(frame, head.bottom + 10, words)), head.bottom + 18)
    highest = max(
        (
            count
            for points in counts.values()
            for one in points
            for count in (one.running or 0, one.wanted or 0)
        ),
        default=0,
    )
    parts: list[Markup] = []
    areas = []
    bottom = head.bottom
    for number, region in enumerate(regions):
        points = counts.get(region, ())
        top, bottom = bottom + CAPTION, bottom + CAPTION + STRIP
        scale = Linear(0.0, max(1, highest), bottom, top)
        parts += [
            *_caption(frame, top - 4, region, points),
            tag("line", x1=frame.left, x2=frame.right, y1=bottom, y2=bottom, class_="grid"),
            label("0", frame.left - 6, bottom + 2, SMALL, "end"),
            label(str(highest), frame.left - 6, top + 6, SMALL, "end"),
            *_strip(frame, scale, points, series(number).fill),
        ]
        areas.append((top, bottom))
        bottom += 4
    return Plot(join(head.drawing, *parts), bottom, tuple(areas))


def _caption(frame: Frame, y: float, region: str, points: Sequence[ReplicaPoint]) -> list[Markup]:
    """The region's name, and between which counts it went."""
    running = [one.running for one in points if one.running is not None]
    unknown = any(one.running is None for one in points)
    words = (
        f"{running[0]} at first, {min(running)} to {max(running)}, {running[-1]} in the end"
        if running
        else ""
    )
    words = (
        words if running and min(running) != max(running) else f"{running[0]} throughout" if running else ""
    )
    words = ", ".join(filter(None, (words, "unknown at times" if unknown and running else "")))
    words = words or "not known"
    room = frame.right - frame.left
    name = shorten(region, room * 0.6, SMALL, bold=True)
    after = frame.left + width(name, SMALL, bold=True) + 8
    words = shorten(words, frame.right - after, SMALL)
    parts = [label(name, frame.left, y, SMALL, bold=True)]
    return [*parts, label(words, after, y, SMALL, class_="quiet")] if words else parts


def _strip(frame: Frame, scale: Linear, points: Sequence[ReplicaPoint], fill: str) -> list[Markup]:
    x, base = frame.x, scale(0.0)
    running = [(x(one.at_s), None if one.running is None else scale(one.running)) for one in points]
    wanted = [(x(one.at_s), None if one.wanted is None else scale(one.wanted)) for one in points]
    ends = [*(x(one.at_s) for one in points[1:]), frame.right]
    parts = []
    begin = 0
    while begin < len(running):
        end = begin
        while end < len(running) and running[end][1] is not None:
            end += 1
        upper = [
            (edge, height)
            for at in range(begin, end)
            for edge in (running[at][0], ends[at])
            if (height := running[at][1]) is not None
        ]
        if upper:
            lower = [(upper[0][0], base), (upper[-1][0], base)]
            parts.append(tag("path", d=area(upper, lower), fill=fill, class_="soft"))
        begin = max(end, begin + 1)
    parts.append(tag("path", d=steps(running, frame.right), class_="running"))
    parts.append(tag("path", d=steps(wanted, frame.right), class_="wanted"))
    return parts
