"""What every plot has: a title with its unit, a legend, ticks. A plot is drawn at a height and says where it ends."""

from collections.abc import Sequence
from dataclasses import dataclass

from atoll.picture.labels import label, shorten, width, wrap
from atoll.picture.markup import Markup, join, tag
from atoll.picture.scale import Scale, number
from loadtests.drills.charts.frame import SMALL, Frame

TITLE = 13.0
LINE = 16.0
SWATCH = 10.0
SPACE = 14.0
"""Below each plot."""


@dataclass(frozen=True, slots=True)
class Plot:
    """A finished plot and the height at which it ends."""

    drawing: Markup
    bottom: float
    areas: tuple[tuple[float, float], ...] = ()
    """Top and bottom of what lies on the time axis; no words but those of the plot itself are there."""


@dataclass(frozen=True, slots=True)
class Key:
    """An entry of a legend. `fill` for an area; `class_` for a line."""

    text: str
    fill: str | None = None
    class_: str | None = None


def heading(frame: Frame, top: float, title: str, unit: str, keys: Sequence[Key] = ()) -> Plot:
    """Title, unit and legend; the legend wraps where it has to."""
    title = shorten(title, frame.width - 8, TITLE, bold=True)
    after = width(title, TITLE, bold=True) + 8
    parts = [label(title, 0, top + 14, TITLE, bold=True)]
    if unit and (unit := shorten(unit, frame.width - after, SMALL)):
        parts.append(label(unit, after, top + 14, SMALL, class_="quiet"))
    bottom = top + 22
    room = frame.right - frame.left
    texts = [shorten(key.text, room - SWATCH - 5, SMALL) for key in keys]
    places = wrap([SWATCH + 5 + width(text, SMALL) for text in texts], room, 14)
    for key, text, (line, left) in zip(keys, texts, places, strict=True):
        x, y = frame.left + left, bottom + line * LINE
        parts += [_swatch(key, x, y), label(text, x + SWATCH + 5, y + 10, SMALL)]
    if places:
        bottom += (places[-1][0] + 1) * LINE + 2
    return Plot(join(*parts), bottom)


def _swatch(key: Key, x: float, y: float) -> Markup:
    if key.class_ is None:
        return tag("rect", x=x, y=y + 1, width=SWATCH, height=SWATCH, rx=2, fill=key.fill)
    return tag("line", x1=x, x2=x + SWATCH, y1=y + 6, y2=y + 6, class_=key.class_)


def ruler(frame: Frame, scale: Scale, ticks: Sequence[float], suffix: str = "") -> Markup:
    """Ticks at the left with their lines. `suffix` stands after the figure of the highest one."""
    parts = []
    for tick in ticks:
        y = scale(tick)
        ending = suffix if tick == ticks[-1] else ""
        parts.append(tag("line", x1=frame.left, x2=frame.right, y1=y, y2=y, class_="grid"))
        parts.append(label(tick_words(tick, max(ticks)) + ending, frame.left - 6, y + 4, SMALL, "end"))
    return join(*parts)


def tick_words(tick: float, highest: float | None = None) -> str:
    """Never wider than the margin that is left for it, and in thousands if the `highest` tick of its axis is so."""
    for size, letter in ((1e9, "G"), (1e6, "M")):
        if tick >= size:
            return f"{tick / size:g}{letter}"
    if tick >= 1e3 and max(tick, highest or 0.0) >= 1e4:
        return f"{tick / 1e3:g}k"
    return number(tick)


def note(frame: Frame, y: float, text: str) -> Markup:
    """Words in the place of a plot that has nothing to draw."""
    text = shorten(text, frame.right - frame.left - 16, SMALL)
    return label(text, frame.left + 8, y, SMALL, class_="quiet")
