"""What happened, in words: a lane for faults, for decisions, for alerts, for the figures of the verdict.

Words never lie over each other: each takes the first row of its lane that is free at its place. Where a lane would
need too many rows, neighbours are told of together, and the table of all events below the picture has each of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from atoll.picture.labels import label, rows, shorten, width
from atoll.picture.markup import Markup, join, tag
from loadtests.drills.charts.data import Event
from loadtests.drills.charts.frame import SMALL, Frame
from loadtests.drills.charts.panel import Plot, heading
from loadtests.drills.record import MarkKind

ROW = 17.0
ROWS = 7
"""The most that a lane has."""
APART = (0.0, 3.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0)
"""Events within so many pixels are told of together; the first of these that makes them fit is taken."""
SIGN = 10.0
"""What a sign takes before its words."""


@dataclass(frozen=True, slots=True)
class Lane:
    """One kind of events. `many` is what several of them are called."""

    title: str
    kinds: tuple[MarkKind | None, ...]
    many: str


LANES = (
    Lane("Faults", (MarkKind.FAULT, MarkKind.HEAL), "faults and ends of faults"),
    Lane("Decisions of Atoll", (MarkKind.DECISION,), "decisions"),
    Lane("Alerts", (MarkKind.ALERT,), "alerts"),
    Lane("Figures of the verdict", (None,), "figures"),
)


@dataclass(frozen=True, slots=True)
class Told:
    """Events that are told of together, and where. `x` is the sign, `begin` and `end` what sign and words take."""

    events: tuple[Event, ...]
    text: str
    x: float
    begin: float
    end: float
    leftwards: bool


def lanes(frame: Frame, y: float, events: Sequence[Event]) -> Plot:
    """All lanes that have something to tell."""
    parts: list[Markup] = []
    for lane in LANES:
        mine = sorted((one for one in events if one.kind in lane.kinds), key=lambda one: one.at_s)
        if not mine:
            continue
        head = heading(frame, y, lane.title, "")
        told = arranged(frame, lane, mine)
        places = rows([(one.begin, one.end) for one in told])
        parts.append(head.drawing)
        parts += [_drawn(one, head.bottom + row * ROW) for one, row in zip(told, places, strict=True)]
        y = head.bottom + (max(places) + 1) * ROW + 8
    return Plot(join(*parts), y)


def arranged(frame: Frame, lane: Lane, events: Sequence[Event]) -> list[Told]:
    """From left to right; `events` are in the order of time."""
    told: list[Told] = []
    for apart in APART:
        told = sorted(
            (_told(frame, lane, group) for group in _groups(frame, events, apart)), key=lambda one: one.begin
        )
        if max(rows([(one.begin, one.end) for one in told])) < ROWS:
            return told
    return [_told(frame, lane, events)] if told else []


def _groups(frame: Frame, events: Sequence[Event], apart: float) -> list[list[Event]]:
    groups: list[list[Event]] = []
    for event in events:
        if groups and frame.x(event.at_s) - frame.x(groups[-1][0].at_s) < apart:
            groups[-1].append(event)
        else:
            groups.append([event])
    return groups


def _told(frame: Frame, lane: Lane, events: Sequence[Event]) -> Told:
    room = frame.right - frame.left
    many = f"{len(events)} {lane.many}, first " if len(events) > 1 else ""
    text = shorten(
        f"{when(events)}: {many}{events[0].text}", min(room - SIGN - 8, max(240.0, room * 0.45)), SMALL
    )
    x = min(max(frame.x(events[0].at_s), frame.left + 4), frame.right - 4)
    left, right = x - SIGN - 1, frame.width - x - SIGN - 1
    leftwards = width(text, SMALL) > right and left > right
    text = shorten(text, left if leftwards else right, SMALL)
    takes = SIGN + width(text, SMALL) + 6
    begin = x + 5 - takes if leftwards else x - 5
    return Told(tuple(events), text, x, begin, begin + takes, leftwards)


def when(events: Sequence[Event]) -> str:
    """``0.4 s``, or ``0.4 to 1.2 s``, from the fault."""
    first, last = (f"{at_s:.1f}".replace("-", "\u2212") for at_s in (events[0].at_s, events[-1].at_s))
    return f"{first} s" if first == last else f"{first} to {last} s"


def _drawn(told: Told, top: float) -> Markup:
    middle = top + ROW / 2
    side = -SIGN + 2 if told.leftwards else SIGN - 2
    anchor = "end" if told.leftwards else "start"
    hint = "\n".join(f"{when([one])}: {one.text}" for one in told.events[:40])
    return tag(
        "g",
        tag("title", hint),
        sign(told.events[0].kind, told.x, middle),
        label(told.text, told.x + side, middle + 4, SMALL, anchor),
    )


def sign(kind: MarkKind | None, x: float, y: float) -> Markup:
    """Each kind has a shape of its own, not only a colour."""
    shapes = {
        MarkKind.FAULT: ("fault-sign", f"M{x - 4.5:.1f} {y - 4:.1f}h9l-4.5 8Z"),
        MarkKind.HEAL: ("heal-sign", f"M{x - 4.5:.1f} {y + 4:.1f}h9l-4.5 -8Z"),
        MarkKind.ALERT: ("alert-sign", f"M{x:.1f} {y - 5:.1f}l5 5l-5 5l-5 -5Z"),
        None: ("figure-sign", f"M{x - 1:.1f} {y - 5:.1f}h2v10h-2Z"),
    }
    name, path = shapes.get(kind, ("decision-sign", f"M{x - 4:.1f} {y:.1f}a4 4 0 1 0 8 0a4 4 0 1 0 -8 0Z"))
    return tag("path", d=path, class_=name)
