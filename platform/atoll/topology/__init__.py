"""Regions, zones, links, services and policies: read, checked as a whole, explained when wrong.

>>> from atoll.topology import load
>>> topology = load(Path("infra/topologies/local.toml"))
"""

from atoll.topology.load import load, parse, read
from atoll.topology.model import (
    BreakerPolicy,
    BulkheadPolicy,
    GatewayPolicy,
    Geo,
    HealthPolicy,
    HedgePolicy,
    Idempotency,
    Link,
    OutlierPolicy,
    Rate,
    Region,
    Replicas,
    RetryPolicy,
    RoutingPolicy,
    Service,
    ServiceKind,
    Steering,
    Stores,
    Topology,
    Transit,
    Zone,
)
from atoll.topology.problems import Problem, TopologyError
from atoll.topology.reduce import first_regions

__all__ = [
    "BreakerPolicy",
    "BulkheadPolicy",
    "GatewayPolicy",
    "Geo",
    "HealthPolicy",
    "HedgePolicy",
    "Idempotency",
    "Link",
    "OutlierPolicy",
    "Problem",
    "Rate",
    "Region",
    "Replicas",
    "RetryPolicy",
    "RoutingPolicy",
    "Service",
    "ServiceKind",
    "Steering",
    "Stores",
    "Topology",
    "TopologyError",
    "Transit",
    "Zone",
    "first_regions",
    "load",
    "parse",
    "read",
]
