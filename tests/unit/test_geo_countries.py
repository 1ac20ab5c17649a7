"""The packaged points of countries, and how they are made."""

from importlib import resources

import pytest

from atoll.geo.countries import City, country_centroids, geonames_cities, render, weighted_centroids
from atoll.geo.place import Coordinates, great_circle_km


def test_the_packaged_file_is_what_a_rebuild_gives() -> None:
    packaged = resources.files("atoll.geo").joinpath("countries.csv").read_text(encoding="utf-8")
    assert packaged == render(weighted_centroids(geonames_cities()))


def test_every_country_that_people_live_in_has_a_point() -> None:
    centroids = country_centroids()
    assert len(centroids) == 244
    assert {"US", "IE", "JP", "BR", "ZA", "IN", "FJ", "VA"} <= centroids.keys()


@pytest.mark.parametrize(
    ("country", "near"),
    [
        ("IE", Coordinates(53.35, -6.26)),
        ("JP", Coordinates(35.68, 139.69)),
        ("FJ", Coordinates(-18.14, 178.44)),
        ("CA", Coordinates(45.42, -75.69)),
    ],
)
def test_a_point_is_near_where_the_people_are(country: str, near: Coordinates) -> None:
    assert great_circle_km(country_centroids()[country], near) < 1000


def test_the_centroid_leans_to_the_larger_city() -> None:
    at = weighted_centroids(
        [City("XX", Coordinates(0, 0), population=3000), City("XX", Coordinates(0, 10), population=1000)]
    )["XX"]
    assert at.latitude == pytest.approx(0)
    assert at.longitude == pytest.approx(2.5, abs=0.02)


def test_the_centroid_of_a_country_across_the_180th_meridian_stays_there() -> None:
    at = weighted_centroids(
        [City("XX", Coordinates(-17, 178), population=1), City("XX", Coordinates(-17, -178), population=1)]
    )["XX"]
    assert abs(at.longitude) == pytest.approx(180)


def test_a_city_without_population_still_counts() -> None:
    centroids = weighted_centroids([City("XX", Coordinates(12, 34), population=0)])
    assert great_circle_km(centroids["XX"], Coordinates(12, 34)) < 0.001
