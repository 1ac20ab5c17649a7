"""The way of a request through the gateway, in one place.

    edge        request id, trace, place, deadline, limits      `edge.py`, `proxy.py`
    admission   rate limits; overload is turned away here       `layers/admission.py`, `rate_limits.py`
    idempotency Idempotency-Key: replay, conflict, in flight    `layers/idempotency.py`
    routing     residency -> health -> rings                    `layers/routing.py`
    retry       budget, jitter, hedge; leaves a failed region   `layers/retry.py`
    region      breaker and bulkhead; the own one, or another   `layers/region.py`
    upstream    own: straight to a replica                      `layers/local.py`
                other: over the link to a gateway there         `layers/remote.py`

Each layer knows the next one by its contract alone; they meet here.
"""

import random
from dataclasses import dataclass
from typing import Protocol

from atoll.clock import Clock
from atoll.telemetry.metrics import GatewayMetrics
from atoll.topology import Topology
from atoll_gateway.board import Board
from atoll_gateway.keys.homes import KeyHomes
from atoll_gateway.keys.settling import Settling
from atoll_gateway.layers.admission import Admission
from atoll_gateway.layers.idempotency import IdempotencyLayer
from atoll_gateway.layers.local import Local
from atoll_gateway.layers.region import InRegion
from atoll_gateway.layers.remote import Remote
from atoll_gateway.layers.retry import Retry
from atoll_gateway.layers.routing import Routing
from atoll_gateway.message import Layer
from atoll_gateway.peers import Peers
from atoll_gateway.rate_limits import RateLimits
from atoll_gateway.replicas import Replicas
from atoll_gateway.request_head import RequestHead


class TakesTopology(Protocol):
    """A layer that depends on the topology."""

    def use(self, topology: Topology) -> None: ...


@dataclass(frozen=True, slots=True)
class Stack:
    """The layers, joined."""

    first: Layer
    """The outermost one."""
    dependent: tuple[TakesTopology, ...]
    regions: InRegion
    retry: Retry

    def use(self, topology: Topology) -> None:
        """Takes up a topology."""
        for layer in self.dependent:
            layer.use(topology)


def build_stack(
    name: str,
    region: str | None,
    board: Board,
    peers: Peers,
    replicas: Replicas,
    clock: Clock,
    chance: random.Random,
    head: RequestHead,
    metrics: GatewayMetrics,
    homes: KeyHomes,
    settling: Settling,
    limits: RateLimits,
) -> Stack:
    """Joins the layers. `name` is the gateway's."""
    local = None if region is None else Local(replicas, head)
    in_region = InRegion(
        region,
        clock,
        metrics,
        local,
        Remote(peers, head, clock),
        capacity=board.capacity,
        changed=board.changed,
    )
    retry = Retry(region, clock, chance, in_region)
    routing = Routing(region, board, retry)
    idempotency = IdempotencyLayer(name, region, homes, settling, metrics, routing)
    admission = Admission(limits, board, in_region, metrics, idempotency)
    return Stack(admission, (limits, in_region, retry, routing, idempotency), in_region, retry)
