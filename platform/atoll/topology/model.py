"""What a topology says, checked and frozen: regions, zones, links, services and the policies of each.

These are plain values. `atoll.topology.load` makes them from a file; nothing else should build them by hand
outside tests, because the loader is what guarantees that names refer to things that exist.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType


class ServiceKind(StrEnum):
    """How a service is run."""

    SERVE = "serve"
    """A Ray Serve application, deployed by Atoll."""


class Transit(StrEnum):
    """Whether a gateway outside a request's zones may pass it on to one inside."""

    FORWARD = "forward"
    REFUSE = "refuse"


@dataclass(frozen=True, slots=True)
class Zone:
    """A residency zone: where the data and the requests of a place may go."""

    name: str
    countries: frozenset[str]
    """ISO 3166-1 alpha-2 codes of the countries that belong to this zone."""
    confined: bool
    """Whether requests of clients in these countries may be executed in this zone only."""


@dataclass(frozen=True, slots=True)
class Stores:
    """Addresses of stores that somebody else runs (``redis://`` or ``rediss://``); None means embedded Valkey."""

    cache: str | None = None
    state: str | None = None


@dataclass(frozen=True, slots=True)
class Region:
    """A named place that is one independent failure domain."""

    name: str
    title: str
    latitude: float
    longitude: float
    zone: str
    gateways: int
    cpus: int
    """Logical processors that the region's Ray cluster offers: how many replicas fit, not how fast they are."""
    stores: Stores


@dataclass(frozen=True, slots=True)
class Link:
    """The network path between two regions; round-trip time and jitter are in milliseconds."""

    a: str
    b: str
    rtt_ms: float
    jitter_ms: float


@dataclass(frozen=True, slots=True)
class Replicas:
    """How many replicas a service has in each of its regions, and how much each takes."""

    minimum: int
    maximum: int
    target_in_flight: float
    """Requests in flight a replica that autoscaling aims at."""
    max_in_flight: int
    """Requests in flight that a replica accepts at most."""


@dataclass(frozen=True, slots=True)
class Service:
    """A stateless application under one route prefix, in several regions."""

    name: str
    kind: ServiceKind
    route_prefix: str
    import_path: str
    regions: tuple[str, ...]
    """Regions that run it, in the topology's order."""
    residency: frozenset[str]
    """Zones in which its requests may be executed; all zones if the file names none."""
    transit: Transit
    timeout_s: float
    """The longest that a request may take, whatever the client asks for."""
    max_attempts: int
    """Attempts a request has over all regions, the first included."""
    max_body_bytes: int
    replicas: Replicas
    arguments: Mapping[str, str | int | float | bool] = field(default_factory=lambda: MappingProxyType({}))
    """Arguments of the application's builder."""


@dataclass(frozen=True, slots=True)
class HealthPolicy:
    """When a gateway believes that a peer is down or up again."""

    probe_interval_s: float = 0.5
    silence_s: float = 1.5
    """A peer that has not been heard for this long is down. Connections that are refused say so at once."""
    recovery_probes: int = 2
    """Probes in a row that must succeed before a peer that was down is trusted again."""


@dataclass(frozen=True, slots=True)
class RoutingPolicy:
    """How regions are put in rings."""

    ring_factor: float = 1.25
    ring_slack_ms: float = 10.0
    """A region is in the ring of a nearer one if its round-trip time is at most factor x that one's + slack."""


@dataclass(frozen=True, slots=True)
class Steering:
    """What steering answers."""

    ttl_s: int = 30
    default_region: str = ""
    """Where clients whose place is unknown are sent; the first region of the file unless it says otherwise."""


@dataclass(frozen=True, slots=True)
class GatewayPolicy:
    """What every gateway does."""

    access_log: bool = True
    """Whether a line of JSON is written for each request."""


@dataclass(frozen=True, slots=True)
class Geo:
    """Where places come from."""

    city_database: str | None = None
    """A MaxMind-format city file; None means the embedded country data."""
    trusted_proxies: tuple[str, ...] = ("127.0.0.1/32",)
    """Networks whose forwarding headers are believed."""


@dataclass(frozen=True, slots=True)
class Topology:
    """A whole deployment. Every name in it refers to something that is in it."""

    name: str
    revision: int
    """Counted up by whoever edits the file; a running gateway refuses to go back."""
    digest: str
    """SHA-256 of the file's meaning (not of its layout), in hex; two gateways agree if their digests do."""
    zones: Mapping[str, Zone]
    regions: Mapping[str, Region]
    links: Mapping[frozenset[str], Link]
    services: Mapping[str, Service]
    health: HealthPolicy
    routing: RoutingPolicy
    steering: Steering
    geo: Geo
    gateway: GatewayPolicy

    def link(self, a: str, b: str) -> Link:
        """The link between two different regions; the loader guarantees that there is one for every pair."""
        return self.links[frozenset((a, b))]

    def rtt_ms(self, a: str, b: str) -> float:
        """Round-trip time between two regions in milliseconds, nothing within one."""
        return 0.0 if a == b else self.link(a, b).rtt_ms

    def zone_of_country(self, country: str | None) -> Zone | None:
        """The zone that a country belongs to, if any."""
        if country is None:
            return None
        return next((zone for zone in self.zones.values() if country in zone.countries), None)

    def services_in(self, region: str) -> tuple[Service, ...]:
        """The services that a region runs, in the file's order."""
        return tuple(service for service in self.services.values() if region in service.regions)
