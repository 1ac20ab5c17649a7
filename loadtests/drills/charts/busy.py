"""How busy the machine was, and above what a run says nothing."""

from collections.abc import Sequence

from atoll.picture.markup import join, tag
from atoll.picture.path import area
from atoll.picture.scale import Linear
from loadtests.drills.charts.data import BusyPoint
from loadtests.drills.charts.frame import Frame
from loadtests.drills.charts.panel import Key, Plot, heading, note, ruler

HEIGHT = 60.0


def busy(frame: Frame, y: float, points: Sequence[BusyPoint], limit: float) -> Plot:
    """The share of the processors' time that was used, by anybody."""
    above = f"{limit:.0%}: a run above it says nothing"
    keys = [Key(above, class_="limit")] if points else []
    head = heading(frame, y, "Processor", "percent of all cores, used by anybody", keys)
    if not points:
        words = "it was not measured"
        return Plot(join(head.drawing, note(frame, head.bottom + 10, words)), head.bottom + 18)
    scale = Linear(0.0, 100.0, head.bottom + HEIGHT, head.bottom)
    x = frame.x
    upper = []
    since = frame.begin_s
    for one in points:
        height = scale(100 * min(1.0, max(0.0, one.share)))
        upper += [(x(max(since, frame.begin_s)), height), (x(min(one.at_s, frame.end_s)), height)]
        since = one.at_s
    base = scale(0.0)
    shape = tag("path", d=area(upper, [(upper[0][0], base), (upper[-1][0], base)]), class_="busy")
    line = tag(
        "line", x1=frame.left, x2=frame.right, y1=scale(limit * 100), y2=scale(limit * 100), class_="limit"
    )
    marks = ruler(frame, scale, (0.0, 50.0, 100.0), " %")
    bottom = head.bottom + HEIGHT
    return Plot(join(head.drawing, marks, shape, line), bottom, ((head.bottom, bottom),))
