"""Quantiles of recent durations, in constant memory."""

from math import ceil, log2

from atoll.clock import Clock

WINDOW_S = 30.0
"""What is remembered is one to two of these old: long enough for a p95 of a service with a request a second."""

_PER_OCTAVE = 12
"""Buckets for each doubling, so each is 6% wide (HdrHistogram has 1% to 0.1%, which is more than a threshold needs)."""
_SHORTEST_S = 2.0**-14
_OCTAVES = 24
_BUCKETS = _PER_OCTAVE * _OCTAVES
_OFFSET = 14 * _PER_OCTAVE


class Quantile:
    """The distribution of durations in the last 30 to 60 s: two histograms that take turns.

    Buckets grow geometrically from 61 us to 17 min (what is outside counts as the nearest of these), so a value is at
    most 6% above the true quantile of what was added, and never below it, however durations are spread (as in
    HdrHistogram and DDSketch).
    """

    __slots__ = ("_before", "_before_count", "_count", "_counts", "_now", "_turns_at")

    def __init__(self, clock: Clock) -> None:
        self._now = clock.monotonic
        self._turns_at = clock.monotonic() + WINDOW_S
        self._counts = [0] * _BUCKETS
        self._count = 0
        self._before = [0] * _BUCKETS
        self._before_count = 0

    @property
    def count(self) -> int:
        """Durations that are remembered."""
        self._catch_up()
        return self._count + self._before_count

    def add(self, seconds: float) -> None:
        """Remembers a duration."""
        if self._now() >= self._turns_at:
            self._catch_up()
        bucket = int(log2(seconds) * _PER_OCTAVE + _OFFSET) if seconds > _SHORTEST_S else 0
        self._counts[bucket if bucket < _BUCKETS else _BUCKETS - 1] += 1
        self._count += 1

    def value(self, q: float) -> float | None:
        """The duration in seconds that a share `q` of those remembered does not exceed; None if there are none.

        Costs some 20 us: keep it for a while.
        """
        count = self.count
        if count == 0:
            return None
        above = count - max(1, ceil(q * count))  # those longer than the one of nearest rank
        for bucket in range(_BUCKETS - 1, -1, -1):
            above -= self._counts[bucket] + self._before[bucket]
            if above < 0:
                return float(2.0 ** ((bucket - _OFFSET + 1) / _PER_OCTAVE))
        raise AssertionError("the counts do not add up")

    def _catch_up(self) -> None:
        now = self._now()
        if now < self._turns_at:
            return
        stale = now >= self._turns_at + WINDOW_S
        self._before, self._counts = self._counts, self._before
        self._before_count = self._count
        self._counts[:] = [0] * _BUCKETS
        self._count = 0
        if stale:
            self._before[:] = self._counts
            self._before_count = 0
        self._turns_at = now + WINDOW_S if stale else self._turns_at + WINDOW_S
