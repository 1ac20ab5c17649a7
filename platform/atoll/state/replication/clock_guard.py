"""Whether this region's clock may be trusted to stamp writes: its offset from the median of its peers' clocks.

Last writer wins by stamp, so a clock that is ahead wins over everybody and one behind loses to everybody. CockroachDB
ends a node whose clock is off from a majority's by 80% of ``--max-offset``; here the region refuses to write. Offsets
are measured as NTP does (RFC 5905, section 8): half the round trip is the error, and the smallest error wins.
"""

from collections import deque
from dataclasses import dataclass

from atoll.clock import Clock

KEPT = 4
"""Measurements kept of a peer: enough that one slow answer does not count."""

FRESH_S = 30.0
"""A measurement older than this says nothing."""

RESUMES = 0.5
"""A region that refused writes again once its offset is below this share of the limit: no flapping at the border."""


@dataclass(frozen=True, slots=True)
class Offset:
    """What a peer's clock shows more than ours, with the error on either side, in milliseconds."""

    offset_ms: float
    error_ms: float

    @property
    def certain_ms(self) -> float:
        """The part of the offset that the error can't explain."""
        if self.offset_ms >= 0:
            return max(0.0, self.offset_ms - self.error_ms)
        return min(0.0, self.offset_ms + self.error_ms)


@dataclass(frozen=True, slots=True)
class ClockStatistics:
    """A snapshot."""

    offset_ms: float
    """Of the median of all clocks, the own one included, from the own clock: the certain part."""
    refuses: bool
    peers: dict[str, Offset]


@dataclass(frozen=True, slots=True)
class _Sample:
    base_ms: float
    """The peer's clock minus our *monotonic* clock, so that a jump of our wall clock shows at once."""
    error_ms: float
    at: float


class ClockGuard:
    """The offsets of the peers' clocks. The wall clock that it is given must be the one that stamps writes."""

    __slots__ = ("_clock", "_limit_ms", "_refuses", "_samples")

    def __init__(self, clock: Clock, limit_ms: float) -> None:
        self._clock = clock
        self._limit_ms = limit_ms
        self._refuses = False
        self._samples: dict[str, deque[_Sample]] = {}

    def observe(self, peer: str, sent: float, peer_ms: float) -> None:
        """A question went out at `sent` (monotonic seconds); its answer, which says `peer_ms`, has just come."""
        now = self._clock.monotonic()
        error_ms = (now - sent) * 500.0
        sample = _Sample(peer_ms + error_ms - now * 1000.0, error_ms, now)
        samples = self._samples.setdefault(peer, deque(maxlen=KEPT))
        if any(abs(sample.base_ms - old.base_ms) > sample.error_ms + old.error_ms for old in samples):
            samples.clear()  # its clock has jumped; what was measured before is no longer so
        samples.append(sample)

    def forget(self, peer: str) -> None:
        """The peer is no member any more."""
        self._samples.pop(peer, None)

    def offset(self, peer: str) -> Offset | None:
        """The peer's clock minus ours; None if nothing recent is known."""
        now = self._clock.monotonic()
        samples = [sample for sample in self._samples.get(peer, ()) if now - sample.at <= FRESH_S]
        if not samples:
            return None
        best = min(samples, key=lambda sample: sample.error_ms)
        return Offset(best.base_ms + now * 1000.0 - self._clock.wall() * 1000.0, best.error_ms)

    def refuses(self) -> bool:
        """Whether this region should refuse to write now. Never with one peer only: nobody can tell who is wrong."""
        limit = self._limit_ms * (RESUMES if self._refuses else 1.0)
        self._refuses = abs(self._median()) > limit
        return self._refuses

    def statistics(self) -> ClockStatistics:
        offsets = {peer: found for peer in self._samples if (found := self.offset(peer)) is not None}
        return ClockStatistics(self._median(), self._refuses, offsets)

    def _median(self) -> float:
        found = (self.offset(peer) for peer in self._samples)
        offsets = sorted([0.0, *(offset.certain_ms for offset in found if offset is not None)])
        upper = offsets[len(offsets) // 2]
        lower = offsets[(len(offsets) - 1) // 2]
        return min(lower, upper, key=abs)
