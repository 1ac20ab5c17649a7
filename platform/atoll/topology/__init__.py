"""Regions, zones, links, services, namespaces and policies: read, checked as a whole, explained when wrong.

>>> from atoll.topology import load
>>> topology = load(Path("infra/topologies/local.toml"))
"""

from atoll.topology.load import load, parse, read
from atoll.topology.model import (
    Addresses,
    AutoscalingPolicy,
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
from atoll.topology.namespaces import Backend, Behind, DataType, Durability, Level, Namespace
from atoll.topology.problems import Problem, TopologyError
from atoll.topology.reduce import first_regions
from atoll.topology.succession import (
    SuccessionError,
    check_joining_and_leaving,
    check_namespaces,
    check_regions,
    check_running,
    check_succession,
)

__all__ = [
    "Addresses",
    "AutoscalingPolicy",
    "Backend",
    "Behind",
    "BreakerPolicy",
    "BulkheadPolicy",
    "DataType",
    "Durability",
    "GatewayPolicy",
    "Geo",
    "HealthPolicy",
    "HedgePolicy",
    "Idempotency",
    "Level",
    "Link",
    "Namespace",
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
    "SuccessionError",
    "Topology",
    "TopologyError",
    "Transit",
    "Zone",
    "check_joining_and_leaving",
    "check_namespaces",
    "check_regions",
    "check_running",
    "check_succession",
    "first_regions",
    "load",
    "parse",
    "read",
]
