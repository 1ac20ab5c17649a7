"""What one direction of a link does to the bytes that pass: latency, jitter, rate, cut. Pure: no I/O.

The model is a wire with a queue in front of it:

    send() -> waiting -> (departs when the wire is free, never while cut) -> in flight -> deliver()

* ``waiting`` is one first-in-first-out queue for all flows of the direction, so a rate limit is the
  limit of the link and not of each connection.
* ``in flight`` is a heap by due time. A flow's due times never go down, so its bytes never overtake.
* A cut puts what is in flight back at the head of ``waiting``, which is what a TCP sender does when it
  retransmits: after the heal everything is sent again, in order, and pays the latency anew.
"""

import heapq
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from math import isfinite
from random import Random
from typing import TypeAlias

from atoll.clock import Clock

WINDOW_BYTES = 1 << 20
"""Most bytes of one flow in a direction before its source is paused: 25 MB/s at 40 ms one way."""

THROTTLED_WINDOW_BYTES = 64 << 10
"""The least window under a rate limit, so that a slow link does not turn into seconds of queue."""

PIECE_S = 0.01
"""A rate limit lets bytes go in pieces of about this much wire time..."""

PIECE_BYTES = 64
"""...but not in smaller ones than this; small, since what is on the wire at a heal still takes its time."""


class Mark(Enum):
    """What travels between the bytes of a connection, in their order."""

    SYN = "syn"
    SYN_ACK = "syn-ack"
    FIN = "fin"
    RESET = "reset"


Item: TypeAlias = bytes | memoryview | Mark


@dataclass(frozen=True, slots=True)
class Shape:
    """How one direction behaves.

    ``latency_s`` is one way (half the round trip). ``jitter_s`` is the most that is added to it, drawn
    evenly from zero up, so the latency is a true lower bound. ``rate_bytes_per_s`` is None for no limit.
    Raises `ValueError` for values no network has.
    """

    latency_s: float = 0.0
    jitter_s: float = 0.0
    rate_bytes_per_s: float | None = None
    cut: bool = False

    def __post_init__(self) -> None:
        for name, value in (("latency_s", self.latency_s), ("jitter_s", self.jitter_s)):
            if not (isfinite(value) and value >= 0):
                raise ValueError(f"{name} is {value}; it must be zero or more seconds")
        rate = self.rate_bytes_per_s
        if rate is not None and not (isfinite(rate) and rate > 0):
            raise ValueError(f"rate_bytes_per_s is {rate}; it must be above zero, or None for no limit")

    @property
    def window_bytes(self) -> int:
        """Bytes of one flow at which its source is paused: the bandwidth-delay product, bounded."""
        if self.rate_bytes_per_s is None:
            return WINDOW_BYTES
        product = self.rate_bytes_per_s * (self.latency_s + self.jitter_s + PIECE_S)
        return int(min(max(product, THROTTLED_WINDOW_BYTES), WINDOW_BYTES))


@dataclass(slots=True, eq=False)
class Flow:
    """One connection's bytes in one direction. ``pending`` counts those sent and not yet delivered."""

    deliver: Callable[[Item], None]
    pending: int = 0
    last_due: float = field(default=0.0, repr=False)


@dataclass(frozen=True, slots=True)
class DirectionStatistics:
    """A snapshot of one direction. ``bytes_waiting`` are held by a cut or a rate limit."""

    shape: Shape
    bytes_sent: int
    bytes_delivered: int
    bytes_waiting: int
    bytes_in_flight: int
    cuts: int


class Direction:
    """The state of one direction of a link. Order is kept per flow; nothing is lost or duplicated."""

    __slots__ = (
        "_base",
        "_bytes_delivered",
        "_bytes_sent",
        "_bytes_waiting",
        "_clock",
        "_cuts",
        "_in_flight",
        "_random",
        "_sequence",
        "_shape",
        "_waiting",
        "_wire_free",
    )

    def __init__(self, base: Shape, clock: Clock, random: Random) -> None:
        self._base = base
        self._shape = base
        self._clock = clock
        self._random = random
        self._waiting: deque[tuple[Flow, Item]] = deque()
        self._in_flight: list[tuple[float, int, Flow, Item]] = []
        self._sequence = 0
        self._wire_free = 0.0
        self._bytes_sent = 0
        self._bytes_delivered = 0
        self._bytes_waiting = 0
        self._cuts = 0

    @property
    def shape(self) -> Shape:
        return self._shape

    @property
    def base(self) -> Shape:
        """The shape of the healthy link, which a heal brings back."""
        return self._base

    def reshape(self, shape: Shape) -> None:
        """Takes up another shape. What is in flight keeps its time, except that a cut calls it back."""
        if shape.cut and not self._shape.cut:
            self._cuts += 1
            self._call_back()
        self._shape = shape
        self._wire_free = self._clock.monotonic()

    def send(self, flow: Flow, item: Item) -> None:
        """Takes one item of a flow. `deliver_due` hands it over when its time has come."""
        if not self._waiting:  # an idle wire saves nothing up
            self._wire_free = max(self._wire_free, self._clock.monotonic())
        size = _size(item)
        flow.pending += size
        self._bytes_sent += size
        self._bytes_waiting += size
        self._waiting.append((flow, item))

    def deliver_due(self) -> None:
        """Hands over everything whose time has come, in order."""
        now = self._clock.monotonic()
        self._depart(now)
        while self._in_flight and self._in_flight[0][0] <= now:
            _, _, flow, item = heapq.heappop(self._in_flight)
            size = _size(item)
            flow.pending -= size
            self._bytes_delivered += size
            flow.deliver(item)

    def next_event(self) -> float | None:
        """When `deliver_due` has something to do (monotonic); None: not before a send or a reshape."""
        due = self._in_flight[0][0] if self._in_flight else None
        if not self._waiting or self._shape.cut:
            return due
        return self._wire_free if due is None else min(due, self._wire_free)

    def statistics(self) -> DirectionStatistics:
        return DirectionStatistics(
            shape=self._shape,
            bytes_sent=self._bytes_sent,
            bytes_delivered=self._bytes_delivered,
            bytes_waiting=self._bytes_waiting,
            bytes_in_flight=self._bytes_sent - self._bytes_delivered - self._bytes_waiting,
            cuts=self._cuts,
        )

    def _depart(self, now: float) -> None:
        """Moves waiting items on to the wire as far as cut and rate allow."""
        shape = self._shape
        if shape.cut:
            return
        rate = shape.rate_bytes_per_s
        while self._waiting:
            if rate is None:
                flow, item = self._waiting.popleft()
                departed = now
            elif self._wire_free > now:
                return
            else:
                flow, item = self._next_piece(int(max(rate * PIECE_S, PIECE_BYTES)))
                # From when the wire came free, not from now: a late timer must not cost throughput.
                departed = self._wire_free = self._wire_free + _size(item) / rate
            due = departed + shape.latency_s
            if shape.jitter_s:
                due += self._random.uniform(0.0, shape.jitter_s)
            flow.last_due = due = max(due, flow.last_due)
            self._sequence += 1
            self._bytes_waiting -= _size(item)
            heapq.heappush(self._in_flight, (due, self._sequence, flow, item))

    def _next_piece(self, limit: int) -> tuple[Flow, Item]:
        flow, item = self._waiting.popleft()
        if isinstance(item, Mark) or len(item) <= limit:
            return flow, item
        view = memoryview(item)
        self._waiting.appendleft((flow, view[limit:]))
        return flow, view[:limit]

    def _call_back(self) -> None:
        for _, _, flow, item in sorted(self._in_flight, key=lambda entry: entry[1], reverse=True):
            flow.last_due = 0.0
            self._bytes_waiting += _size(item)
            self._waiting.appendleft((flow, item))
        self._in_flight.clear()


def _size(item: Item) -> int:
    return 0 if isinstance(item, Mark) else len(item)
