"""The shape of a topology file, as pydantic models: the border between TOML and `atoll.topology.model`.

Only the shape is checked here (keys, types, ranges). What the parts say of each other is checked in
`atoll.topology.check`.
"""

import ipaddress
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from atoll.topology import units

NAME = r"^[a-z][a-z0-9]*(-[a-z0-9]+)*$"
Name = Annotated[str, Field(pattern=NAME, max_length=40)]
Country = Annotated[str, Field(pattern=r"^[A-Z]{2}$")]


def _duration(text: str) -> str:
    if units.seconds(text) <= 0:
        raise ValueError("a duration must be more than zero")
    return text


def _size(text: str) -> str:
    units.size(text)
    return text


def _network(text: str) -> str:
    ipaddress.ip_network(text)
    return text


def _rate(text: str) -> str:
    units.rate(text)
    return text


def _origin(text: str) -> str:
    units.origin(text)
    return text


def _endpoint(text: str) -> str:
    return units.endpoint(text)


def _site(text: str) -> str:
    return units.site(text)


Duration = Annotated[str, AfterValidator(_duration)]
Size = Annotated[str, AfterValidator(_size)]
Network = Annotated[str, AfterValidator(_network)]
Rate = Annotated[str, AfterValidator(_rate)]
Origin = Annotated[str, AfterValidator(_origin)]
Endpoint = Annotated[str, AfterValidator(_endpoint)]
Site = Annotated[str, AfterValidator(_site)]
Host = Annotated[str, Field(pattern=r"^[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?$")]
StoreUrl = Annotated[str, Field(pattern=r"^rediss?://")]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class ZoneDocument(_Strict):
    countries: list[Country] = Field(min_length=1)
    confined: bool = False


class StoresDocument(_Strict):
    cache: StoreUrl | None = None
    state: StoreUrl | None = None


class AddressesDocument(_Strict):
    public: Site
    gateways: Endpoint
    agent: Endpoint
    head: Host


class RegionDocument(_Strict):
    title: str = Field(min_length=1, max_length=60)
    latitude: float = Field(ge=-90, le=90)
    longitude: float = Field(ge=-180, le=180)
    zone: Name
    gateways: int = Field(default=1, ge=1, le=8)
    cpus: int = Field(default=8, ge=1, le=1024)
    stores: StoresDocument = StoresDocument()
    addresses: AddressesDocument | None = None


class LinkDocument(_Strict):
    between: list[Name] = Field(min_length=2, max_length=2)
    rtt_ms: float = Field(gt=0, le=2000)
    jitter_ms: float = Field(default=0.0, ge=0, le=500)


class ReplicasDocument(_Strict):
    minimum: int = Field(default=1, ge=1)
    maximum: int = Field(default=4, ge=1)
    target_in_flight: float = Field(default=16, gt=0)
    max_in_flight: int = Field(default=64, ge=1)


class RateLimitDocument(_Strict):
    rate: Rate
    burst: int = Field(ge=1)


class ServiceDocument(_Strict):
    kind: Literal["serve", "origin"] = "serve"
    route_prefix: str = Field(pattern=r"^/[A-Za-z0-9._~-]+(/[A-Za-z0-9._~-]+)*$")
    import_path: str | None = Field(default=None, pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")
    origins: dict[Name, Annotated[list[Origin], Field(min_length=1)]] | None = Field(
        default=None, min_length=1
    )
    strip_prefix: bool = False
    regions: list[Name] | None = Field(default=None, min_length=1)
    residency: list[Name] | None = Field(default=None, min_length=1)
    namespaces: list[Name] = []
    transit: Literal["forward", "refuse"] = "forward"
    timeout: Duration = "10s"
    max_attempts: int = Field(default=3, ge=1, le=10)
    max_body: Size = "10MiB"
    replicas: ReplicasDocument = ReplicasDocument()
    arguments: dict[str, str | int | float | bool] = {}
    idempotency: Literal["gateway", "service", "off"] = "gateway"
    idempotency_ttl: Duration = "24h"
    rate_limit: RateLimitDocument | None = None
    client_rate_limit: RateLimitDocument | None = None


class NamespaceDocument(_Strict):
    level: Literal["eventual", "session", "strong"]
    types: list[Literal["register", "map", "counter", "set"]] | None = Field(default=None, min_length=1)
    residency: list[Name] | None = Field(default=None, min_length=1)
    durability: Literal["region", "remote", "majority"] | None = None
    behind: Literal["elsewhere", "refuse", "mark"] | None = None
    max_staleness: Duration | None = None
    backend: Literal["registers", "etcd"] | None = None
    acceptors: list[Name] | None = None
    etcd: list[Origin] | None = Field(default=None, min_length=1)


class HealthDocument(_Strict):
    probe_interval: Duration = "500ms"
    silence: Duration = "1500ms"
    recovery_probes: int = Field(default=2, ge=1, le=20)


class RoutingDocument(_Strict):
    ring_factor: float = Field(default=1.25, ge=1, le=10)
    ring_slack_ms: float = Field(default=10.0, ge=0, le=1000)
    spill_start: float = Field(default=0.6, gt=0, le=1)
    spill_full: float = Field(default=0.95, gt=0, le=1)
    hysteresis: float = Field(default=0.1, ge=0, lt=1)
    ramp: Duration = "10s"
    failover: bool = True


class RetryDocument(_Strict):
    ratio: float = Field(default=0.2, ge=0, le=1)
    floor_per_s: float = Field(default=3.0, ge=0, le=1000)
    base: Duration = "25ms"
    cap: Duration = "250ms"


class HedgeDocument(_Strict):
    enabled: bool = True
    quantile: float = Field(default=0.95, ge=0.5, lt=1)
    minimum: Duration = "20ms"


class BreakerDocument(_Strict):
    consecutive: int = Field(default=5, ge=1)
    failure_rate: float = Field(default=0.5, gt=0, le=1)
    minimum: int = Field(default=20, ge=1)
    window: Duration = "10s"
    open: Duration = "5s"


class OutlierDocument(_Strict):
    consecutive: int = Field(default=3, ge=1)
    failure_rate: float = Field(default=0.5, gt=0, le=1)
    minimum: int = Field(default=10, ge=1)
    window: Duration = "10s"
    first: Duration = "500ms"
    longest: Duration = "30s"
    stall: Duration = "1s"


class BulkheadDocument(_Strict):
    waiting: int = Field(default=128, ge=0)
    wait: Duration = "100ms"
    sheddable_share: float = Field(default=0.7, gt=0, le=1)
    default_share: float = Field(default=0.9, gt=0, le=1)
    floor: int = Field(default=8, ge=1)


class AutoscalingDocument(_Strict):
    ahead: bool = True
    look_back: Duration = "3s"
    upscale_delay: Duration = "1s"
    downscale_delay: Duration = "30s"


class SteeringDocument(_Strict):
    ttl_s: int = Field(default=30, ge=1, le=86400)
    default_region: Name | None = None


class GatewayDocument(_Strict):
    access_log: bool = True


class GeoDocument(_Strict):
    city_database: str | None = None
    trusted_proxies: list[Network] = ["127.0.0.1/32"]


class TopologyDocument(_Strict):
    """The file as a whole."""

    schema_: Literal["atoll.topology/1"] = Field(alias="schema")
    name: Name
    revision: int = Field(ge=1)
    zones: dict[Name, ZoneDocument] = Field(min_length=1)
    regions: dict[Name, RegionDocument] = Field(min_length=1)
    links: list[LinkDocument] = []
    services: dict[Name, ServiceDocument] = {}
    namespaces: dict[Name, NamespaceDocument] = {}
    health: HealthDocument = HealthDocument()
    routing: RoutingDocument = RoutingDocument()
    steering: SteeringDocument = SteeringDocument()
    geo: GeoDocument = GeoDocument()
    gateway: GatewayDocument = GatewayDocument()
    retry: RetryDocument = RetryDocument()
    hedge: HedgeDocument = HedgeDocument()
    breaker: BreakerDocument = BreakerDocument()
    outlier: OutlierDocument = OutlierDocument()
    bulkhead: BulkheadDocument = BulkheadDocument()
    autoscaling: AutoscalingDocument = AutoscalingDocument()
