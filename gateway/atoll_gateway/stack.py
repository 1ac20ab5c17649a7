"""The way of a request through the gateway, in one place.

    edge        request id, trace, place, deadline, limits      `edge.py`, `proxy.py`
    routing     residency -> health -> rings                    `layers/routing.py`
    failover    the next attempt leaves the failed region       `layers/failover.py`
    region      the own one, or another                         `layers/region.py`
    upstream    own: straight to a replica                      `layers/local.py`
                other: over the link to a gateway there         `layers/remote.py`

Admission and idempotency will stand between edge and routing, breaker and bulkhead between failover and region.
"""

import random

from atoll.clock import Clock
from atoll.telemetry.metrics import GatewayMetrics
from atoll_gateway.board import Board
from atoll_gateway.layers.failover import Failover
from atoll_gateway.layers.local import Local
from atoll_gateway.layers.region import InRegion
from atoll_gateway.layers.remote import Remote
from atoll_gateway.layers.routing import Routing
from atoll_gateway.peers import Peers
from atoll_gateway.replicas import Replicas
from atoll_gateway.request_head import RequestHead


def build_stack(
    region: str | None,
    board: Board,
    peers: Peers,
    replicas: Replicas,
    clock: Clock,
    chance: random.Random,
    head: RequestHead,
    metrics: GatewayMetrics,
) -> Routing:
    """Joins the layers; what comes back is the outermost one."""
    local = None if region is None else Local(replicas, head)
    in_region = InRegion(region, clock, metrics, local, Remote(peers, head))
    return Routing(region, board, Failover(region, chance, in_region))
