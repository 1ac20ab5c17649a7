"""When every gateway knows every region: then the first request goes where it should."""

import asyncio
from collections.abc import Callable

from atoll.cell.gateway_view import GatewayViews
from atoll.cell.ports import PortPlan
from atoll.topology import Topology

PATIENCE_S = 30.0
POLL_S = 0.1
"""Peers are probed twice a second, and Serve is asked for replicas once."""


async def await_meeting(
    topology: Topology, ports: PortPlan, views: GatewayViews, heard: Callable[[str], None]
) -> str:
    """Returns when all gateways hold all regions for healthy and know replicas of all their services.

    `heard` is told what is waited for. After `PATIENCE_S` it is returned; before, nothing is.
    """
    waiting = ""
    try:
        async with asyncio.timeout(PATIENCE_S):
            while waiting := await _stranger(topology, ports, views):
                heard(waiting)
                await asyncio.sleep(POLL_S)
    except TimeoutError:
        return f"after {PATIENCE_S:.0f} s, {waiting}"
    return ""


async def _stranger(topology: Topology, ports: PortPlan, views: GatewayViews) -> str:
    """The first thing that some gateway does not know yet, in words; empty if all know everything."""
    for admin in ports.admins:
        view = await views.view(admin)
        if view is None:
            return f"the gateway with its admin listener at {admin} does not answer"
        for region in topology.regions:
            seen = view.regions.get(region)
            placed = [service.name for service in topology.services_in(region)]
            if seen is None or not seen.healthy:
                return f"{view.gateway} has not heard {region}"
            if missing := [name for name in placed if not seen.replicas.get(name)]:
                return f"{view.gateway} knows no replica of {', '.join(missing)} in {region}"
    return ""
