"""A region's clock: the run's time, and how far its wall clock is off."""

from atoll.simulate.loop import VirtualClock


class RegionClock:
    """What agents and stores of a region take for the time."""

    __slots__ = ("_clock", "_latest", "jumped_at", "skew_s")

    def __init__(self, clock: VirtualClock, skew_s: float) -> None:
        self._clock = clock
        self.skew_s = skew_s
        self.jumped_at = -1e9
        self._latest = 0.0

    def monotonic(self) -> float:
        return self._clock.now

    def wall(self) -> float:
        return self._clock.wall() + self.skew_s

    def latest(self) -> float:
        """The latest wall time that it has ever shown."""
        return max(self._latest, self.wall())

    def jump(self, skew_s: float) -> None:
        """From now on the wall clock is off by this."""
        self._latest = self.latest()
        self.skew_s = skew_s
        self.jumped_at = self._clock.now
