"""Where a request has been, and where it may still go."""

from collections.abc import Iterable, Sequence

MISSES = 2
"""How often a region is tried that takes nothing (it refuses, or can't be reached): one that is just restarting gets a
second chance. Attempts that sent something are limited by the service."""


class Tried:
    """The regions in which attempts of one request were begun."""

    __slots__ = ("_misses", "_not_before")

    def __init__(self) -> None:
        self._misses: dict[str, int] = {}
        """Of every region that was tried, how often it took nothing."""
        self._not_before: dict[str, float] = {}

    def begin(self, region: str) -> None:
        """An attempt is made there."""
        self._misses.setdefault(region, 0)
        self._not_before.setdefault(region, 0.0)

    def missed(self, region: str, *, out: bool = False) -> None:
        """The region took nothing; `out`: and is not to be asked again."""
        self._misses[region] = MISSES if out else self._misses.get(region, 0) + 1

    def wait(self, region: str, until: float) -> None:
        """The region is not to be asked again before `until`."""
        self._not_before[region] = until

    def fresh(self, regions: Iterable[str]) -> str | None:
        """The first region in which no attempt was begun."""
        for region in regions:
            if region not in self._misses:
                return region
        return None

    def left(self, regions: Iterable[str]) -> Sequence[str]:
        """Those that may be asked once more."""
        return [region for region in regions if self._misses[region] < MISSES]

    def not_before(self, region: str) -> float:
        """From when on a region may be asked again."""
        return self._not_before[region]
