"""How many requests may be under way at once: found out from what they take, instead of set by hand.

The gradient of Netflix's concurrency-limits (`Gradient2Limit`) and Envoy's adaptive concurrency filter: once a window,
`limit = gradient x limit + sqrt(limit)`, where `gradient = tolerance x usual time / time in the window`, between 0.5
and 1. The root is the queue that is allowed to build up, without which nothing would ever be tried.

What differs from both is how the usual time is learned. Netflix averages over everything, so that under lasting
overload the queue becomes usual and the limit drifts up; Envoy pins the limit to 3 every minute to measure, and warns
that this answers 503. Here the usual time follows upwards only while the limit is not what holds requests back (below
half of it, and at the floor); and a limit that came down to a third without making requests faster is put back: what
they take now is then no queue, but usual.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import exp, log, sqrt

from atoll.clock import Clock

WINDOW_S = 0.1
"""Envoy's `concurrency_update_interval` in its example configuration."""

SAMPLES = 32
"""A window has a multiple of so many samples; the clock is looked at once for each."""

TOLERANCE = 2.0
"""So much longer than usual is no sign of a queue: `Gradient2Limit` has 1.5, and one kind of request there."""

START = 128
"""Where it begins, if the cap allows. Until the first sign of a queue it doubles a window (TCP's slow start)."""

LEARN = 0.1
"""Weight of a window in the usual time: about a second of windows."""

SMOOTHING = 0.5
"""Of a step down, how much is taken at once: an odd window costs a quarter at most. (`Gradient2Limit`: 0.2.)"""

BACKOFF = 0.9
"""Factor for a window in which the far side turned a tenth of the requests away (`AIMDLimit`'s `backoffRatio`)."""

HELPED = 0.7
"""A limit cut to a third helped if requests take less than this share of what they took. A queue would be a third."""

_SHORTEST_S = 1e-6


@dataclass(frozen=True, slots=True)
class LimitStatistics:
    """A snapshot."""

    limit: int
    cap: int | None
    usual_s: float | None
    """What a request usually takes, in seconds; None while nothing is known."""
    recent_s: float | None
    """What requests took in the last window."""


class AdaptiveLimit:
    """The limit of requests in flight of one (region, service). For one event loop; not for several threads.

    Times are averaged by their logarithms, as services have slow and fast endpoints: a queue makes all of them slower,
    a few requests that are slow by nature change little. The limit moves only in windows that used over half of it.
    """

    __slots__ = (
        "_before",
        "_cap",
        "_clock",
        "_count",
        "_ends",
        "_estimate",
        "_floor",
        "_peak",
        "_recent",
        "_starting",
        "_sum",
        "_turned_away",
        "_usual",
        "changed",
        "limit",
    )

    def __init__(self, clock: Clock, floor: int, *, start: int = START) -> None:
        """It never falls below `floor` by itself (a cap may be lower)."""
        self._clock = clock
        self._floor = floor
        self._cap: int | None = None
        self._estimate = float(max(start, floor))
        self._starting = True
        self._usual: float | None = None
        """Logarithm of the seconds, as `_recent`."""
        self._recent: float | None = None
        self._sum = 0.0
        self._count = 0
        self._peak = 0
        """Most requests in flight that a sample has seen in this window."""
        self._turned_away = 0
        self._before: tuple[float, float] | None = None
        """The limit when it began to come down, and the most that a window's requests have taken since."""
        self._ends = clock.monotonic() + WINDOW_S
        self.limit = int(self._estimate)
        """What holds now; at least 1."""
        self.changed: Callable[[], None] = _nothing
        """Called after every change of `limit`."""

    def cap(self, most: int | None) -> None:
        """Bounds the limit by what the region says that it takes; None lifts the bound. Holds at once."""
        if most != self._cap:
            self._cap = most
            self._settle()

    def keep(self, least: int) -> None:
        """Moves the floor. Holds at once."""
        if least != self._floor:
            self._floor = least
            if self._estimate < least:
                self._set(least)

    def sample(self, seconds: float, in_flight: int, ok: bool = True) -> None:
        """A request took `seconds` while `in_flight` were under way, itself included.

        One that did not end well (`ok` is false) has told a lower bound at best: it counts if it took longer than is
        usual. A quick failure says nothing of load.
        """
        taken = log(seconds if seconds > _SHORTEST_S else _SHORTEST_S)  # noqa: FURB136  max() takes thrice as long
        if not ok and (self._usual is None or taken <= self._usual):
            return
        self._sum += taken
        if in_flight > self._peak:  # noqa: PLR1730  as above
            self._peak = in_flight
        self._count += 1
        if self._count % SAMPLES == 0:
            self._look()

    def turned_away(self, in_flight: int) -> None:
        """The far side was full: no time to learn from, but a sign that the limit is too high."""
        self._turned_away += 1
        self._peak = max(self._peak, in_flight)
        if self._turned_away % SAMPLES == 0:
            self._look()

    def statistics(self) -> LimitStatistics:
        return LimitStatistics(
            limit=self.limit,
            cap=self._cap,
            usual_s=None if self._usual is None else exp(self._usual),
            recent_s=None if self._recent is None else exp(self._recent),
        )

    def _look(self) -> None:
        """Closes the window if its time is over. The first one is short: no queue has built up yet."""
        now = self._clock.monotonic()
        if now < self._ends and self._usual is not None:
            return
        used = self._peak > self.limit / 2
        gradient = 1.0
        if self._count:
            recent = self._recent = self._sum / self._count
            gradient = self._gradient(recent, held=used and self.limit > self._floor)
        refused = self._turned_away * 10 > self._count
        if used and refused:
            self._lower(min(gradient, BACKOFF) * self.limit)
        elif used and gradient < 1.0:
            self._lower(gradient * self.limit + sqrt(self.limit))
        elif used:
            self._raise()
        self._sum, self._count, self._peak, self._turned_away = 0.0, 0, 0, 0
        # A window lasts at least as long as a request: the next one is to show what this move did.
        self._ends = now + (WINDOW_S if self._recent is None else max(WINDOW_S, exp(self._recent)))

    def _gradient(self, recent: float, *, held: bool) -> float:
        """Takes a window into the usual time, and returns the gradient against what was usual before."""
        if self._usual is None or (held and self._in_vain(recent)):
            self._usual = recent
            return 1.0
        usual = self._usual
        if recent < usual or not held:
            self._usual = usual + LEARN * (recent - usual)
        return min(1.0, max(0.5, TOLERANCE * exp(usual - recent)))

    def _in_vain(self, recent: float) -> bool:
        """Whether the limit has come down to a third and requests take as long as before: so this is no queue.

        The limit is then put back to where it was.
        """
        if self._before is None:
            return False
        limit, taken = self._before
        if self.limit > limit / 3:
            self._before = (limit, max(taken, recent))
            return False
        self._before = None
        if exp(recent - taken) < HELPED:
            return False
        self._set(limit)
        return True

    def _lower(self, aim: float) -> None:
        """Goes some way towards `aim`; that may be up, for a small limit has a root that is large against it."""
        self._starting = False
        limit = float(self.limit)
        if self._before is None and self._recent is not None:
            self._before = (limit, self._recent)
        self._set(aim if aim > limit else limit + SMOOTHING * (aim - limit))

    def _raise(self) -> None:
        limit = self._estimate
        if self._cap is None or limit < self._cap:
            self._set(2 * limit if self._starting else limit + sqrt(limit))

    def _set(self, estimate: float) -> None:
        self._estimate = max(float(self._floor), estimate)
        if self._before is not None and self._estimate > self._before[0]:
            self._before = None
        self._settle()

    def _settle(self) -> None:
        limit = int(self._estimate)
        if self._cap is not None and limit > self._cap:
            limit = max(1, self._cap)
        if limit != self.limit:
            self.limit = limit
            self.changed()


def _nothing() -> None:
    pass
