"""What a round trip costs, guessed from distance alone. For steering, where nothing has been measured yet.

Routing never asks this: between regions the topology has measured times.
"""

from dataclasses import dataclass

from atoll.geo.place import Coordinates, Place, great_circle_km

FIBRE_KM_PER_MS = 200.0
"""Light in fibre, one way: c over the group index of G.652 single-mode fibre, about 1.47, rounded down."""

PATH_STRETCH = 1.5
"""Kilometres of path for a kilometre of great circle.

Together with the speed in fibre this is 4/9 of the speed of light, the conversion that Katz-Bassett et al.
found for end-to-end paths ("Towards IP Geolocation Using Delay and Topology Measurements", IMC 2006). It lies
between what the cables of the United States would allow (1.3) and what was measured there (2.1; Bozkurt et
al., "Dissecting Latency in the Internet's Fiber Infrastructure", arXiv:1811.10737, 2018)."""

BASE_MS = 10.0
"""What every client pays on its access line, whatever the distance: a round figure of this project's own, of
the order of a wired home line. It is the same towards each region, so it never decides which is nearest."""


@dataclass(frozen=True, slots=True)
class RoundTripModel:
    """Round trip in milliseconds: `base_ms` plus the way there and back. Grows with distance."""

    fibre_km_per_ms: float = FIBRE_KM_PER_MS
    stretch: float = PATH_STRETCH
    base_ms: float = BASE_MS

    def __post_init__(self) -> None:
        if not self.fibre_km_per_ms > 0:
            raise ValueError(f"fibre_km_per_ms {self.fibre_km_per_ms} is not above 0")
        if not self.stretch >= 1:
            raise ValueError(f"stretch {self.stretch} is under 1: no path is shorter than the great circle")
        if not self.base_ms >= 0:
            raise ValueError(f"base_ms {self.base_ms} is negative")

    def over(self, distance_km: float) -> float:
        """The round trip over `distance_km` of great circle, in milliseconds."""
        return self.base_ms + 2 * distance_km * self.stretch / self.fibre_km_per_ms

    def to_region(self, place: Place, region: Coordinates) -> float | None:
        """The round trip from a place to a region, in milliseconds; None if the place has no coordinates."""
        if place.coordinates is None:
            return None
        return self.over(great_circle_km(place.coordinates, region))
