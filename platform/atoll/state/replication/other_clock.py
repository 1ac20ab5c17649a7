"""What another clock shows more than ours: a peer's, or that of the own region's store, which stamps the writes.

Offsets are measured as NTP does (RFC 5905, section 8): half the round trip is the error, and the smallest error wins.
"""

from collections import deque
from dataclasses import dataclass

from atoll.clock import Clock

KEPT = 4
"""Measurements that are kept: enough that one slow answer does not count."""

FRESH_S = 30.0
"""A measurement older than this says nothing."""


@dataclass(frozen=True, slots=True)
class Offset:
    """What another clock shows more than ours, with the error on either side, in milliseconds."""

    offset_ms: float
    error_ms: float

    @property
    def certain_ms(self) -> float:
        """The part of the offset that the error can't explain."""
        if self.offset_ms >= 0:
            return max(0.0, self.offset_ms - self.error_ms)
        return min(0.0, self.offset_ms + self.error_ms)


@dataclass(frozen=True, slots=True)
class _Sample:
    base_ms: float
    """The other clock minus our *monotonic* clock, so that a jump of our wall clock shows at once."""
    error_ms: float
    at: float


class OtherClock:
    """The last measurements of one clock."""

    __slots__ = ("_clock", "_samples")

    def __init__(self, clock: Clock) -> None:
        """`clock` is ours."""
        self._clock = clock
        self._samples: deque[_Sample] = deque(maxlen=KEPT)

    def observe(self, sent: float, shown_ms: float) -> None:
        """A question went out at `sent` (monotonic seconds); its answer, which says `shown_ms`, has just come."""
        now = self._clock.monotonic()
        error_ms = (now - sent) * 500.0
        sample = _Sample(shown_ms + error_ms - now * 1000.0, error_ms, now)
        if any(abs(sample.base_ms - old.base_ms) > sample.error_ms + old.error_ms for old in self._samples):
            self._samples.clear()  # it has jumped; what was measured before is no longer so
        self._samples.append(sample)

    def offset(self) -> Offset | None:
        """The other clock minus ours; None if nothing recent is known."""
        now = self._clock.monotonic()
        samples = [sample for sample in self._samples if now - sample.at <= FRESH_S]
        if not samples:
            return None
        best = min(samples, key=lambda sample: sample.error_ms)
        return Offset(best.base_ms + now * 1000.0 - self._clock.wall() * 1000.0, best.error_ms)


class StoreClock:
    """A clock whose wall time is that of the region's store, as far as that is known to differ from this machine's.

    On one machine the two are the same clock, unless a drill has the store pretend. A store on another machine has one
    of its own, and it is that which stamps the region's writes.
    """

    __slots__ = ("_clock", "_store")

    def __init__(self, clock: Clock) -> None:
        """`clock` is this machine's."""
        self._clock = clock
        self._store = OtherClock(clock)

    def observe(self, sent: float, store_ms: float) -> None:
        """As `OtherClock.observe`, of the store."""
        self._store.observe(sent, store_ms)

    def monotonic(self) -> float:
        return self._clock.monotonic()

    def wall(self) -> float:
        offset = self._store.offset()
        return self._clock.wall() + (0.0 if offset is None else offset.certain_ms / 1000.0)
