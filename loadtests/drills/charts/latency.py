"""p50 and p99 on a logarithmic axis, with those of each whole phase."""

from collections.abc import Sequence

from atoll.picture.labels import label, width
from atoll.picture.markup import Markup, join, tag
from atoll.picture.path import steps
from atoll.picture.scale import Logarithmic, logarithmic_range, logarithmic_ticks, number
from loadtests.drills.charts.data import Bin, PhaseLatency
from loadtests.drills.charts.frame import SMALL, Frame
from loadtests.drills.charts.panel import Key, Plot, heading, note, ruler

HEIGHT = 130.0


def latency(frame: Frame, y: float, bins: Sequence[Bin], phases: Sequence[PhaseLatency]) -> Plot:
    """A bin without answers is a gap. Above the lines stand the figures of each phase, where they fit."""
    keys = [Key("p99", class_="p99"), Key("p50", class_="p50"), Key("the whole phase", class_="phase")]
    head = heading(frame, y, "Latency", "milliseconds from the intended start, logarithmic", keys)
    values = [value for one in bins for value in (one.p50_ms, one.p99_ms) if value is not None]
    if not any(value > 0 for value in values):
        return Plot(join(head.drawing, note(frame, head.bottom + 12, "no answer")), head.bottom + 18)
    inner = head.bottom + 20
    low, high = logarithmic_range(
        values + [value for phase in phases for value in (phase.p50_ms, phase.p99_ms) if value is not None]
    )
    scale = Logarithmic(low, high, inner + HEIGHT, inner)
    lines = [
        tag("path", tag("title", name), d=_steps(frame, scale, bins, name), class_=name)
        for name in ("p99", "p50")
    ]
    marks = ruler(frame, scale, logarithmic_ticks(low, high, 6))
    drawn = (marks, *_phases(frame, scale, phases, inner - 6), *lines)
    return Plot(join(head.drawing, *drawn), inner + HEIGHT, ((inner, inner + HEIGHT),))


def _steps(frame: Frame, scale: Logarithmic, bins: Sequence[Bin], name: str) -> str:
    x = frame.x
    points = [
        (x(one.begin_s), None if value is None else scale(value))
        for one in bins
        for value in (one.p50_ms if name == "p50" else one.p99_ms,)
    ]
    return steps(points, x(bins[-1].end_s)) if bins else ""


def _phases(
    frame: Frame, scale: Logarithmic, phases: Sequence[PhaseLatency], baseline: float
) -> list[Markup]:
    parts = []
    for (begin, end), phase in zip(frame.phases, phases, strict=True):
        for value in (phase.p50_ms, phase.p99_ms):
            if value is not None and value > 0 and end > begin:
                y = scale(value)
                parts.append(tag("line", x1=begin, x2=end, y1=y, y2=y, class_="phase"))
        text = next((form for form in _forms(phase) if width(form, SMALL) <= end - begin - 6), "")
        if text:
            parts.append(label(text, (begin + end) / 2, baseline, SMALL, "middle", class_="quiet"))
    return parts


def _forms(phase: PhaseLatency) -> list[str]:
    """From the longest to the shortest."""
    if phase.p50_ms is None or phase.p99_ms is None:
        return ["no answer"]
    p50, p99 = _short(phase.p50_ms), _short(phase.p99_ms)
    return [f"p50 {p50} ms, p99 {p99} ms", f"{p50} / {p99} ms", f"p99 {p99}"]


def _short(milliseconds: float) -> str:
    """Three figures are enough."""
    return number(round(milliseconds, 1 if milliseconds < 100 else 0))
