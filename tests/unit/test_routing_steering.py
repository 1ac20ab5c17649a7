"""Which gateways a client should talk to."""

from pathlib import Path

import pytest

from atoll.geo.place import UNKNOWN, Coordinates, Place
from atoll.geo.rtt import RoundTripModel
from atoll.routing import RegionHealth, place_rtts, steer
from atoll.topology import Topology, load

MODEL = RoundTripModel()
GOOD = RegionHealth(healthy=True, reason="")
SILENT = RegionHealth(healthy=False, reason="silent for 1.6 s")


@pytest.fixture(scope="module")
def topology() -> Topology:
    return load(Path(__file__).parents[2] / "infra/topologies/local.toml")


@pytest.mark.parametrize(
    ("place", "region"),
    [
        (Place("US", Coordinates(37.5, -77.4), "geoip-city"), "us-east"),
        (Place("IE", Coordinates(53.3, -6.3), "geoip-city"), "eu-west"),
        (Place("JP", Coordinates(34.7, 135.5), "geoip-city"), "ap-northeast"),
        (Place("ZA", Coordinates(-33.9, 18.4), "geoip-city"), "eu-west"),
    ],
)
def test_a_client_is_sent_to_the_nearest_region(topology: Topology, place: Place, region: str) -> None:
    health = dict.fromkeys(topology.regions, GOOD)
    ranking = steer(topology, place_rtts(topology, place, MODEL), health)
    assert ranking.regions[0] == region
    assert len(ranking.regions) == 3


def test_a_client_of_unknown_place_stands_in_the_default_region(topology: Topology) -> None:
    ranking = steer(topology, place_rtts(topology, UNKNOWN, MODEL), dict.fromkeys(topology.regions, GOOD))
    assert [(one.region, one.rtt_ms) for one in ranking.candidates] == [
        ("us-east", 0),
        ("eu-west", 74),
        ("ap-northeast", 165),
    ]


def test_a_region_that_is_silent_or_draining_is_left_out(topology: Topology) -> None:
    health = {
        "us-east": SILENT,
        "eu-west": RegionHealth(healthy=True, reason="", draining=True),
        "ap-northeast": GOOD,
    }
    ranking = steer(topology, None, health)
    assert ranking.regions == ("ap-northeast",)
    assert [one.reason for one in ranking.candidates[1:]] == ["unhealthy: silent for 1.6 s", "draining"]


def test_if_nothing_is_known_to_be_healthy_all_are_named(topology: Topology) -> None:
    ranking = steer(topology, None, {})
    assert ranking.panic
    assert ranking.regions == ("us-east", "eu-west", "ap-northeast")
    assert "not heard yet" in ranking.candidates[0].reason


def test_gateways_outside_given_zones_are_left_out_even_then(topology: Topology) -> None:
    assert steer(topology, None, {}, frozenset({"eu"})).regions == ("eu-west",)
