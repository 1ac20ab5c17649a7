"""Where a request may be executed."""

from dataclasses import replace
from pathlib import Path

import pytest

from atoll.routing import Restriction, allowed_zones, restrictions, service_zones, transit_zones
from atoll.topology import Topology, Transit, load, parse

TOPOLOGIES = Path(__file__).parents[2] / "infra/topologies"


@pytest.fixture(scope="module")
def topology() -> Topology:
    return load(TOPOLOGIES / "local.toml")


def confine(topology: Topology, zone: str) -> Topology:
    confined = replace(topology.zones[zone], confined=True)
    return replace(topology, zones={**topology.zones, zone: confined})


def test_a_service_without_residency_may_run_in_every_zone(topology: Topology) -> None:
    assert allowed_zones(topology, topology.services["quote"], "IE") == {"us", "eu", "apac"}


@pytest.mark.parametrize("country", ["IE", "US", "JP", "BR", None])
def test_a_service_with_residency_stays_in_it_whoever_asks(topology: Topology, country: str | None) -> None:
    assert allowed_zones(topology, topology.services["quote-eu"], country) == {"eu"}


@pytest.mark.parametrize(
    ("country", "zones"),
    [
        ("IE", {"eu"}),
        ("US", {"us", "eu", "apac"}),
        ("BR", {"us", "eu", "apac"}),  # in no zone of this topology
        (None, {"us", "eu", "apac"}),
    ],
)
def test_a_confined_zone_binds_its_own_clients_only(
    topology: Topology, country: str | None, zones: set[str]
) -> None:
    assert allowed_zones(confine(topology, "eu"), topology.services["quote"], country) == zones


def test_service_and_place_that_contradict_each_other_leave_nothing(topology: Topology) -> None:
    assert allowed_zones(confine(topology, "us"), topology.services["quote-eu"], "US") == frozenset()


def test_each_restriction_names_its_source(topology: Topology) -> None:
    found = restrictions(confine(topology, "us"), topology.services["quote-eu"], "US")
    assert found == (
        Restriction("service quote-eu", frozenset({"eu"})),
        Restriction("country US", frozenset({"us"})),
    )


def test_transit_is_the_services_choice(topology: Topology) -> None:
    forward = replace(topology.services["quote-eu"], transit=Transit.FORWARD)
    refuse = replace(forward, transit=Transit.REFUSE)
    assert transit_zones(topology, forward, "US") == {"us", "eu", "apac"}
    assert transit_zones(topology, refuse, "US") == {"eu"}


NAMESPACES = """
[services.shop]
route_prefix = "/shop"
import_path = "shop:app"
residency = ["eu", "us"]
namespaces = ["carts", "prices"]
[namespaces.carts]
level = "session"
residency = ["eu", "apac"]
[namespaces.prices]
level = "eventual"
"""


@pytest.fixture(scope="module")
def shop() -> Topology:
    return parse((TOPOLOGIES / "local.toml").read_text() + NAMESPACES)


@pytest.mark.parametrize("country", ["IE", "US", "JP", "BR", None])
def test_a_request_stays_where_its_service_s_namespaces_may_have_their_data(
    shop: Topology, country: str | None
) -> None:
    assert allowed_zones(shop, shop.services["shop"], country) == {"eu"}


def test_service_namespaces_and_place_all_have_a_say(shop: Topology) -> None:
    confined = confine(shop, "us")
    assert restrictions(confined, confined.services["shop"], "US") == (
        Restriction("service shop", frozenset({"eu", "us"})),
        Restriction("namespace carts", frozenset({"eu", "apac"})),
        Restriction("namespace prices", frozenset({"us", "eu", "apac"})),
        Restriction("country US", frozenset({"us"})),
    )
    assert allowed_zones(confined, confined.services["shop"], "US") == frozenset()
    assert service_zones(confined, confined.services["shop"]) == {"eu"}


def test_a_gateway_that_must_not_pass_a_request_on_knows_of_its_namespaces(shop: Topology) -> None:
    refuse = replace(shop.services["shop"], transit=Transit.REFUSE)
    assert transit_zones(shop, refuse, "US") == {"eu"}
