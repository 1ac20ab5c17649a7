"""Scenarios drawn from a seed: topology, load, work, and one to three faults that may overlap."""

import hashlib
import math
from collections.abc import Mapping
from dataclasses import replace
from random import Random
from types import MappingProxyType

from atoll.simulate.scenario import Fault, FaultKind, Load, Mix, Scenario, Shape, Work
from atoll.topology import Idempotency, Link, Topology

MOST_REGIONS = 20
REQUESTS = 600
"""About so many a scenario, so that thousands of scenarios are minutes."""

WEIGHTS: Mapping[FaultKind, int] = MappingProxyType(dict.fromkeys(FaultKind, 1) | {FaultKind.REGION_LOSS: 2})
"""How often a kind is drawn."""

COUNTRIES: Mapping[str, str] = MappingProxyType(
    {
        "us-east": "US",
        "us-west": "CA",
        "sa-east": "BR",
        "eu-west": "IE",
        "eu-central": "DE",
        "af-south": "ZA",
        "ap-south": "IN",
        "ap-southeast": "SG",
        "ap-northeast": "JP",
        "au-east": "AU",
    }
)
"""Region of `world.toml` -> a country whose clients are near."""


def generate(seed: int, world: Topology) -> Scenario:
    """The scenario of a seed. `world` is `infra/topologies/world.toml`; the same two always give the same."""
    chance = Random(f"scenario {seed}")
    count = chance.choices((3, 4, 5, 6, 7, 8, 10, 14, 20), weights=(28, 20, 15, 10, 8, 6, 7, 4, 2))[0]
    topology = _policies(_regions(world, count, chance), chance)
    duration = chance.uniform(18.0, 28.0)
    names = list(topology.regions)
    near = chance.sample(names, chance.randint(1, min(5, len(names))))
    rates = [chance.uniform(0.3, 1.0) for _ in near]
    scale = REQUESTS / duration / sum(rates)
    # The busiest region alone has this utilization, if clients went to the nearest region only.
    utilization = chance.choice((0.15, 0.3, 0.5, 0.8))
    busy, replicas = chance.randint(2, 6), chance.randint(2, 4)
    sigma = chance.uniform(0.1, 0.6)
    median = utilization * busy * replicas / (max(rates) * scale) / math.exp(sigma**2 / 2)
    work = Work(replicas, busy * chance.choice((1, 2, 3)), busy, min(0.6, median), sigma)
    mix = Mix(
        critical=chance.choice((0.1, 0.3)),
        sheddable=chance.choice((0.0, 0.2, 0.5)),
        post=chance.choice((0.0, 0.1, 0.3)),
        keyed=chance.choice((0.0, 0.2)),
        impatient=chance.choice((0.0, 0.02, 0.1)),
    )
    timeout = chance.choice((None, None, 4.0, 6.0))
    loads = tuple(
        _load(region, rate * scale, duration, timeout, mix, chance)
        for region, rate in zip(near, rates, strict=True)
    )
    return Scenario(
        name=f"seed-{seed}",
        title=f"drawn from seed {seed}",
        topology=topology,
        duration_s=duration,
        loads=loads,
        works=MappingProxyType(dict.fromkeys(topology.services, work)),
        faults=_faults(topology, loads, replicas, duration, chance),
        entry=chance.random() < 0.3,
    )


def _load(region: str, rate: float, duration: float, timeout: float | None, mix: Mix, chance: Random) -> Load:
    country = COUNTRIES[region.removesuffix("-b")]
    eu = country in ("IE", "DE")
    return Load(
        service="quote-eu" if eu and chance.random() < 0.5 else "quote",
        country=country,
        rate=rate,
        shape=chance.choices(tuple(Shape), weights=(10, 1, 1, 1, 1, 1))[0],
        peak=rate * chance.uniform(1.2, 2.5),
        at_s=chance.uniform(2.0, duration / 2),
        for_s=chance.uniform(2.0, duration / 2),
        period_s=chance.uniform(4.0, 12.0),
        timeout_s=timeout,
        mix=mix,
    )


def _faults(
    topology: Topology, loads: tuple[Load, ...], replicas: int, duration: float, chance: Random
) -> tuple[Fault, ...]:
    kinds = chance.choices(list(WEIGHTS), weights=list(WEIGHTS.values()), k=chance.choice((1, 1, 2, 2, 3)))
    return tuple(_fault(kind, topology, loads, replicas, duration, chance) for kind in kinds)


def _fault(
    kind: FaultKind,
    topology: Topology,
    loads: tuple[Load, ...],
    replicas: int,
    duration: float,
    chance: Random,
) -> Fault:
    names = list(topology.regions)
    # Mostly where it hurts: a region that clients are near to.
    busy = [name for name in names if COUNTRIES[name.removesuffix("-b")] in {load.country for load in loads}]
    region = chance.choice(busy if busy and chance.random() < 0.7 else names)
    target = region
    other: str | None = None
    match kind:
        case (
            FaultKind.SLOW_REPLICA
            | FaultKind.FROZEN_REPLICA
            | FaultKind.CRASH_LOOP
            | FaultKind.FAILING_REPLICA
        ):
            target = f"{region}/replica-{chance.randint(1, replicas)}"
        case FaultKind.GATEWAY_LOSS | FaultKind.GATEWAY_STALL:
            target = f"{region}/gateway-{chance.randint(1, topology.regions[region].gateways)}"
        case FaultKind.PARTITION | FaultKind.SLOW_LINK | FaultKind.LINK_LOSS:
            other = chance.choice([None, *(name for name in names if name != region)])
        case FaultKind.SURGE | FaultKind.RETRY_STORM:
            target = chance.choice(["", *(load.country for load in loads)])
        case _:
            pass
    return Fault(
        kind=kind,
        at_s=chance.uniform(3.0, duration * 0.5),
        for_s=None if chance.random() < 0.2 else chance.uniform(1.0, duration * 0.4),
        target=target,
        other=other,
        one_way=chance.random() < 0.3,
        factor=chance.choice((2, 3))
        if kind in (FaultKind.SURGE, FaultKind.RETRY_STORM)
        else chance.uniform(3, 20),
        share=_share(kind, chance),
        latency_s=chance.uniform(0.05, 0.6),
        period_s=chance.uniform(1.0, 6.0)
        if kind in (FaultKind.FLAPPING_REGION, FaultKind.CRASH_LOOP)
        else 0.0,
    )


def _share(kind: FaultKind, chance: Random) -> float:
    if kind is FaultKind.LINK_LOSS:
        return chance.uniform(0.02, 0.3)
    return chance.uniform(0.3, 1.0)


def _policies(topology: Topology, chance: Random) -> Topology:
    services = {
        name: replace(service, idempotency=Idempotency.SERVICE) for name, service in topology.services.items()
    }
    confined = chance.choice((None, None, "eu", "us"))
    zones = {name: replace(zone, confined=name == confined) for name, zone in topology.zones.items()}
    return replace(
        topology,
        zones=MappingProxyType(zones),
        services=MappingProxyType({name: services[name] for name in ("quote", "quote-eu")}),
        retry=replace(topology.retry, floor_per_s=chance.choice((0.5, 1.0, 3.0))),
        hedge=replace(topology.hedge, enabled=chance.random() < 0.85),
        routing=replace(topology.routing, ramp_s=chance.choice((3.0, 10.0))),
    )


def _regions(world: Topology, count: int, chance: Random) -> Topology:
    """`count` regions of the world, in its order; beyond its ten, twins that are a few milliseconds away."""
    twins = [_twin(name) for name in chance.sample(list(world.regions), max(0, count - len(world.regions)))]
    names = [*world.regions, *twins]
    if "eu-west" not in (chosen := set(chance.sample(names, min(count, len(names))))):
        chosen.discard(min(chosen))  # quote-eu needs a region of its zone
        chosen.add("eu-west")
    kept = tuple(name for name in names if name in chosen)
    links = {frozenset((a, b)): _link(world, a, b) for index, a in enumerate(kept) for b in kept[index + 1 :]}
    gateways = {name: chance.choices((1, 2), weights=(7, 3))[0] for name in kept}
    regions = {name: replace(world.regions[_base(name)], name=name, gateways=gateways[name]) for name in kept}
    return replace(
        world,
        digest=hashlib.sha256(f"{world.digest} {kept}".encode()).hexdigest(),
        regions=MappingProxyType(regions),
        links=MappingProxyType(links),
        services=MappingProxyType(
            {
                name: replace(
                    service,
                    regions=tuple(region for region in kept if regions[region].zone in service.residency),
                )
                for name, service in world.services.items()
            }
        ),
        steering=replace(world.steering, default_region=kept[0]),
    )


def _twin(name: str) -> str:
    return f"{name}-b"


def _base(name: str) -> str:
    return name.removesuffix("-b")


def _link(world: Topology, a: str, b: str) -> Link:
    if _base(a) == _base(b):
        return Link(a, b, 4.0, 1.0)
    return replace(world.link(_base(a), _base(b)), a=a, b=b)
