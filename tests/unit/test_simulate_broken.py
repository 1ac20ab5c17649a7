"""Negative controls: what each core is good for. A broken one in its place must be found out by an invariant."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import pytest

from atoll.clock import Clock
from atoll.resilience.breaker import Breaker, Permit
from atoll.resilience.budget import UNLIMITED, Budget
from atoll.resilience.bulkhead import Bulkhead
from atoll.routing.pressure import Pressure
from atoll.routing.rank import Ranking, RegionView, rank
from atoll.routing.spill import Spill
from atoll.simulate.generate import generate
from atoll.simulate.invariants import Invariant, check
from atoll.simulate.parts import PRODUCTION, Parts
from atoll.simulate.scenario import Fault, FaultKind, Load, Mix, Scenario, Work
from atoll.simulate.world import simulate
from atoll.topology import HedgePolicy, RetryPolicy, RoutingPolicy, Service, Topology, load

WORLD = load(Path(__file__).parents[2] / "infra/topologies/world.toml")
REGIONS = ("us-east", "eu-west", "eu-central", "us-west")
ZONES = frozenset(WORLD.zones)


def scenario(*faults: Fault, entry: bool = False, **changes: object) -> Scenario:
    """Four regions, clients in Ireland and Germany, and what a test changes."""
    base = generate(2, WORLD)
    regions = REGIONS
    topology = replace(
        base.topology,
        regions=MappingProxyType({name: replace(WORLD.regions[name], gateways=1) for name in regions}),
        links=MappingProxyType({ends: link for ends, link in WORLD.links.items() if ends <= set(regions)}),
        services=MappingProxyType(
            {
                "quote": replace(base.topology.services["quote"], regions=regions, timeout_s=6.0),
                "quote-eu": replace(
                    base.topology.services["quote-eu"], regions=("eu-west", "eu-central"), timeout_s=6.0
                ),
            }
        ),
        retry=RetryPolicy(floor_per_s=0.5),
        routing=RoutingPolicy(ramp_s=4.0),
        steering=replace(WORLD.steering, default_region="us-east"),
    )
    work = Work(replicas=3, in_flight=8, busy=4, median_s=0.2, sigma=0.3)
    made = Scenario(
        name="control",
        title="a negative control",
        topology=topology,
        duration_s=24.0,
        loads=(
            Load("quote-eu", "IE", rate=20.0, mix=Mix(impatient=0.05)),
            Load("quote", "DE", rate=12.0, mix=Mix(impatient=0.05)),
        ),
        works=MappingProxyType({"quote": work, "quote-eu": work}),
        faults=faults,
        entry=entry,
    )
    return replace(made, **changes)  # type: ignore[arg-type]  # names and types are checked by Scenario itself


def found(made: Scenario, seed: int, parts: Parts) -> set[Invariant]:
    return {violation.invariant for violation in check(made, simulate(made, seed, parts))}


def confined() -> Topology:
    """A topology in which European clients' requests stay in Europe."""
    topology = scenario().topology
    zones = {name: replace(zone, confined=name == "eu") for name, zone in topology.zones.items()}
    return replace(topology, zones=MappingProxyType(zones))


def unlimited(clock: Clock, policy: RetryPolicy) -> Budget:
    return UNLIMITED


class SharedHalfOpen(Breaker):
    """As pybreaker does it under asyncio: half-open lets everybody in."""

    __slots__ = ()

    def admit(self) -> Permit | None:
        self._probing = False
        return super().admit()

    def admit_last(self) -> Permit | None:
        self._probing = False
        return super().admit_last()


class NeverAgain(Breaker):
    """A probe whose outcome is never told keeps everybody else out."""

    __slots__ = ()

    def ignored(self, permit: Permit) -> None:
        pass

    def succeeded(self, permit: Permit) -> None:
        if self._admits:
            super().succeeded(permit)

    def failed(self, permit: Permit) -> None:
        if self._admits:
            super().failed(permit)


class Leaky(Bulkhead):
    """Keeps the places of requests that were given up."""

    __slots__ = ()

    def release(self, seconds: float | None, ok: bool) -> None:
        if ok or seconds is None:
            super().release(seconds, ok)


class Upside(Bulkhead):
    """Lets the least critical in first."""

    __slots__ = ()

    def _divide(self) -> None:
        super()._divide()
        self._room = self._room[::-1]


class Undamped(Spill):
    """Everything goes where there is the most room, by the newest figures."""

    __slots__ = ()

    def settle(self, ranking: Ranking, views: Sequence[RegionView]) -> Ranking:
        if ranking.panic or not ranking.regions:
            return ranking
        loads = {view.region: view.utilization or 0.0 for view in views}
        emptiest = min(ranking.regions, key=lambda region: loads[region])
        return ranking.shared({emptiest: 1.0}, {})


def unramped(clock: Clock, policy: RoutingPolicy) -> Spill:
    return Spill(clock, replace(policy, ramp_s=0.001))


class Foreboding(Pressure):
    """Turns the least critical away for what may come, though there is a place for them."""

    __slots__ = ()

    def look(self, ranking: Ranking, views: Sequence[RegionView], share: float) -> float:
        return super().look(ranking, views, 0.0)


def anywhere(
    service: Service, zones: frozenset[str], views: Sequence[RegionView], policy: RoutingPolicy
) -> Ranking:
    return rank(replace(service, regions=tuple(WORLD.regions)), ZONES, views, policy)


def failing(share: float) -> tuple[Fault, ...]:
    """Every replica answers this share of its requests with 503 for a while."""
    return tuple(
        Fault(
            FaultKind.FAILING_REPLICA, at_s=4.0, for_s=16.0, target=f"{region}/replica-{number}", share=share
        )
        for region in REGIONS
        for number in (1, 2, 3)
    )


def loss(region: str) -> Fault:
    return Fault(FaultKind.REGION_LOSS, at_s=6.0, for_s=6.0, target=region)


BASE = scenario()
RAMP = scenario(
    loss("eu-west"),
    entry=True,
    duration_s=20.0,
    topology=replace(BASE.topology, routing=RoutingPolicy(ramp_s=20.0)),
    loads=(Load("quote", "IE", rate=120.0),),
    works={"quote": Work(replicas=3, in_flight=8, busy=8, median_s=0.2, sigma=0.3)},
)
FROZEN = scenario(
    Fault(FaultKind.FROZEN_REPLICA, at_s=6.0, for_s=None, target="eu-west/replica-1"),
    topology=replace(BASE.topology, hedge=HedgePolicy(enabled=False)),
)
FULL = scenario(
    duration_s=8.0, loads=(Load("quote-eu", "DE", rate=260.0, mix=Mix(critical=0.3, sheddable=0.3)),)
)
BUSY = scenario(duration_s=28.0, loads=(Load("quote", "DE", rate=80.0), Load("quote", "IE", rate=50.0)))
LOST = scenario(
    loss("eu-west"),
    loss("eu-central"),
    entry=True,
    topology=confined(),
    loads=(Load("quote", "IE", rate=20.0),),
)
LEAST = Mix(sheddable=0.5, post=0.0, keyed=0.0, impatient=0.0)
CUT_OFF = scenario(
    Fault(FaultKind.PARTITION, at_s=6.0, for_s=6.0, target="eu-west"),
    duration_s=14.0,
    loads=tuple(
        Load("quote", country, rate, mix=LEAST)
        for country, rate in (("IE", 12.0), ("DE", 45.0), ("US", 45.0))
    ),
    works={"quote": Work(replicas=3, in_flight=4, busy=4, median_s=0.2, sigma=0.3)},
)
UNSEEN = scenario(
    topology=replace(
        BASE.topology,
        regions=MappingProxyType({name: replace(WORLD.regions[name], gateways=2) for name in REGIONS}),
    ),
    loads=tuple(
        Load("quote-eu", country, rate=5.0, mix=Mix(critical=0.9, sheddable=0.0)) for country in ("IE", "DE")
    ),
    works={"quote-eu": Work(replicas=4, in_flight=1, busy=1, median_s=0.4, sigma=0.6)},
)

CONTROLS = [
    pytest.param(scenario(*failing(0.6)), Parts(budget=unlimited), Invariant.AMPLIFICATION, id="no budget"),
    pytest.param(
        scenario(*failing(1.0)), Parts(breaker=SharedHalfOpen), Invariant.PROBES, id="shared half-open"
    ),
    pytest.param(scenario(*failing(1.0)), Parts(breaker=NeverAgain), Invariant.PROBES, id="stuck breaker"),
    pytest.param(BASE, Parts(bulkhead=Leaky), Invariant.CONSERVATION, id="leaky bulkhead"),
    pytest.param(FULL, Parts(bulkhead=Upside), Invariant.CRITICALITY, id="sheddable first"),
    pytest.param(BUSY, Parts(spill=Undamped), Invariant.CALM, id="no damping"),
    pytest.param(RAMP, Parts(spill=unramped), Invariant.RAMP, id="no ramp"),
    pytest.param(LOST, Parts(rank=anywhere, checks_zones=False), Invariant.ZONES, id="zones ignored"),
    pytest.param(FROZEN, Parts(asks_the_silent=False), Invariant.NO_AVOIDABLE_ERROR, id="frozen not ejected"),
    pytest.param(CUT_OFF, Parts(pressure=Foreboding), Invariant.NO_AVOIDABLE_ERROR, id="forecast believed"),
    pytest.param(UNSEEN, Parts(full_hosts=1), Invariant.NO_AVOIDABLE_ERROR, id="one full is all full"),
]
SEEDS = range(3)


@pytest.mark.parametrize(("made", "parts", "invariant"), CONTROLS)
def test_what_is_broken_is_found_out_and_what_is_not_is_not(
    made: Scenario, parts: Parts, invariant: Invariant
) -> None:
    assert any(invariant in found(made, seed, parts) for seed in SEEDS), "the broken part was not noticed"
    for seed in SEEDS[:2]:
        assert found(made, seed, PRODUCTION) == set(), f"seed {seed}"
