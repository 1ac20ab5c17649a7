"""How far behind this region is: in time and in operations, for each origin.

Both come from heartbeats that origins write to their own logs and that pass through the whole path (log, stream,
apply), so they measure what a reader would miss, not whether a link answers pings. (Bounded staleness as in Terry et
al., "Consistency-based service level agreements for cloud storage", 2013.)
"""

from collections import deque
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from atoll.clock import Clock
from atoll.resilience.quantile import Quantile
from atoll.state.replication.other_clock import Offset
from atoll.state.vector import Dot, Vector, region_of

BEATS = 4096
"""Own heartbeats whose times are remembered: 17 minutes of them. What is older counts as unknown."""


@dataclass(frozen=True, slots=True)
class Heard:
    """The last heartbeat of an origin that has been applied here."""

    vector: Vector
    wall_ms: int
    """The origin's wall clock when it wrote the heartbeat."""


@dataclass(frozen=True, slots=True)
class OriginLag:
    """How far behind an origin this region is."""

    staleness_ms: float | None
    """Every write older than this that the origin acknowledged has been applied here; None: nothing is known.

    Whatever the clocks show: see `Lag.staleness_ms`."""
    behind: int
    """Operations of the origin that some peer is known to have, and this region has not."""
    p50_s: float | None
    p99_s: float | None
    """Delays from the origin's heartbeats to their being applied here."""


def behind(origin: str, own: Vector, vectors: Collection[Vector]) -> int:
    """Operations of `origin` that one of `vectors` has and `own` has not."""
    known: dict[str, int] = {}
    for vector in vectors:
        for actor, seq in vector.items():
            if region_of(actor) == origin and seq > known.get(actor, 0):
                known[actor] = seq
    return sum(max(0, seq - own.seq(actor)) for actor, seq in known.items())


class Lag:
    """What was heard of each origin, and the delays of its heartbeats."""

    __slots__ = ("_beats", "_clock", "_delays", "_heard")

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._delays: dict[str, Quantile] = {}
        self._heard: dict[str, Heard] = {}
        self._beats: deque[tuple[Dot, float]] = deque(maxlen=BEATS)
        """Own heartbeats, and when they were about to be written."""

    def begin(self) -> None:
        """The store was lost, and is there again: it may have gone back. What was heard before counts no more."""
        self._heard.clear()

    def beat(self, dot: Dot, since: float) -> None:
        """This region has written a heartbeat, which it began to at `since` (monotonic)."""
        self._beats.append((dot, since))

    def heard(self, peers: Mapping[str, Heard], now_ms: float, offsets: Mapping[str, Offset]) -> None:
        """What has been applied of each peer; told often, since a heartbeat is counted when it is first told."""
        for origin, heard in peers.items():
            before = self._heard.get(origin)
            self._heard[origin] = heard
            if before is None or before.wall_ms == heard.wall_ms:
                continue  # the first one may have waited here while no agent ran
            offset = offsets.get(origin)
            delay_ms = now_ms - heard.wall_ms + (offset.offset_ms if offset is not None else 0.0)
            delays = self._delays.get(origin)
            if delays is None:
                delays = self._delays[origin] = Quantile(self._clock)
            delays.add(max(0.0, delay_ms) / 1000.0)

    def staleness_ms(self, origin: str) -> float | None:
        """How old what is missing here of `origin` may be at most; None: unknown.

        The origin's last heartbeat says which of *our* heartbeats it knew, so it was written after that one of ours;
        and everything that the origin wrote before it has been applied here. So one clock tells, ours, and it may be a
        monotonic one. The bound is a round trip and a heartbeat's period above the truth, and it holds however wrong
        the wall clocks are.
        """
        heard = self._heard.get(origin)
        if heard is None:
            return None
        for dot, since in reversed(self._beats):
            if heard.vector.covers(dot):
                return (self._clock.monotonic() - since) * 1000.0
        return None

    def statistics(self, own: Vector, origins: Collection[str]) -> dict[str, OriginLag]:
        """One entry for each of `origins`."""
        vectors = [heard.vector for heard in self._heard.values()]
        found = {}
        for origin in origins:
            delays = self._delays.get(origin)
            found[origin] = OriginLag(
                staleness_ms=self.staleness_ms(origin),
                behind=behind(origin, own, vectors),
                p50_s=delays.value(0.5) if delays else None,
                p99_s=delays.value(0.99) if delays else None,
            )
        return found
