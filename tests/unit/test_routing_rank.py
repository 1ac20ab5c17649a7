"""The order in which regions are tried: cases, properties, and broken rankings that they must catch."""

import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from atoll.routing import Candidate, Ranking, RegionView, rank
from atoll.topology import RoutingPolicy, Service, Topology, load

Rank = Callable[[Service, frozenset[str], Sequence[RegionView], RoutingPolicy], Ranking]

POLICY = RoutingPolicy()
WORLD = load(Path(__file__).parents[2] / "infra/topologies/world.toml")
SERVICE = replace(
    next(iter(WORLD.services.values())),
    name="shop",
    regions=tuple(f"r{n}" for n in range(8)),
    residency=frozenset(),
)
"""Placed in r0 to r7; r8 and r9 exist without it."""


def view(region: str, rtt_ms: float = 0.0, **known: object) -> RegionView:
    seen = RegionView(region, "eu", rtt_ms, healthy=True, health_reason="", draining=False, replicas=1)
    return replace(seen, **known)  # type: ignore[arg-type]  # names and types are checked by RegionView itself


def silent(region: str, rtt_ms: float = 0.0, **known: object) -> RegionView:
    return view(region, rtt_ms, healthy=False, health_reason="silent for 1.6 s", **known)


def ranked(*views: RegionView, zones: frozenset[str] = frozenset({"eu"})) -> Ranking:
    return rank(SERVICE, zones, views, POLICY)


def reasons(ranking: Ranking) -> dict[str, str]:
    return {candidate.region: candidate.reason for candidate in ranking.candidates}


def rings(ranking: Ranking) -> dict[str, int | None]:
    return {candidate.region: candidate.ring for candidate in ranking.candidates}


class TestCases:
    def test_nearest_first(self) -> None:
        assert ranked(view("r1", 80), view("r0", 0), view("r2", 30)).regions == ("r0", "r2", "r1")

    def test_a_ring_holds_what_is_about_as_near_as_its_nearest(self) -> None:
        ranking = ranked(view("r0", 0), view("r1", 10), view("r2", 10.5), view("r3", 23), view("r4", 24))
        # 0 reaches to 1.25 * 0 + 10, 10.5 to 1.25 * 10.5 + 10 = 23.125.
        assert rings(ranking) == {"r0": 0, "r1": 0, "r2": 1, "r3": 1, "r4": 2}

    def test_what_keeps_a_region_out_is_told(self) -> None:
        ranking = ranked(
            view("r0"),
            view("r1", 1, zone="us"),
            view("r9", 2),
            view("r2", 3, replicas=0),
            view("r3", 4, draining=True),
            silent("r4", 5),
        )
        assert ranking.regions == ("r0",)
        assert not ranking.panic
        assert reasons(ranking) == {
            "r0": "ring 0, 0.0 ms",
            "r1": "zone us is not allowed, only eu",
            "r9": "not placed here",
            "r2": "no ready replica",
            "r3": "draining",
            "r4": "unhealthy: silent for 1.6 s",
        }

    def test_no_zone_allows_nothing(self) -> None:
        ranking = ranked(view("r0"), zones=frozenset())
        assert (ranking.regions, ranking.panic) == ((), False)
        assert reasons(ranking) == {"r0": "zone eu is not allowed, nor is any other"}

    def test_unknown_replicas_go_behind_equals_and_keep_their_ring(self) -> None:
        ranking = ranked(view("r0", 40, replicas=None), view("r1", 50), view("r2", 200))
        assert ranking.regions == ("r1", "r0", "r2")
        assert rings(ranking) == {"r1": 0, "r0": 0, "r2": 1}
        assert reasons(ranking)["r0"] == "ring 0, 40.0 ms, replicas not known yet"

    def test_the_own_region_is_asked_first_even_if_its_replicas_are_unknown(self) -> None:
        assert ranked(view("r0", 0, replicas=None), view("r1", 5)).regions == ("r0", "r1")

    def test_all_unhealthy_are_tried_rather_than_none(self) -> None:
        ranking = ranked(
            silent("r1", 80), silent("r0"), view("r2", 5, zone="us"), silent("r3", 9, replicas=0)
        )
        assert ranking.panic
        assert ranking.regions == ("r0", "r1")
        assert reasons(ranking)["r0"] == "ring 0, 0.0 ms, tried although unhealthy: silent for 1.6 s"

    def test_in_a_panic_a_draining_region_comes_before_silent_ones(self) -> None:
        ranking = ranked(silent("r0"), view("r1", 200, draining=True), silent("r2", 90, draining=True))
        assert ranking.panic
        assert ranking.regions == ("r1", "r0", "r2")

    def test_nothing_to_try_is_no_panic(self) -> None:
        assert not ranked(view("r0", replicas=0), silent("r1", zone="us")).panic

    def test_ejected_replicas_are_tried_if_nothing_else_is_left(self) -> None:
        ejected = view("r0", replicas=0, ejected=2)
        assert ranked(ejected, view("r1", 200)).regions == ("r1",)
        assert reasons(ranked(ejected, view("r1", 200)))["r0"] == "all its replicas are ejected"
        ranking = ranked(ejected, silent("r1", 5), view("r2", 90, draining=True), view("r3", replicas=0))
        assert ranking.panic
        assert ranking.regions == ("r2", "r0", "r1")
        assert reasons(ranking)["r0"] == "ring 0, 0.0 ms, tried although all its replicas are ejected"

    def test_the_reason_says_how_full_a_region_is(self) -> None:
        ranking = ranked(view("r0", capacity=64, in_flight=40))
        assert reasons(ranking)["r0"] == "ring 0, 0.0 ms, 62% full"
        assert ranking.candidates[0].utilization == 0.625

    def test_ties_are_broken_by_name(self) -> None:
        assert ranked(view("r2", 7), view("r1", 7), view("r3", 7)).regions == ("r1", "r2", "r3")


# --- Properties. Each is a function of the ranking under test, so that a broken one can be shown to fail it.


@dataclass(frozen=True, slots=True)
class Situation:
    zones: frozenset[str]
    views: tuple[RegionView, ...]
    policy: RoutingPolicy


ZONES = ("eu", "us", "apac")
RTTS = st.one_of(
    st.sampled_from((0.0, 5.0, 10.0, 74.0)), st.floats(0, 400, allow_nan=False, allow_subnormal=False)
)


@st.composite
def situations(draw: st.DrawFn) -> Situation:
    regions = draw(st.lists(st.sampled_from([f"r{n}" for n in range(10)]), unique=True, max_size=8))
    views = tuple(
        RegionView(
            region=region,
            zone=draw(st.sampled_from(ZONES)),
            rtt_ms=draw(RTTS),
            healthy=draw(st.booleans()),
            health_reason="connection refused",
            draining=draw(st.sampled_from((False, False, True))),
            replicas=draw(st.sampled_from((None, 0, 1, 3))),
            ejected=draw(st.sampled_from((0, 0, 2))),
        )
        for region in regions
    )
    policy = RoutingPolicy(draw(st.floats(1, 3)), draw(st.floats(0, 100)))
    return Situation(draw(st.frozensets(st.sampled_from(ZONES))), views, policy)


def apply(rank: Rank, situation: Situation) -> Ranking:
    return rank(SERVICE, situation.zones, situation.views, situation.policy)


def can_serve(seen: RegionView, zones: frozenset[str]) -> bool:
    there = seen.replicas != 0 or seen.ejected > 0
    return seen.zone in zones and seen.region in SERVICE.regions and there


def check_residency(rank: Rank, situation: Situation) -> None:
    zones = {seen.region: seen.zone for seen in situation.views}
    assert all(zones[region] in situation.zones for region in apply(rank, situation).regions)


def check_finds_who_can_serve(rank: Rank, situation: Situation) -> None:
    able = {seen.region for seen in situation.views if can_serve(seen, situation.zones)}
    fit = able & {
        seen.region for seen in situation.views if seen.healthy and not seen.draining and seen.replicas != 0
    }
    ranking = apply(rank, situation)
    assert set(ranking.regions) == (fit or able)
    assert ranking.panic == (not fit and bool(able))


def check_covers_all_once(rank: Rank, situation: Situation) -> None:
    considered = Counter(candidate.region for candidate in apply(rank, situation).candidates)
    assert considered == Counter(seen.region for seen in situation.views)


def check_order_of_input_does_not_matter(rank: Rank, situation: Situation) -> None:
    turned = replace(situation, views=situation.views[::-1])
    half = replace(situation, views=situation.views[1::2] + situation.views[::2])
    assert apply(rank, situation) == apply(rank, turned) == apply(rank, half)


def check_rings(rank: Rank, situation: Situation) -> None:
    ranking = apply(rank, situation)
    ailing = {
        seen.region: (not seen.healthy, seen.healthy and seen.replicas == 0) for seen in situation.views
    }
    eligible = [candidate for candidate in ranking.candidates if candidate.eligible]
    assert ranking.candidates[: len(eligible)] == tuple(eligible)
    for group in set(ailing.values()):  # rings are counted for each: apart from a panic there is one group
        members = [candidate for candidate in eligible if ailing[candidate.region] == group]
        check_rings_of_group(members, situation.policy)


def check_rings_of_group(members: list[Candidate], policy: RoutingPolicy) -> None:
    rings: dict[int, list[Candidate]] = {}
    for candidate in members:
        assert candidate.ring is not None
        rings.setdefault(candidate.ring, []).append(candidate)
    assert list(rings) == list(range(len(rings))), "rings are tried outward, none is left out"
    for ring, inside in rings.items():
        assert [one.score for one in inside] == sorted(one.score for one in inside)
        reach_ms = policy.ring_factor * min(one.rtt_ms for one in inside) + policy.ring_slack_ms
        assert all(one.rtt_ms <= reach_ms for one in inside)
        assert all(one.rtt_ms > reach_ms for one in rings.get(ring + 1, ()))


def check_an_unhealthy_region_changes_no_order(rank: Rank, situation: Situation) -> None:
    before = apply(rank, situation)
    if before.panic or not before.regions:
        return  # then the newcomer is tried too, and is meant to be
    zone = next(iter(situation.zones))
    newcomer = silent("r7", 1.0, zone=zone)
    others = tuple(seen for seen in situation.views if seen.region != "r7")
    without = replace(situation, views=others)
    if not apply(rank, without).regions or apply(rank, without).panic:
        return
    after = apply(rank, replace(situation, views=(*others, newcomer)))
    assert after.regions == apply(rank, without).regions
    assert tuple(one for one in after.candidates if one.region != "r7") == apply(rank, without).candidates


PROPERTIES = (
    check_residency,
    check_finds_who_can_serve,
    check_covers_all_once,
    check_order_of_input_does_not_matter,
    check_rings,
    check_an_unhealthy_region_changes_no_order,
)


@pytest.mark.parametrize("check", PROPERTIES, ids=lambda check: check.__name__)
def test_property(check: Callable[[Rank, Situation], None]) -> None:
    @given(situations())
    def holds(situation: Situation) -> None:
        check(rank, situation)

    holds()


# --- Negative controls: each of these rankings is wrong in one way, and the property made for it says so.


def panic_forgets_residency(
    service: Service, zones: frozenset[str], views: Sequence[RegionView], policy: RoutingPolicy
) -> Ranking:
    ranking = rank(service, zones, views, policy)
    return rank(service, frozenset(ZONES), views, policy) if ranking.panic else ranking


def gives_up_instead_of_panic(
    service: Service, zones: frozenset[str], views: Sequence[RegionView], policy: RoutingPolicy
) -> Ranking:
    ranking = rank(service, zones, views, policy)
    return Ranking((), panic=False) if ranking.panic else ranking


def forgets_who_is_left_out(
    service: Service, zones: frozenset[str], views: Sequence[RegionView], policy: RoutingPolicy
) -> Ranking:
    ranking = rank(service, zones, views, policy)
    return Ranking(tuple(one for one in ranking.candidates if one.eligible), ranking.panic)


def keeps_the_order_of_input(
    service: Service, zones: frozenset[str], views: Sequence[RegionView], policy: RoutingPolicy
) -> Ranking:
    ranking = rank(service, zones, views, policy)
    places = {seen.region: place for place, seen in enumerate(views)}
    ordered = sorted(ranking.candidates, key=lambda one: (not one.eligible, places[one.region]))
    return Ranking(tuple(ordered), ranking.panic)


def nearest_is_last(
    service: Service, zones: frozenset[str], views: Sequence[RegionView], policy: RoutingPolicy
) -> Ranking:
    ranking = rank(service, zones, views, policy)
    eligible = [one for one in ranking.candidates if one.eligible]
    return Ranking((*eligible[::-1], *ranking.candidates[len(eligible) :]), ranking.panic)


def counts_rings_over_the_dead(
    service: Service, zones: frozenset[str], views: Sequence[RegionView], policy: RoutingPolicy
) -> Ranking:
    ranking = rank(service, zones, views, policy)
    everybody = [replace(seen, healthy=True, draining=False) for seen in views]
    of = {one.region: one.ring for one in rank(service, zones, everybody, policy).candidates}
    return Ranking(
        tuple(replace(one, ring=of[one.region]) if one.eligible else one for one in ranking.candidates),
        ranking.panic,
    )


@pytest.mark.parametrize(
    ("broken", "check"),
    [
        (panic_forgets_residency, check_residency),
        (gives_up_instead_of_panic, check_finds_who_can_serve),
        (forgets_who_is_left_out, check_covers_all_once),
        (keeps_the_order_of_input, check_order_of_input_does_not_matter),
        (nearest_is_last, check_rings),
        (counts_rings_over_the_dead, check_an_unhealthy_region_changes_no_order),
    ],
)
def test_a_broken_ranking_is_caught(broken: Rank, check: Callable[[Rank, Situation], None]) -> None:
    @settings(report_multiple_bugs=False, database=None, phases=(Phase.generate,), max_examples=1000)
    @given(situations())
    def holds(situation: Situation) -> None:
        check(broken, situation)

    with pytest.raises(AssertionError):
        holds()


# --- Failover, simulated: regions of the world fail and recover at random while requests are routed.


def worlds() -> list[tuple[Topology, Service]]:
    confined = replace(next(iter(WORLD.services.values())), residency=frozenset({"eu"}))
    inside = tuple(name for name, region in WORLD.regions.items() if region.zone == "eu")
    everywhere = next(iter(WORLD.services.values()))
    return [(WORLD, everywhere), (WORLD, replace(confined, regions=inside))]


@pytest.mark.parametrize(("topology", "service"), worlds(), ids=["everywhere", "eu-only"])
def test_failover_stays_inside_the_zones_under_any_pattern_of_health(
    topology: Topology, service: Service
) -> None:
    chance = random.Random(20260730)
    up = dict.fromkeys(topology.regions, True)
    panics = 0
    for _ in range(3000):
        for region in chance.sample(list(up), 3):
            up[region] = chance.random() < 0.4
        at = chance.choice(list(topology.regions))
        views = [
            RegionView(
                region.name,
                region.zone,
                topology.rtt_ms(at, region.name),
                healthy=up[region.name],
                health_reason="silent for 2.0 s",
                draining=False,
                replicas=2,
            )
            for region in topology.regions.values()
        ]
        ranking = rank(service, service.residency, views, topology.routing)
        panics += ranking.panic
        assert {topology.regions[name].zone for name in ranking.regions} <= service.residency
        alive = [name for name in service.regions if up[name]]
        assert set(ranking.regions) == set(alive or service.regions)
        nearest = min(topology.rtt_ms(at, name) for name in ranking.regions)
        assert topology.rtt_ms(at, ranking.regions[0]) == nearest
    assert panics > 0, "the simulation never came to the case that it is about"
