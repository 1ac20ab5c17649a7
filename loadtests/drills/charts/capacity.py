"""Latency against rate: how much a deployment takes before its objectives no longer hold."""

from collections.abc import Sequence
from dataclasses import dataclass

from atoll.picture.labels import label, shorten, width
from atoll.picture.markup import Markup, join, tag
from atoll.picture.palette import series
from atoll.picture.path import line
from atoll.picture.scale import Linear, Logarithmic, logarithmic_range, logarithmic_ticks, number, ticks, top
from atoll.picture.theme import NAMESPACE, THEME
from loadtests.drills.charts.frame import SMALL, Frame
from loadtests.drills.charts.panel import LINE, Key, heading, note, ruler, tick_words
from loadtests.drills.charts.style import CHART

HEIGHT = 300.0


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """What was measured at one rate."""

    rate: float
    """Requests a second that were meant to be sent."""
    p99_ms: float | None
    """None: nothing was answered."""
    held: bool
    """Whether all objectives held."""


@dataclass(frozen=True, slots=True)
class Curve:
    """One way to run the same service: ``local region alone``, ``with spill``."""

    name: str
    points: Sequence[CurvePoint]
    limit: float | None
    """The highest rate at which the objectives hold; None: none was found."""
    at_least: bool = False
    """Above it the machine was at its end, so that the deployment may carry more."""


def capacity(curves: Sequence[Curve], p99_limit_ms: float | None, *, wide: float = 760.0) -> Markup:
    """A picture that stands alone, as a file or inside of a page. The limits found are marked and told of in words."""
    highest = top(max((point.rate for curve in curves for point in curve.points), default=0.0), 8)
    frame = Frame(wide, 0.0, 0.0, highest)
    x = Linear(0.0, highest, frame.left, frame.right)
    keys = [Key(f"{curve.name}: {_limit(curve)}", series(number).fill) for number, curve in enumerate(curves)]
    unit = "p99 in ms from the intended start, logarithmic; filled points: all objectives held"
    head = heading(frame, 0.0, "Capacity", unit, keys)
    values = [point.p99_ms for curve in curves for point in curve.points if point.p99_ms is not None]
    low, high = logarithmic_range([*values, *([] if p99_limit_ms is None else [p99_limit_ms])])
    inner = head.bottom + 8 + LINE * len(curves)
    base = inner + HEIGHT
    y = Logarithmic(low, high, base, inner)
    parts: list[Markup] = [head.drawing, ruler(frame, y, logarithmic_ticks(low, high, 8))]
    if not values:
        parts.append(note(frame, inner + HEIGHT / 2, "nothing was measured"))
    if p99_limit_ms is not None:
        parts += _objective(frame, y(p99_limit_ms), inner, p99_limit_ms)
    for tick in ticks(0.0, highest, max(2, int((frame.right - frame.left) / 70))):
        parts.append(tag("line", x1=x(tick), x2=x(tick), y1=base, y2=base + 4, class_="grid"))
        text = tick_words(tick, highest)
        middle = min(x(tick), wide - width(text, SMALL) / 2)
        parts.append(label(text, middle, base + 16, SMALL, "middle"))
    parts.append(label("requests a second", frame.right, base + 32, SMALL, "end", class_="quiet"))
    for order, curve in enumerate(curves):
        parts.append(_curve(curve, x, y, base, series(order).fill))
        if curve.limit is not None:
            parts += _mark(frame, curve, x(curve.limit), inner - 6 - LINE * order, base, series(order).fill)
    words = "; ".join(f"{curve.name}: {_limit(curve)}" for curve in curves) or "nothing was measured"
    title = tag("title", f"Latency against rate. {words}.")
    style = tag("style", Markup(THEME + CHART))
    ground = tag("rect", width=wide, height=base + 40, fill="var(--ground)")
    size = {
        "style": f"max-width:{wide:g}px",
        "viewBox": f"0 0 {wide:g} {base + 40:g}",
        "width": f"{wide:g}",
        "role": "img",
    }
    return tag("svg", title, style, ground, *parts, xmlns=NAMESPACE, **size)


def _limit(curve: Curve) -> str:
    if curve.limit is None:
        return "no rate at which the objectives hold"
    rate = f"{number(round(curve.limit, 1))}/s"
    return f"at least {rate}, where the machine ends" if curve.at_least else f"objectives hold up to {rate}"


def _objective(frame: Frame, y: float, inner: float, limit_ms: float) -> list[Markup]:
    """The line, and above it what it is: at the left, where rates are low, curves are below it."""
    text = shorten(f"objective: p99 {number(limit_ms)} ms at most", frame.right - frame.left - 12, SMALL)
    above = max(y - 5, inner + 12)
    return [
        tag("line", x1=frame.left, x2=frame.right, y1=y, y2=y, class_="limit"),
        label(text, frame.left + 6, above, SMALL, class_="quiet"),
    ]


def _curve(curve: Curve, x: Linear, y: Logarithmic, base: float, fill: str) -> Markup:
    """Filled where the objectives held, hollow where not, a cross at the foot where nothing was answered."""
    points = sorted(curve.points, key=lambda point: point.rate)
    d = line((x(point.rate), None if point.p99_ms is None else y(point.p99_ms)) for point in points)
    return join(
        tag("path", d=d, stroke=fill, class_="curve"),
        *(_sign(point, curve.name, x(point.rate), y, base, fill) for point in points),
    )


def _sign(point: CurvePoint, name: str, x: float, y: Logarithmic, base: float, fill: str) -> Markup:
    words = "objectives held" if point.held else "objectives did not hold"
    if point.p99_ms is None:
        title = tag("title", f"{name}, {number(point.rate)}/s: no answer; {words}")
        d = f"M{x - 4:.1f} {base - 8:.1f}l8 8m-8 0l8 -8"
        return tag("path", title, d=d, stroke=fill, class_="curve")
    title = tag("title", f"{name}, {number(point.rate)}/s: p99 {number(round(point.p99_ms, 1))} ms; {words}")
    inside = fill if point.held else "var(--ground)"
    return tag("circle", title, cx=x, cy=y(point.p99_ms), r=4, fill=inside, stroke=fill, stroke_width=2)


def _mark(frame: Frame, curve: Curve, x: float, baseline: float, base: float, fill: str) -> list[Markup]:
    """A line at the limit, with its words in a row of its own above the plot."""
    assert curve.limit is not None
    sign = "\u2265 " if curve.at_least else ""
    text = shorten(
        f"{curve.name} {sign}{number(round(curve.limit, 1))}/s", frame.right - frame.left - 8, SMALL
    )
    half = width(text, SMALL) / 2
    middle = min(max(x, frame.left + half), frame.right - half)
    return [
        tag(
            "line",
            x1=x,
            x2=x,
            y1=baseline + 4,
            y2=base,
            stroke=fill,
            stroke_width=1.4,
            stroke_dasharray="3 3",
        ),
        label(text, middle, baseline, SMALL, "middle", bold=False),
    ]
