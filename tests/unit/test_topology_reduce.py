from dataclasses import replace
from pathlib import Path

import pytest

from atoll.topology import Topology, first_regions, load

TOPOLOGIES = Path(__file__).parents[2] / "infra" / "topologies"


@pytest.fixture(scope="module")
def local() -> Topology:
    return load(TOPOLOGIES / "local.toml")


def test_keeps_the_first_regions_in_order_with_their_links(local: Topology) -> None:
    two = first_regions(local, 2)
    assert tuple(two.regions) == ("us-east", "eu-west")
    assert set(two.links) == {frozenset(("us-east", "eu-west"))}
    assert two.link("us-east", "eu-west") == local.link("us-east", "eu-west")


def test_zones_and_services_stay_so_that_residency_holds(local: Topology) -> None:
    one = first_regions(local, 1)
    assert one.zones == local.zones
    assert one.services["quote-eu"].regions == ()
    assert one.services["quote-eu"].residency == frozenset({"eu"})
    assert one.services["quote"].regions == ("us-east",)


def test_a_default_region_that_is_left_out_is_replaced(local: Topology) -> None:
    last = tuple(local.regions)[-1]
    elsewhere = replace(local, steering=replace(local.steering, default_region=last))
    assert first_regions(elsewhere, 2).steering.default_region == "us-east"
    assert first_regions(elsewhere, 3).steering.default_region == last


def test_the_digest_tells_a_part_from_the_whole(local: Topology) -> None:
    digests = {first_regions(local, count).digest for count in (1, 2, 3)}
    assert len(digests) == 3
    assert first_regions(local, 3) is local
    assert first_regions(local, 99) is local
    assert first_regions(local, 2) == first_regions(local, 2)


def test_no_region_is_no_deployment(local: Topology) -> None:
    with pytest.raises(ValueError, match="at least one region"):
        first_regions(local, 0)


def test_load_checks_the_whole_file_and_keeps_a_part() -> None:
    assert tuple(load(TOPOLOGIES / "residency.toml", regions=1).regions) == (
        next(iter(load(TOPOLOGIES / "residency.toml").regions)),
    )
