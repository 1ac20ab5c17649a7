"""What the author of a service imports. Nothing else of Atoll is for services.

With `from atoll import state, cache`. A service that needs none of this is an ordinary Ray Serve application. One that
calls others or uses the state adds `AtollMiddleware` to its application.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass

from atoll.calls import CallFailed, NoRequest, RequestContext, call, current
from atoll.geo.place import Coordinates, great_circle_km
from atoll.middleware import AtollMiddleware
from atoll.resilience.idempotency import parse_key, record_name

__all__ = [
    "AtollMiddleware",
    "CallFailed",
    "Coordinates",
    "NoRequest",
    "Region",
    "RequestContext",
    "call",
    "current",
    "great_circle_km",
    "parse_key",
    "record_name",
    "region",
]


@dataclass(frozen=True, slots=True)
class Region:
    """The region that runs this replica, and the residency zone it lies in."""

    name: str
    zone: str


def region(environment: Mapping[str, str] = os.environ) -> Region:
    """Where this replica runs, from `ATOLL_REGION` and `ATOLL_ZONE`, which the cell sets for its Ray cluster.

    It never changes while a replica lives: ask once, when the deployment is constructed. Outside a cell
    (plain `serve run`, tests) neither is set, and both are `local`.
    """
    return Region(name=environment.get("ATOLL_REGION", "local"), zone=environment.get("ATOLL_ZONE", "local"))
