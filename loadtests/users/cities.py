"""Where users are: the cities of GeoNames, drawn by how many people live there."""

import math
import random
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from itertools import accumulate

from atoll_services.cities import City

BUSIEST_HOUR = 16.0
"""Local solar time at which people are most active; least 12 hours earlier or later. With `QUIET` a round figure of
this project's own; that a network's use follows the sun, and by about so much, is what Quan, Heidemann and Pradkin
found ("When the Internet Sleeps", IMC 2014)."""
QUIET = 0.2
"""Activity in the quietest hour, as a share of that in the busiest."""


class NoCities(ValueError):
    """Nobody is left to draw; says why."""


@dataclass(frozen=True, slots=True)
class Inhabitant:
    """A user's place: a city, and an address of its country."""

    city: City
    address: str


class Inhabitants:
    """Draws users. `addresses` are by country; cities of countries that have none are left out, and so are those
    outside of `countries`, unless that is empty. Raises `NoCities`.
    """

    def __init__(
        self, cities: Iterable[City], addresses: Mapping[str, str], countries: Collection[str] = ()
    ) -> None:
        wanted = addresses.keys() & countries if countries else addresses.keys()
        self._cities = [city for city in cities if city.country in wanted and city.population > 0]
        if not self._cities:
            named = ", ".join(sorted(countries)) or "any country"
            raise NoCities(f"no city of {named} can be drawn: it has no city of 15,000 people, or no address")
        self._addresses = addresses
        self._weights = list(accumulate(city.population for city in self._cities))

    def draw(self, rng: random.Random) -> Inhabitant:
        """Somebody, each inhabitant of a city being as likely as any other."""
        (city,) = rng.choices(self._cities, cum_weights=self._weights)
        return Inhabitant(city, self._addresses[city.country])

    def draw_awake(self, rng: random.Random, utc_hours: float) -> Inhabitant:
        """Somebody, more likely from where people are active at this hour."""
        while True:
            drawn = self.draw(rng)
            if rng.random() < activity(drawn.city.coordinates.longitude, utc_hours):
                return drawn


def activity(longitude: float, utc_hours: float) -> float:
    """How active people are at a longitude, from `QUIET` to 1, by the sun's time there."""
    local = utc_hours + longitude / 15.0
    wave = math.cos(2.0 * math.pi * (local - BUSIEST_HOUR) / 24.0)
    return QUIET + (1.0 - QUIET) * (1.0 + wave) / 2.0
