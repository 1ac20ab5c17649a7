"""How much room words take, and where they fit, so that no two ever lie over each other.

Fonts differ from reader to reader. What is reckoned with here are the widths of DejaVu Sans, one of the widest that a
system shows by default; in any other font the words take less room than was kept for them.
"""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from atoll.picture.markup import Markup, tag

_EM = {
    **dict.fromkeys("ijl'|", 0.28),
    **dict.fromkeys(" .,:;!/\\-()[]frtI", 0.42),
    **dict.fromkeys("mwMW%@", 1.0),
    **dict.fromkeys("GOQNHUDADBCKRVX", 0.79),
    **dict.fromkeys("+=<>~\u2212\u2265\u2264\u00b7", 0.84),
    "\u2026": 1.0,
}
_BOLD = 1.12
_ASCENT, _DESCENT = 0.8, 0.22
ELLIPSIS = "\u2026"


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle that words take. y grows downwards."""

    left: float
    top: float
    right: float
    bottom: float

    def overlaps(self, other: "Box") -> bool:
        """Whether they share more than an edge."""
        return (
            self.left < other.right
            and other.left < self.right
            and self.top < other.bottom
            and other.top < self.bottom
        )


def width(text: str, size: float, *, bold: bool = False) -> float:
    """The most that a line of text takes at a font size, in its unit."""
    return sum(map(_em, text)) * size * (_BOLD if bold else 1.0)


def _em(character: str) -> float:
    known = _EM.get(character)
    if known is not None:
        return known
    if not character.isprintable():
        return 1.05  # it may be drawn as U+FFFD
    if ord(character) < 0x250:
        return 0.7 if character.isupper() else 0.64
    return 0.0 if unicodedata.combining(character) else 1.05


def box(text: str, x: float, y: float, size: float, anchor: str = "start", *, bold: bool = False) -> Box:
    """What a line of text takes whose baseline begins, ends (`end`) or is centred (`middle`) at x, y."""
    wide = width(text, size, bold=bold)
    left = x - {"start": 0.0, "middle": wide / 2, "end": wide}[anchor]
    return Box(left, y - _ASCENT * size, left + wide, y + _DESCENT * size)


def label(
    text: str,
    x: float,
    y: float,
    size: float,
    anchor: str = "start",
    *,
    bold: bool = False,
    class_: str | None = None,
    ink: str | None = None,
) -> Markup:
    """A line of text of a picture. `ink` is a colour of its own, whatever the style sheet says of text."""
    return tag(
        "text",
        text,
        x=x,
        y=y,
        font_size=size,
        text_anchor=None if anchor == "start" else anchor,
        font_weight="600" if bold else None,
        class_=class_,
        style=None if ink is None else f"fill:{ink}",
    )


def shorten(text: str, room: float, size: float, *, bold: bool = False) -> str:
    """The text, or so much of its beginning as fits with an ellipsis; empty if not even three letters do."""
    if width(text, size, bold=bold) <= room:
        return text
    for length in range(len(text) - 1, 2, -1):
        shorter = text[:length].rstrip() + ELLIPSIS
        if width(shorter, size, bold=bold) <= room:
            return shorter
    return ""


def rows(spans: Sequence[tuple[float, float]]) -> list[int]:
    """For each span, from left to right, the first row in which it overlaps none before it."""
    ends: list[float] = []
    found = []
    for begin, end in spans:
        row = next((number for number, last in enumerate(ends) if last <= begin), len(ends))
        if row == len(ends):
            ends.append(end)
        else:
            ends[row] = end
        found.append(row)
    return found


def inside(
    xs: Sequence[float], upper: Sequence[float], lower: Sequence[float], wide: float, high: float
) -> tuple[float, float] | None:
    """The middle of a rectangle between two lines where they leave most room above and below; None if none fits.

    `upper` and `lower` are heights at `xs` (rising); y grows downwards, so upper is the smaller one.
    """
    best: tuple[float, float, float] | None = None
    end = 0
    for begin in range(len(xs)):
        while end < len(xs) and xs[end] - xs[begin] < wide:
            end += 1
        if end == len(xs):
            break
        highest, lowest = max(upper[begin : end + 1]), min(lower[begin : end + 1])
        room = lowest - highest
        if room >= high and (best is None or room > best[0] + 0.5):
            best = (room, (xs[begin] + xs[end]) / 2, (highest + lowest) / 2)
    return None if best is None else best[1:]


def wrap(widths: Sequence[float], room: float, gap: float) -> list[tuple[int, float]]:
    """Things of these widths one after the other in lines no wider than `room`: line and left edge of each."""
    line, left = 0, 0.0
    found = []
    for wide in widths:
        if left > 0 and left + wide > room:
            line, left = line + 1, 0.0
        found.append((line, left))
        left += wide + gap
    return found
