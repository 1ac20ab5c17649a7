"""Failed requests by kind, as stacked bars."""

from collections import Counter
from collections.abc import Sequence

from atoll.picture.markup import join, point, tag
from atoll.picture.palette import FAILURES
from atoll.picture.scale import Linear, top, whole_ticks
from loadtests.drills.charts.data import Bin
from loadtests.drills.charts.frame import Frame
from loadtests.drills.charts.panel import Key, Plot, heading, note, ruler

HEIGHT = 90.0


def errors(frame: Frame, y: float, bins: Sequence[Bin]) -> Plot:
    """The kinds with most errors have a colour each, all others share one."""
    totals = Counter[str]()
    for one in bins:
        totals.update({kind: round(count) for kind, count in one.errors.items()})
    if not +totals:
        head = heading(frame, y, "Errors", "failed requests, by kind")
        words = "no request failed" if any(one.answers for one in bins) else "nobody came"
        return Plot(join(head.drawing, note(frame, head.bottom + 10, words)), head.bottom + 18)
    groups = kinds(totals)
    keys = [
        Key(f"{name} {sum(totals[kind] for kind in members):,}", FAILURES[number].fill)
        for number, (name, members) in enumerate(groups)
    ]
    seconds = round(bins[0].end_s - bins[0].begin_s, 1)
    each = "each second" if seconds == 1 else f"each {seconds:g} s"
    head = heading(frame, y, "Errors", f"failed requests due in {each}, by kind", keys)
    most = max(sum(one.errors.values()) for one in bins)
    highest = top(most, 4)
    scale = Linear(0.0, highest, head.bottom + HEIGHT, head.bottom)
    below = [0.0] * len(bins)
    drawn = []
    for number, (name, members) in enumerate(groups):
        bars = []
        for at, one in enumerate(bins):
            count = sum(one.errors.get(kind, 0.0) for kind in members)
            if count:
                bars.append(_bar(frame, scale, one, below[at], below[at] + count))
                below[at] += count
        drawn.append(tag("path", tag("title", name), d="".join(bars), fill=FAILURES[number].fill))
    marks = ruler(frame, scale, whole_ticks(round(highest), 4))
    bottom = head.bottom + HEIGHT
    return Plot(join(head.drawing, marks, *drawn), bottom, ((head.bottom, bottom),))


def kinds(totals: Counter[str]) -> list[tuple[str, list[str]]]:
    """What is drawn together: name and kinds. The most frequent come first."""
    ordered = [kind for kind, _ in sorted((+totals).items(), key=lambda item: (-item[1], item[0]))]
    if len(ordered) <= len(FAILURES):
        return [(kind, [kind]) for kind in ordered]
    own, others = ordered[: len(FAILURES) - 1], ordered[len(FAILURES) - 1 :]
    return [*((kind, [kind]) for kind in own), (f"{len(others)} other kinds", others)]


def _bar(frame: Frame, scale: Linear, one: Bin, low: float, high: float) -> str:
    """Half a pixel is left free at the right, so that neighbours are told apart; a bar is never invisible."""
    left, right = frame.x(one.begin_s), frame.x(one.end_s)
    wide = max(1.0, right - left - 0.5)
    begin, end = scale(low), scale(high)
    return f"M{point(left)} {point(begin)}h{point(wide)}V{point(end)}h{point(-wide)}Z"
