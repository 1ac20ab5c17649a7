"""The tariff: distance and weight -> price. Knows neither HTTP nor Ray.

| tariff zone     | where to                         | base, cents | each started 50 g | each started 100 km |
|-----------------|----------------------------------|-------------|-------------------|---------------------|
| `domestic`      | the same country                 | 95          | 20                | 0                   |
| `near`          | abroad, up to 1,500 km           | 140         | 30                | 1                   |
| `far`           | abroad, over 1,500 to 6,000 km   | 160         | 45                | 2                   |
| `world`         | abroad, beyond                   | 180         | 60                | 2                   |

Distance is great-circle. Letters weigh up to 2,000 g, as the Universal Postal Union has it. Delivery takes a
day, another for leaving the country, and another for each started 2,500 km.
"""

import math
from dataclasses import dataclass
from enum import StrEnum

from atoll.sdk import great_circle_km
from atoll_services.cities import City

MAX_WEIGHT_G = 2000


class TariffZone(StrEnum):
    DOMESTIC = "domestic"
    NEAR = "near"
    FAR = "far"
    WORLD = "world"


@dataclass(frozen=True, slots=True)
class Rate:
    """What a tariff zone costs, in euro cents."""

    base: int
    per_50_g: int
    per_100_km: int


RATES = {
    TariffZone.DOMESTIC: Rate(base=95, per_50_g=20, per_100_km=0),
    TariffZone.NEAR: Rate(base=140, per_50_g=30, per_100_km=1),
    TariffZone.FAR: Rate(base=160, per_50_g=45, per_100_km=2),
    TariffZone.WORLD: Rate(base=180, per_50_g=60, per_100_km=2),
}


@dataclass(frozen=True, slots=True)
class Price:
    """What a letter costs and how long it takes."""

    zone: TariffZone
    distance_km: float
    cents: int
    delivery_days: int


def price(origin: City, destination: City, weight_g: int) -> Price:
    """The price of a letter of `weight_g` grams (1 to `MAX_WEIGHT_G`, else `ValueError`)."""
    if not 1 <= weight_g <= MAX_WEIGHT_G:
        raise ValueError(f"weight_g {weight_g} is not between 1 and {MAX_WEIGHT_G}")
    distance_km = great_circle_km(origin.coordinates, destination.coordinates)
    domestic = origin.country == destination.country
    zone = _zone(domestic, distance_km)
    rate = RATES[zone]
    return Price(
        zone=zone,
        distance_km=distance_km,
        cents=rate.base
        + rate.per_50_g * math.ceil(weight_g / 50)
        + rate.per_100_km * math.ceil(distance_km / 100),
        delivery_days=1 + (not domestic) + math.ceil(distance_km / 2500),
    )


def _zone(domestic: bool, distance_km: float) -> TariffZone:
    if domestic:
        return TariffZone.DOMESTIC
    if distance_km <= 1500:
        return TariffZone.NEAR
    return TariffZone.FAR if distance_km <= 6000 else TariffZone.WORLD
