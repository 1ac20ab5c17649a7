"""The round-trip model: grows with distance, and is near what the internet does."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll.geo.place import HALF_TURN_KM, UNKNOWN, Coordinates, Place
from atoll.geo.rtt import BASE_MS, RoundTripModel

distances = st.floats(min_value=0, max_value=HALF_TURN_KM)
DUBLIN = Coordinates(53.3498, -6.2603)
VIRGINIA = Coordinates(39.0438, -77.4874)


@given(distances, distances)
def test_monotonic_in_distance(a: float, b: float) -> None:
    model = RoundTripModel()
    near, far = sorted((a, b))
    assert BASE_MS <= model.over(near) <= model.over(far)


@given(distances)
def test_never_faster_than_light_in_vacuum(distance_km: float) -> None:
    assert RoundTripModel(base_ms=0).over(distance_km) >= 2 * distance_km / 299.792458


def test_a_thousand_kilometres_by_hand() -> None:
    assert RoundTripModel(fibre_km_per_ms=200, stretch=1.5, base_ms=10).over(1000) == 25


def test_a_place_next_door_pays_the_access_line_alone() -> None:
    assert RoundTripModel().to_region(Place("IE", DUBLIN, "geoip-city"), DUBLIN) == BASE_MS


def test_the_atlantic_costs_less_than_a_tenth_of_a_second() -> None:
    rtt_ms = RoundTripModel().to_region(Place("IE", DUBLIN, "geoip-city"), VIRGINIA)
    assert rtt_ms is not None
    assert 60 < rtt_ms < 100


def test_nobody_knows_the_round_trip_from_an_unknown_place() -> None:
    assert RoundTripModel().to_region(UNKNOWN, DUBLIN) is None


@pytest.mark.parametrize(
    ("field", "value"),
    [("fibre_km_per_ms", 0.0), ("stretch", 0.9), ("base_ms", -1.0), ("stretch", float("nan"))],
)
def test_impossible_constants_are_refused_by_name(field: str, value: float) -> None:
    with pytest.raises(ValueError, match=field):
        RoundTripModel(**{field: value})
