"""Where things are: coordinates, the place of a client, and the distance between two points on Earth."""

import math
from dataclasses import dataclass
from typing import Literal

EARTH_RADIUS_KM = 6371.0088
"""Mean radius R1 of the GRS 80 ellipsoid (H. Moritz, "Geodetic Reference System 1980"). Taking the Earth
for a sphere of this radius is wrong by at most about 0.6 %, far below what a place is known to."""

HALF_TURN_KM = math.pi * EARTH_RADIUS_KM
"""The greatest distance there is: from a point to its antipode."""

PlaceSource = Literal["header", "geoip-city", "geoip-country", "private", "unknown"]
"""How a place was learnt. `header`: a trusted proxy said it. `geoip-city`, `geoip-country`: looked up by
address. `private`: the address is not one of the public internet. `unknown`: nobody knows."""


@dataclass(frozen=True, slots=True)
class Coordinates:
    """A point on Earth in degrees (WGS 84), north and east positive.

    Raises `ValueError` for a latitude outside -90..90, a longitude outside -180..180, or not a number.
    """

    latitude: float
    longitude: float

    def __post_init__(self) -> None:
        # Written so that NaN, which fails every comparison, is refused too.
        if not -90.0 <= self.latitude <= 90.0:
            raise ValueError(f"latitude {self.latitude} is not between -90 and 90 degrees")
        if not -180.0 <= self.longitude <= 180.0:
            raise ValueError(f"longitude {self.longitude} is not between -180 and 180 degrees")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a client is, as far as it is known.

    `country` is an ISO 3166-1 alpha-2 code in capitals. Either of `country` and `coordinates` may be missing;
    with `source` `private` or `unknown` both are.
    """

    country: str | None
    coordinates: Coordinates | None
    source: PlaceSource


PRIVATE = Place(country=None, coordinates=None, source="private")
UNKNOWN = Place(country=None, coordinates=None, source="unknown")


def great_circle_km(a: Coordinates, b: Coordinates) -> float:
    """The shortest way from `a` to `b` over the Earth's surface, in kilometres, from 0 to `HALF_TURN_KM`.

    Haversine formula (R. W. Sinnott, "Virtues of the Haversine", Sky and Telescope 68, 1984): unlike the law
    of cosines it stays exact for points a few metres apart.
    """
    latitude_a, latitude_b = math.radians(a.latitude), math.radians(b.latitude)
    half_latitude = math.sin((latitude_b - latitude_a) / 2)
    half_longitude = math.sin(math.radians(b.longitude - a.longitude) / 2)
    h = half_latitude**2 + math.cos(latitude_a) * math.cos(latitude_b) * half_longitude**2
    # Rounding can carry h just past 1 between antipodes.
    return 2 * EARTH_RADIUS_KM * math.asin(math.sqrt(min(1.0, h)))
