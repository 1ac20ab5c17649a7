"""What a topology says, checked and frozen: regions, zones, links, services and the policies of each. Namespaces are in
`atoll.topology.namespaces`.

These are plain values. `atoll.topology.load` makes them from a file; nothing else should build them by hand
outside tests, because the loader is what guarantees that names refer to things that exist.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from math import ceil
from types import MappingProxyType

from atoll.topology.namespaces import Namespace


class ServiceKind(StrEnum):
    """How a service is run."""

    SERVE = "serve"
    """A Ray Serve application, deployed by Atoll."""
    ORIGIN = "origin"
    """Plain HTTP addresses in each region, run by somebody else; Atoll routes to them and deploys nothing."""


class Transit(StrEnum):
    """Whether a gateway outside a request's zones may pass it on to one inside."""

    FORWARD = "forward"
    REFUSE = "refuse"


class Idempotency(StrEnum):
    """Who keeps the promise of an ``Idempotency-Key``."""

    GATEWAY = "gateway"
    """The gateway remembers keys and first answers in the state store of the key's home region."""
    SERVICE = "service"
    """The service commits key and effect together, so a keyed request may be sent again."""
    OFF = "off"
    """The header passes through and means nothing to the gateway."""


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
class Addresses:
    """Where a region on machines of its own is found. On one machine the wiring says that."""

    public: str
    """URL of its gateways for clients."""
    gateways: str
    """``host:port`` of its gateways for other regions; which of them answers is theirs to say."""
    agent: str
    """``host:port`` of its agent."""
    head: str
    """Host of its Ray head."""


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
    addresses: Addresses | None = None
    """None: `atoll up` runs the region on this machine."""


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

    def asking(self, capacity: int | None) -> int:
        """Requests in flight with which replicas that take `capacity` at once ask for as many again: twice the target.

        A gateway's own limit stays above it. What it holds back Serve doesn't see, so that a limit near the target
        would keep a service that is overloaded as small as it is.
        """
        return ceil(2.0 * self.target_in_flight / self.max_in_flight * (capacity or 0))


@dataclass(frozen=True, slots=True)
class Rate:
    """A rate limit by GCRA: `per_s` requests a second on the long run, `burst` of them at once."""

    per_s: float
    burst: int


@dataclass(frozen=True, slots=True)
class Service:
    """A stateless application under one route prefix, in several regions."""

    name: str
    kind: ServiceKind
    route_prefix: str
    import_path: str
    """Where the Serve application is built; empty for an origin."""
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
    origins: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: MappingProxyType({}))
    """Region -> ``host:port`` of the addresses there; for an origin alone."""
    strip_prefix: bool = False
    """Whether an origin gets the path without the route prefix."""
    idempotency: Idempotency = Idempotency.GATEWAY
    idempotency_ttl_s: float = 86400.0
    """How long a key and its first answer are remembered."""
    rate: Rate | None = None
    """Limit of the service as a whole in each region, if it has one."""
    client_rate: Rate | None = None
    """Limit of one client of the service in each region, if it has one."""
    namespaces: tuple[str, ...] = ()
    """Namespaces that it uses: its requests are executed where all of them may have their data."""


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
    spill_start: float = 0.6
    """Utilization (requests in flight / capacity) of a ring from which on a share of its traffic goes further out."""
    spill_full: float = 0.95
    """Utilization that a ring is kept under: the share that spills grows until it is."""
    hysteresis: float = 0.1
    """Spill shrinks again only below `spill_start` less this."""
    ramp_s: float = 10.0
    """A region that has just come up, or is about to receive another's traffic, takes its full share after this."""
    failover: bool = True
    """Whether another region may serve a request than the nearest one that may have it. Turned off in drills alone, to
    see them fail."""


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often, and after which pause, a request may be sent again. Owned by the first hop.

    Over any 10 s a gateway makes at most `ratio` x requests + 10 x `floor_per_s` further attempts a service: retries,
    hedges and failovers together (Finagle's RetryBudget; ratio of Finagle and Envoy, floor of Envoy's 3).
    """

    ratio: float = 0.2
    floor_per_s: float = 3.0
    base_s: float = 0.025
    cap_s: float = 0.25
    """Pauses are uniform up to a ceiling that doubles from base to cap (full jitter)."""


@dataclass(frozen=True, slots=True)
class HedgePolicy:
    """When a replay-safe request that takes long is sent to a second region as well."""

    enabled: bool = True
    quantile: float = 0.95
    """A hedge goes out once an attempt has taken longer than this share of recent ones."""
    minimum_s: float = 0.02
    """Never earlier than this."""


@dataclass(frozen=True, slots=True)
class BreakerPolicy:
    """When a (region, service) is not asked any more, and when one probe may ask again."""

    consecutive: int = 5
    failure_rate: float = 0.5
    minimum: int = 20
    """Outcomes in the window below which the rate says nothing."""
    window_s: float = 10.0
    open_s: float = 5.0


@dataclass(frozen=True, slots=True)
class OutlierPolicy:
    """When a replica, an origin's address or a gateway of another region is left out for a while."""

    consecutive: int = 3
    """Failures in a row (broken connections, 502, 503, 504)."""
    failure_rate: float = 0.5
    minimum: int = 10
    """Outcomes in the window below which the rate says nothing."""
    window_s: float = 10.0
    first_s: float = 0.5
    longest_s: float = 30.0
    """Ejections last from first to longest, doubling while the same one goes on failing."""
    stall_s: float = 1.0
    """A replica with requests in flight that has answered nothing for this long (and for longer than is usual) is asked
    whether it is alive."""


@dataclass(frozen=True, slots=True)
class BulkheadPolicy:
    """How many requests of a service may be under way in one region, from one gateway."""

    waiting: int = 128
    """Requests that may wait for a place; more are refused at once."""
    wait_s: float = 0.1
    """The longest wait."""
    sheddable_share: float = 0.7
    default_share: float = 0.9
    """Of the limit: what is left is for more critical requests alone."""
    floor: int = 8
    """The adaptive limit never falls below this."""


@dataclass(frozen=True, slots=True)
class AutoscalingPolicy:
    """When Serve adds and takes away replicas. Measured in `infra/topologies/README.md`."""

    ahead: bool = True
    """Whether a region raises its replicas as soon as another one is lost, ahead of the load that will come."""
    look_back_s: float = 3.0
    """Load is averaged over this long. Serve's default is 30; shorter means that a burst of seconds adds a replica."""
    upscale_delay_s: float = 1.0
    """How long load must ask for more replicas. Serve's default is 30; shorter means replicas for a passing peak."""
    downscale_delay_s: float = 30.0
    """How long load must ask for fewer. Serve's default is 600; shorter means a start (seconds) at the next peak."""


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
    """A whole deployment. Every name in it refers to something that is in it, but acceptors that `first_regions` left
    out.
    """

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
    retry: RetryPolicy = RetryPolicy()
    hedge: HedgePolicy = HedgePolicy()
    breaker: BreakerPolicy = BreakerPolicy()
    outlier: OutlierPolicy = OutlierPolicy()
    bulkhead: BulkheadPolicy = BulkheadPolicy()
    autoscaling: AutoscalingPolicy = AutoscalingPolicy()
    namespaces: Mapping[str, Namespace] = field(default_factory=lambda: MappingProxyType({}))

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

    def holders(self, namespace: str) -> tuple[str, ...]:
        """The regions that may hold a namespace's data, in the file's order. Raises `KeyError` for an unknown one."""
        zones = self.namespaces[namespace].residency
        return tuple(name for name, region in self.regions.items() if region.zone in zones)

    def deployed_in(self, region: str) -> tuple[Service, ...]:
        """The services that Atoll deploys in a region: all but origins."""
        return tuple(service for service in self.services_in(region) if service.kind is ServiceKind.SERVE)
