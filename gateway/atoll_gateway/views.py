"""What a gateway says of itself to operators and to the cell: ``atoll.regions/1``."""

from collections.abc import Mapping
from dataclasses import dataclass

from atoll.tls import TlsStatistics


@dataclass(frozen=True, slots=True)
class ServiceView:
    """A service as this gateway uses it. Replicas and capacity are those of its own region."""

    replicas: int | None
    ejected: int
    in_flight: int
    """Requests that this gateway has taken and not yet answered, wherever they are served."""
    local_in_flight: int
    """Requests that this gateway has with replicas of its own region."""
    capacity: int
    requests: int
    attempts: int
    pressure: float
    """Requests in flight / capacity over all regions that may serve it, for clients who may go anywhere it may."""


@dataclass(frozen=True, slots=True)
class LoadView:
    """A service's load in a region, summed over the gateways there that were heard lately."""

    in_flight: int
    capacity: int | None


@dataclass(frozen=True, slots=True)
class PeerView:
    """A gateway of another region as this one sees it; `since_s` is how long it has been so."""

    healthy: bool
    reason: str
    since_s: float
    in_flight: int
    draining: bool
    topology_digest: str | None


@dataclass(frozen=True, slots=True)
class RegionHealthView:
    """A region as this gateway sees it."""

    healthy: bool
    reason: str
    draining: bool
    replicas: Mapping[str, int | None]
    """Ready replicas of each service that is placed there; null if not known yet."""
    peers: Mapping[str, PeerView]
    load: Mapping[str, LoadView]


@dataclass(frozen=True, slots=True)
class TopologyView:
    """The topology in force, and why the file as it is now was refused, if it was."""

    name: str
    revision: int
    digest: str
    error: str | None


@dataclass(frozen=True, slots=True)
class RegionsDocument:
    """One gateway's view of everything."""

    gateway: str
    region: str | None
    draining: bool
    topology: TopologyView
    services: Mapping[str, ServiceView]
    regions: Mapping[str, RegionHealthView]
    certificate: TlsStatistics | None = None
    """What it shows other cells; None without TLS."""
    schema: str = "atoll.regions/1"
