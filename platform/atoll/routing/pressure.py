"""How much is asked of a service, against what it can take anywhere: whether a failover would topple the survivors."""

import math
from collections.abc import Sequence

from atoll.clock import Clock
from atoll.routing.rank import Ranking, RegionView

FADE_S = 3.0
"""Time constant at which demand that is not seen any more is forgotten. A lost region's requests are not in flight for
the moment, but they will be asked again elsewhere; by then they are seen there."""


class Pressure:
    """Demand / capacity over the eligible regions of one kind of request. Above 1 the least critical are turned away:
    there is not room for all, and no region has a place left for them.

    What a lost region had in flight is a forecast. It comes true if the region is dead, and not if it is only cut off:
    its clients are then served where they are. So it speaks against nobody for whom there is a place now. The survivors
    are safe from those who take it, since they fill no region further than its share for the least critical.
    """

    __slots__ = ("_at", "_clock", "_demand")

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._at = clock.monotonic()
        self._demand = 0.0

    def look(self, ranking: Ranking, views: Sequence[RegionView], share: float) -> float:
        """The pressure now; 0 if no capacity is known. A region of unknown load counts as empty, and as big as any.

        `share` is what the least critical may fill of a region's capacity (`BulkheadPolicy.sheddable_share`). While one
        is less full, the pressure is 1 at most.
        """
        now = self._clock.monotonic()
        faded = self._demand * math.exp((self._at - now) / FADE_S)
        self._at = now
        eligible = frozenset(ranking.regions)
        known = [view for view in views if view.region in eligible and view.capacity]
        self._demand = max(faded, float(sum(view.in_flight for view in known)))
        capacity = sum(view.capacity or 0 for view in known)
        if not capacity:
            return 0.0
        unknown = len(eligible) - len(known)
        pressure = self._demand / (capacity + unknown * max(view.capacity or 0 for view in known))
        if unknown or any(view.in_flight < share * (view.capacity or 0) for view in known):
            return min(pressure, 1.0)
        return pressure
