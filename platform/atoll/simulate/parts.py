"""Which class plays which part. The production classes, unless a test puts a broken one in the place of one of them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

from atoll.clock import Clock
from atoll.resilience.breaker import Breaker
from atoll.resilience.budget import Budget, RetryBudget
from atoll.resilience.bulkhead import Bulkhead
from atoll.resilience.gradient import AdaptiveLimit
from atoll.resilience.lane import FULL_HOSTS
from atoll.resilience.outlier import Hosts
from atoll.routing.pressure import Pressure
from atoll.routing.rank import Ranking, RegionView, rank
from atoll.routing.spill import Spill
from atoll.simulate.hosts import ReplicaHost
from atoll.topology import BreakerPolicy, BulkheadPolicy, OutlierPolicy, RetryPolicy, RoutingPolicy, Service


@dataclass(frozen=True, slots=True)
class Parts:
    """What a simulated gateway is made of."""

    budget: Callable[[Clock, RetryPolicy], Budget] = RetryBudget
    breaker: Callable[[Clock, BreakerPolicy, Callable[[], None]], Breaker] = Breaker
    limit: Callable[[Clock, int], AdaptiveLimit] = AdaptiveLimit
    bulkhead: Callable[[Clock, BulkheadPolicy, AdaptiveLimit], Bulkhead] = Bulkhead
    hosts: Callable[[Clock, OutlierPolicy, Random, Callable[[ReplicaHost], None]], Hosts[ReplicaHost]] = Hosts
    rank: Callable[[Service, frozenset[str], Sequence[RegionView], RoutingPolicy], Ranking] = rank
    spill: Callable[[Clock, RoutingPolicy], Spill] = Spill
    pressure: Callable[[Clock], Pressure] = Pressure
    full_hosts: int = FULL_HOSTS
    """How many replicas are asked before a region counts as full."""
    asks_the_silent: bool = True
    """Whether a replica that answers nothing is left out once it doesn't say that it is alive."""
    checks_zones: bool = True
    """Whether a gateway refuses a forwarded request that may not be executed in its zone."""


PRODUCTION = Parts()
