"""A smaller deployment from a larger topology: what `atoll up --regions N` runs."""

import hashlib
from dataclasses import replace
from types import MappingProxyType

from atoll.topology.model import Topology


def first_regions(topology: Topology, count: int) -> Topology:
    """The topology with its first `count` regions alone; unchanged if it has no more. Pure.

    Zones stay, and so does what they confine: where all regions of a zone are left out, a request that may be executed
    there only is refused, exactly as if they were down. Services stay for the same reason, and so do namespaces with
    their acceptors: those that are left out count as down, since a majority of fewer could contradict what the whole
    has agreed on. A steering default that is left out becomes the first region. The digest differs from the whole
    topology's, so that a gateway that runs the whole and one that runs a part don't think that they agree.

    Raises `ValueError` for a count below one.
    """
    if count < 1:
        raise ValueError(f"a deployment has at least one region, not {count}")
    if count >= len(topology.regions):
        return topology
    kept = tuple(topology.regions)[:count]
    steering = topology.steering
    return replace(
        topology,
        digest=hashlib.sha256(f"{topology.digest} first {count}".encode()).hexdigest(),
        regions=MappingProxyType({name: topology.regions[name] for name in kept}),
        links=MappingProxyType({ends: link for ends, link in topology.links.items() if ends <= set(kept)}),
        services=MappingProxyType(
            {
                name: replace(service, regions=tuple(region for region in service.regions if region in kept))
                for name, service in topology.services.items()
            }
        ),
        steering=steering if steering.default_region in kept else replace(steering, default_region=kept[0]),
    )
