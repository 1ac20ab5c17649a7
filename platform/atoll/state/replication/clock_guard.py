"""Whether this region's clock may be trusted to stamp writes: its offset from the median of its peers' clocks.

Last writer wins by stamp, so a clock that is ahead wins over everybody and one behind loses to everybody. CockroachDB
ends a node whose clock is off from a majority's by 80% of ``--max-offset``; here the region refuses to write.
"""

from dataclasses import dataclass

from atoll.clock import Clock
from atoll.state.replication.other_clock import Offset, OtherClock

RESUMES = 0.5
"""A region that refused writes again once its offset is below this share of the limit: no flapping at the border."""


@dataclass(frozen=True, slots=True)
class ClockStatistics:
    """A snapshot."""

    offset_ms: float
    """Of the median of all clocks, the own one included, from the own clock: the certain part."""
    refuses: bool
    peers: dict[str, Offset]


class ClockGuard:
    """The offsets of the peers' clocks. The wall clock that it is given must be the one that stamps writes."""

    __slots__ = ("_clock", "_limit_ms", "_peers", "_refuses")

    def __init__(self, clock: Clock, limit_ms: float) -> None:
        self._clock = clock
        self._limit_ms = limit_ms
        self._refuses = False
        self._peers: dict[str, OtherClock] = {}

    def observe(self, peer: str, sent: float, peer_ms: float) -> None:
        """As `OtherClock.observe`, of a peer."""
        self._peers.setdefault(peer, OtherClock(self._clock)).observe(sent, peer_ms)

    def forget(self, peer: str) -> None:
        """The peer is no member any more."""
        self._peers.pop(peer, None)

    def offset(self, peer: str) -> Offset | None:
        """The peer's clock minus ours; None if nothing recent is known."""
        return None if (known := self._peers.get(peer)) is None else known.offset()

    def refuses(self) -> bool:
        """Whether this region should refuse to write now. Never with one peer only: nobody can tell who is wrong."""
        limit = self._limit_ms * (RESUMES if self._refuses else 1.0)
        self._refuses = abs(self._median()) > limit
        return self._refuses

    def statistics(self) -> ClockStatistics:
        offsets = {peer: found for peer in self._peers if (found := self.offset(peer)) is not None}
        return ClockStatistics(self._median(), self._refuses, offsets)

    def _median(self) -> float:
        found = (clock.offset() for clock in self._peers.values())
        offsets = sorted([0.0, *(offset.certain_ms for offset in found if offset is not None)])
        upper = offsets[len(offsets) // 2]
        lower = offsets[(len(offsets) - 1) // 2]
        return min(lower, upper, key=abs)
