"""Who takes over what a lost region had: as the gateways' own ranking and shares have it, in the end."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll.routing import taken_over
from atoll.topology import Service, Topology, load

FOLDER = Path(__file__).parents[2] / "infra/topologies"
LOCAL = load(FOLDER / "local.toml")
WORLD = load(FOLDER / "world.toml")
RESIDENCY = load(FOLDER / "residency.toml")
QUOTE = LOCAL.services["quote"]
PLACES = QUOTE.replicas.maximum * QUOTE.replicas.max_in_flight


def after(
    lost: str, loads: Mapping[str, float], topology: Topology = LOCAL, service: Service = QUOTE
) -> dict[str, float]:
    return taken_over(topology, service, {lost}, {lost}, loads)


def test_the_nearest_takes_it_all_while_it_will_have_room() -> None:
    assert after("eu-west", {"eu-west": 40.0}) == {"us-east": pytest.approx(40.0)}
    assert after("ap-northeast", {"ap-northeast": 40.0, "us-east": 10.0}) == {"us-east": pytest.approx(40.0)}


def test_what_the_nearest_has_no_room_for_goes_further_out() -> None:
    more = after("eu-west", {"eu-west": 100.0, "us-east": 0.5 * PLACES})
    assert more["us-east"] > more["ap-northeast"] > 0.0
    assert sum(more.values()) == pytest.approx(100.0)


def test_two_that_are_lost_at_once_find_in_place_what_the_other_has_left() -> None:
    lost = {"eu-west", "ap-northeast"}
    assert taken_over(LOCAL, QUOTE, lost, lost, {"eu-west": 30.0, "ap-northeast": 20.0}) == {
        "us-east": pytest.approx(50.0)
    }
    full = {"eu-west": 0.6 * PLACES, "ap-northeast": 0.6 * PLACES}
    roomy = replace(LOCAL, routing=replace(LOCAL.routing, spill_start=0.5, spill_full=0.6))
    four = replace(
        roomy, regions={**roomy.regions, "further": replace(roomy.regions["us-east"], name="further")}
    )
    links = {
        frozenset((one, "further")): replace(LOCAL.link("us-east", "eu-west"), rtt_ms=300.0) for one in lost
    }
    links[frozenset(("us-east", "further"))] = LOCAL.link("us-east", "eu-west")
    four = replace(four, links={**four.links, **links})
    service = replace(QUOTE, regions=(*QUOTE.regions, "further"))
    both = taken_over(four, service, lost, lost, full)
    apart = [taken_over(four, service, {one}, lost, full) for one in sorted(lost)]
    assert sum(both.values()) == pytest.approx(1.2 * PLACES)
    assert both["further"] > sum(one.get("further", 0.0) for one in apart)


def test_a_region_that_is_out_already_takes_nothing() -> None:
    assert taken_over(LOCAL, QUOTE, {"eu-west"}, {"eu-west", "us-east"}, {"eu-west": 40.0}) == {
        "ap-northeast": pytest.approx(40.0)
    }


def test_where_nobody_is_left_nobody_takes_it() -> None:
    assert taken_over(LOCAL, QUOTE, {"eu-west"}, set(LOCAL.regions), {"eu-west": 40.0}) == {}


def test_a_service_stays_in_its_zones() -> None:
    alone = LOCAL.services["quote-eu"]
    assert after("eu-west", {"eu-west": 40.0}, service=alone) == {}
    inside = after("eu-west", {"eu-west": 40.0}, RESIDENCY, RESIDENCY.services["quote-eu"])
    assert set(inside) == {"eu-central"}


def test_clients_of_a_confined_zone_stay_in_it() -> None:
    confined = replace(LOCAL, zones={**LOCAL.zones, "eu": replace(LOCAL.zones["eu"], confined=True)})
    assert after("eu-west", {"eu-west": 40.0}, confined) == {}
    assert after("us-east", {"us-east": 40.0}, confined) != {}


def test_without_a_load_there_is_nothing_to_take_over() -> None:
    assert after("eu-west", {}) == {}
    assert after("eu-west", {"us-east": 40.0}) == {}


@given(
    loads=st.dictionaries(st.sampled_from(sorted(WORLD.regions)), st.floats(0.0, 2000.0)),
    lost=st.sets(st.sampled_from(sorted(WORLD.regions)), min_size=1),
    more=st.sets(st.sampled_from(sorted(WORLD.regions))),
    name=st.sampled_from(sorted(WORLD.services)),
)
def test_nothing_is_lost_or_made_up_and_nobody_is_asked_who_may_not(
    loads: dict[str, float], lost: set[str], more: set[str], name: str
) -> None:
    service = WORLD.services[name]
    out = lost | more
    taken = taken_over(WORLD, service, lost, out, loads)
    there = sum(loads.get(region, 0.0) for region in lost if region in service.regions)
    assert set(taken) <= set(service.regions) - out
    assert all(load >= 0.0 for load in taken.values())
    assert sum(taken.values()) <= there * (1 + 1e-9)
    if set(service.regions) - out and not any(zone.confined for zone in WORLD.zones.values()):
        assert sum(taken.values()) == pytest.approx(there)
