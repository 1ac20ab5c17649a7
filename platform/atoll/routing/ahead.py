"""Who takes over what a lost region had: told by the ranking and the shares that gateways go by.

A client of a region that is lost is steered to the region next to it, and routed from there. So what the lost region
had in flight is laid on the others as if a gateway at its place had lost it.
"""

from collections.abc import Collection, Mapping
from dataclasses import replace

from atoll.clock import ManualClock
from atoll.routing.rank import RegionView, rank
from atoll.routing.residency import service_zones
from atoll.routing.spill import Spill
from atoll.topology import Service, Topology


def taken_over(
    topology: Topology,
    service: Service,
    lost: Collection[str],
    out: Collection[str],
    loads: Mapping[str, float],
) -> dict[str, float]:
    """Requests of a service that each region gets in flight on top of its own, once the load of `lost` has moved.

    `out` are all regions that can't take any, `lost` among them; `loads` the requests in flight before the loss, by
    region. Every region counts as large as it may become, for that is what it is to grow towards: what it can't take
    before that goes further out, and comes back. Where nobody is left, and of a region whose load is not known, nothing
    is taken over.
    """
    there = dict(loads)
    more: dict[str, float] = {}
    for region in sorted(lost):  # each finds in place what those before it have left
        for taker, load in _of_one(topology, service, region, out, there).items():
            more[taker] = more.get(taker, 0.0) + load
            there[taker] = there.get(taker, 0.0) + load
    return more


def _of_one(
    topology: Topology, service: Service, lost: str, out: Collection[str], loads: Mapping[str, float]
) -> dict[str, float]:
    load = loads.get(lost, 0.0)
    if load <= 0.0 or lost not in service.regions:
        return {}
    before = [_view(topology, service, lost, region, loads) for region in service.regions]
    after = [replace(view, healthy=view.region not in out) for view in before]
    zones = _zones(topology, service, lost)
    policy = replace(topology.routing, ramp_s=0.0)  # how it ends, not how it begins
    spill = Spill(ManualClock(), policy)
    spill.settle(rank(service, zones, before, policy), before)
    ranking = spill.settle(rank(service, zones, after, policy), after)
    if ranking.panic:
        return {}
    return {one.region: one.share * load for one in ranking.candidates if one.share}


def _zones(topology: Topology, service: Service, lost: str) -> frozenset[str]:
    """Where requests of clients next to a region may be executed: they are taken to be of its zone."""
    zone = topology.zones[topology.regions[lost].zone]
    zones = service_zones(topology, service)
    return zones & {zone.name} if zone.confined else zones


def _view(
    topology: Topology, service: Service, at: str, region: str, loads: Mapping[str, float]
) -> RegionView:
    replicas = service.replicas
    capacity = replicas.maximum * replicas.max_in_flight
    return RegionView(
        region=region,
        zone=topology.regions[region].zone,
        rtt_ms=topology.rtt_ms(at, region),
        healthy=True,
        health_reason="lost",
        draining=False,
        replicas=replicas.maximum,
        capacity=capacity,
        in_flight=round(loads.get(region, 0.0)),
    )
