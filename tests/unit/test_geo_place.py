"""Coordinates and great-circle distance."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll.geo.place import HALF_TURN_KM, Coordinates, great_circle_km

anywhere = st.builds(
    Coordinates,
    latitude=st.floats(min_value=-90, max_value=90),
    longitude=st.floats(min_value=-180, max_value=180),
)

ASHBURN = Coordinates(39.0438, -77.4874)
DUBLIN = Coordinates(53.3498, -6.2603)
TOKYO = Coordinates(35.6762, 139.6503)


@pytest.mark.parametrize(
    ("latitude", "longitude", "named"),
    [
        (90.1, 0.0, "latitude 90.1"),
        (-90.1, 0.0, "latitude -90.1"),
        (0.0, 180.1, "longitude 180.1"),
        (0.0, -180.1, "longitude -180.1"),
        (math.nan, 0.0, "latitude nan"),
        (0.0, math.nan, "longitude nan"),
        (math.inf, 0.0, "latitude inf"),
    ],
)
def test_impossible_coordinates_are_refused_by_name(latitude: float, longitude: float, named: str) -> None:
    with pytest.raises(ValueError, match=named):
        Coordinates(latitude, longitude)


@pytest.mark.parametrize(
    ("a", "b", "km"), [(ASHBURN, DUBLIN, 5450), (ASHBURN, TOKYO, 10880), (DUBLIN, TOKYO, 9590)]
)
def test_known_distances(a: Coordinates, b: Coordinates, km: float) -> None:
    assert great_circle_km(a, b) == pytest.approx(km, rel=0.01)


def test_a_degree_of_latitude_is_about_111_km() -> None:
    assert great_circle_km(Coordinates(10, 20), Coordinates(11, 20)) == pytest.approx(111.195, abs=0.001)


def test_the_short_way_across_the_180th_meridian() -> None:
    assert great_circle_km(Coordinates(0, 179.5), Coordinates(0, -179.5)) == pytest.approx(111.195, abs=0.001)


@given(anywhere)
def test_no_distance_to_itself(a: Coordinates) -> None:
    assert great_circle_km(a, a) == 0


@given(anywhere)
def test_the_antipode_is_half_a_turn_away(a: Coordinates) -> None:
    longitude = a.longitude - 180 if a.longitude > 0 else a.longitude + 180
    antipode = Coordinates(-a.latitude, longitude)
    assert great_circle_km(a, antipode) == pytest.approx(HALF_TURN_KM, abs=0.001)


@given(anywhere, anywhere)
def test_symmetric_and_bounded(a: Coordinates, b: Coordinates) -> None:
    assert great_circle_km(a, b) == great_circle_km(b, a)
    assert 0 <= great_circle_km(a, b) <= HALF_TURN_KM


@given(anywhere, anywhere, anywhere)
def test_no_detour_is_shorter(a: Coordinates, b: Coordinates, c: Coordinates) -> None:
    # Near antipodes asin loses half its digits: a metre is the price.
    assert great_circle_km(a, c) <= great_circle_km(a, b) + great_circle_km(b, c) + 0.001
