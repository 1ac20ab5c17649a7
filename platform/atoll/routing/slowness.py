"""How much longer than usual the way to a region takes, in milliseconds: what routing adds to its distance.

A region can be healthy, near and slow at once: a congested link, a detour, a machine without air. Such a delay is
compared in the same unit as distance, so a region that has grown slow is left as soon as one further out is faster, and
no sooner. The way there is judged by probes, which always ask for the same: how long requests take changes with what is
asked for. A service there is judged by races of two regions for the same request: see `atoll.resilience.pace`.
"""

import math
from collections.abc import Mapping

from atoll.clock import Clock
from atoll.resilience.pace import Behind

TIMES = 3.0
"""Slow means taking this many times as long as usual..."""
SLACK_S = 0.05
"""...and this much more, which is what a busy machine adds to short answers."""
CALM = 0.6
"""Over again below this share of what it takes to be slow."""
LOOKS = 3
"""Looks in a row that have to agree: one and a half seconds of probes."""
FORGETS_S = 5.0
"""What is usual follows what is seen downward over about this time, and never upward: how far it is, is known."""


def behind_ms(behind: Behind | None, region: str, round_trips: Mapping[str, float]) -> float:
    """What puts `region` behind the one that its service has become slower than, in tens of milliseconds; nothing if
    that one is gone.
    """
    if behind is None or behind.tried_again or behind.rival not in round_trips:
        return 0.0
    further = round_trips[behind.rival] - round_trips[region]
    return math.ceil((max(0.0, further) + behind.seconds * 1000.0) / 10.0) * 10.0


class Slowness:
    """Follows the round trip to one gateway. Feed it with `look` after every probe."""

    __slots__ = ("_at", "_clock", "_delay_s", "_signs", "_slow", "_usual_s")

    def __init__(self, clock: Clock, expected_s: float | None = None) -> None:
        """`expected_s` is what it should take; None takes it from the first look."""
        self._clock = clock
        self._usual_s = expected_s
        self._at = clock.monotonic()
        self._signs = 0
        self._slow = False
        self._delay_s = 0.0

    @property
    def delay_ms(self) -> float:
        """How much longer than usual, in tens; zero unless it is slow."""
        return round(self._delay_s * 1000.0, -1) if self._slow else 0.0

    def look(self, seconds: float) -> None:
        """What it took now, in seconds."""
        now = self._clock.monotonic()
        passed, self._at = now - self._at, now
        usual = self._usual_s
        if usual is None:
            self._usual_s = seconds
            return
        limit = TIMES * usual + SLACK_S
        sign = seconds > (CALM * limit if self._slow else limit)
        self._signs = self._signs + 1 if sign is not self._slow else 0
        if self._signs >= LOOKS:
            self._slow = sign
            self._signs = 0
        self._delay_s = max(0.0, seconds - usual)
        if seconds < usual:
            self._usual_s = usual + (1.0 - math.exp(-passed / FORGETS_S)) * (seconds - usual)
