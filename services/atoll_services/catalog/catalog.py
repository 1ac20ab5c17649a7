"""The catalog itself: postcards by id, by name and by place. Knows neither HTTP nor Ray."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

from atoll.sdk import Coordinates, great_circle_km
from atoll_services.catalog.names import NameIndex
from atoll_services.catalog.nearest import NearestIndex
from atoll_services.cities import City


@dataclass(frozen=True, slots=True)
class Near:
    """A city and how far it is from the place that was asked for, in kilometres over the Earth's surface."""

    city: City
    distance_km: float


class Catalog:
    """One postcard for each city. `cities` are given the most populous first; results keep that order."""

    def __init__(self, cities: Sequence[City]) -> None:
        self._cities = cities
        self._by_id = {city.id: city for city in cities}
        self._names = NameIndex([city.name for city in cities])
        self._nearest = NearestIndex([city.coordinates for city in cities])
        in_country: defaultdict[str, list[City]] = defaultdict(list)
        for city in cities:
            in_country[city.country].append(city)
        self._countries = {
            country: (tuple(own), NameIndex([city.name for city in own]))
            for country, own in in_country.items()
        }

    def __len__(self) -> int:
        return len(self._cities)

    def postcard(self, city_id: int) -> City | None:
        """The city with this GeoNames id."""
        return self._by_id.get(city_id)

    def search(self, query: str, country: str | None, limit: int) -> list[City]:
        """Up to `limit` cities by name: first those that begin with `query`, then those that contain it, each
        by population. An empty query matches every name.

        `country` (ISO code, either case) leaves out all others.
        """
        cities, names = self._cities, self._names
        if country is not None:
            cities, names = self._countries.get(country.upper(), ((), NameIndex(())))
        return [cities[position] for position in islice(names.find(query), limit)]

    def nearest(self, place: Coordinates, limit: int) -> list[Near]:
        """The `limit` cities nearest to a place, the nearest first."""
        found = (self._cities[position] for position in self._nearest.find(place, limit))
        return [Near(city, great_circle_km(place, city.coordinates)) for city in found]
