"""From a topology file to a `Topology`: read, check as a whole, freeze."""

import hashlib
import json
import tomllib
from pathlib import Path
from types import MappingProxyType

from pydantic import ValidationError

from atoll.topology import units
from atoll.topology.check import cross_check
from atoll.topology.document import (
    AddressesDocument,
    NamespaceDocument,
    RateLimitDocument,
    ServiceDocument,
    TopologyDocument,
)
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
from atoll.topology.namespaces import Backend, Behind, DataType, Durability, Level, Namespace, nearest
from atoll.topology.problems import Problem, TopologyError, from_validation
from atoll.topology.reduce import first_regions


def load(path: Path, *, regions: int | None = None) -> Topology:
    """Reads and checks a topology file; with `regions`, the whole is checked and its first so many regions are kept.

    Raises `TopologyError` with every problem found, if the file can't be read, isn't TOML, has an unknown key or a
    value out of range, or contradicts itself. Nothing is returned half checked.
    """
    return parse(read(path), path, regions=regions)


def read(path: Path) -> str:
    """The text of a topology file, unchecked. Raises `TopologyError` if it can't be read."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "is not UTF-8 text"
        raise TopologyError(
            path, [Problem("(file)", "unreadable", f"{reason}; give the path of a TOML file")]
        ) from error


def parse(text: str, path: Path = Path("topology.toml"), *, regions: int | None = None) -> Topology:
    """As `load`, for a text that has been read; `path` appears in messages only."""
    topology = _parse(text, path)
    return topology if regions is None else first_regions(topology, regions)


def _parse(text: str, path: Path) -> Topology:
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise TopologyError(path, [Problem("(file)", "not TOML", str(error))]) from error
    try:
        document = TopologyDocument.model_validate(raw)
    except ValidationError as error:
        raise TopologyError(path, from_validation(error)) from error
    if problems := cross_check(document):
        raise TopologyError(path, problems)
    return _freeze(document)


def _freeze(document: TopologyDocument) -> Topology:
    canonical = json.dumps(document.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
    return Topology(
        name=document.name,
        revision=document.revision,
        digest=hashlib.sha256(canonical.encode()).hexdigest(),
        zones=MappingProxyType(
            {
                name: Zone(name, frozenset(zone.countries), zone.confined)
                for name, zone in document.zones.items()
            }
        ),
        regions=MappingProxyType(
            {
                name: Region(
                    name=name,
                    title=region.title,
                    latitude=region.latitude,
                    longitude=region.longitude,
                    zone=region.zone,
                    gateways=region.gateways,
                    cpus=region.cpus,
                    stores=Stores(region.stores.cache, region.stores.state),
                    addresses=_addresses(region.addresses),
                )
                for name, region in document.regions.items()
            }
        ),
        links=MappingProxyType(
            {
                frozenset(link.between): Link(link.between[0], link.between[1], link.rtt_ms, link.jitter_ms)
                for link in document.links
            }
        ),
        services=MappingProxyType(
            {name: _service(name, service, document) for name, service in document.services.items()}
        ),
        health=HealthPolicy(
            units.seconds(document.health.probe_interval),
            units.seconds(document.health.silence),
            document.health.recovery_probes,
        ),
        routing=RoutingPolicy(
            ring_factor=document.routing.ring_factor,
            ring_slack_ms=document.routing.ring_slack_ms,
            spill_start=document.routing.spill_start,
            spill_full=document.routing.spill_full,
            hysteresis=document.routing.hysteresis,
            ramp_s=units.seconds(document.routing.ramp),
            failover=document.routing.failover,
        ),
        steering=Steering(
            document.steering.ttl_s, document.steering.default_region or next(iter(document.regions))
        ),
        geo=Geo(document.geo.city_database, tuple(document.geo.trusted_proxies)),
        gateway=GatewayPolicy(document.gateway.access_log),
        retry=RetryPolicy(
            ratio=document.retry.ratio,
            floor_per_s=document.retry.floor_per_s,
            base_s=units.seconds(document.retry.base),
            cap_s=units.seconds(document.retry.cap),
        ),
        hedge=HedgePolicy(
            enabled=document.hedge.enabled,
            quantile=document.hedge.quantile,
            minimum_s=units.seconds(document.hedge.minimum),
        ),
        breaker=BreakerPolicy(
            consecutive=document.breaker.consecutive,
            failure_rate=document.breaker.failure_rate,
            minimum=document.breaker.minimum,
            window_s=units.seconds(document.breaker.window),
            open_s=units.seconds(document.breaker.open),
        ),
        outlier=OutlierPolicy(
            consecutive=document.outlier.consecutive,
            failure_rate=document.outlier.failure_rate,
            minimum=document.outlier.minimum,
            window_s=units.seconds(document.outlier.window),
            first_s=units.seconds(document.outlier.first),
            longest_s=units.seconds(document.outlier.longest),
            stall_s=units.seconds(document.outlier.stall),
        ),
        bulkhead=BulkheadPolicy(
            waiting=document.bulkhead.waiting,
            wait_s=units.seconds(document.bulkhead.wait),
            sheddable_share=document.bulkhead.sheddable_share,
            default_share=document.bulkhead.default_share,
            floor=document.bulkhead.floor,
        ),
        autoscaling=AutoscalingPolicy(
            ahead=document.autoscaling.ahead,
            look_back_s=units.seconds(document.autoscaling.look_back),
            upscale_delay_s=units.seconds(document.autoscaling.upscale_delay),
            downscale_delay_s=units.seconds(document.autoscaling.downscale_delay),
        ),
        namespaces=MappingProxyType(
            {name: _namespace(name, namespace, document) for name, namespace in document.namespaces.items()}
        ),
    )


def _addresses(addresses: AddressesDocument | None) -> Addresses | None:
    if addresses is None:
        return None
    return Addresses(addresses.public, addresses.gateways, addresses.agent, addresses.head)


def _service(name: str, service: ServiceDocument, document: TopologyDocument) -> Service:
    residency = frozenset(service.residency if service.residency is not None else document.zones)
    open_zones = residency.intersection(
        *(_zones(document.namespaces[namespace], document) for namespace in service.namespaces)
    )
    placed = service.regions
    if placed is None:
        placed = list(service.origins if service.origins is not None else document.regions)
    return Service(
        name=name,
        kind=ServiceKind(service.kind),
        route_prefix=service.route_prefix,
        import_path=service.import_path or "",
        regions=tuple(
            region
            for region in document.regions
            if region in placed and document.regions[region].zone in open_zones
        ),
        residency=residency,
        transit=Transit(service.transit),
        timeout_s=units.seconds(service.timeout),
        max_attempts=service.max_attempts,
        max_body_bytes=units.size(service.max_body),
        replicas=Replicas(
            service.replicas.minimum,
            service.replicas.maximum,
            service.replicas.target_in_flight,
            service.replicas.max_in_flight,
        ),
        arguments=MappingProxyType(dict(service.arguments)),
        origins=MappingProxyType(
            {
                region: tuple(units.origin(address) for address in addresses)
                for region, addresses in (service.origins or {}).items()
            }
        ),
        strip_prefix=service.strip_prefix,
        idempotency=Idempotency(service.idempotency),
        idempotency_ttl_s=units.seconds(service.idempotency_ttl),
        rate=_rate(service.rate_limit),
        client_rate=_rate(service.client_rate_limit),
        namespaces=tuple(service.namespaces),
    )


def _namespace(name: str, namespace: NamespaceDocument, document: TopologyDocument) -> Namespace:
    level = Level(namespace.level)
    strong = level is Level.STRONG
    types = namespace.types or (["register"] if strong else list(DataType))
    backend = Backend(namespace.backend or "registers") if strong else None
    residency = _zones(namespace, document)
    return Namespace(
        name=name,
        level=level,
        types=tuple(one for one in DataType if one in types),
        residency=residency,
        durability=Durability(namespace.durability or ("majority" if strong else "region")),
        behind=Behind(namespace.behind or "elsewhere") if level is Level.SESSION else None,
        max_staleness_s=None if namespace.max_staleness is None else units.seconds(namespace.max_staleness),
        backend=backend,
        acceptors=_acceptors(namespace, residency, document) if backend is Backend.REGISTERS else (),
        etcd=tuple(units.origin(address) for address in namespace.etcd or ()),
    )


def _acceptors(
    namespace: NamespaceDocument, residency: frozenset[str], document: TopologyDocument
) -> tuple[str, ...]:
    if namespace.acceptors is not None:
        return tuple(namespace.acceptors)
    within = [name for name, region in document.regions.items() if region.zone in residency]
    return nearest(within, {frozenset(link.between): link.rtt_ms for link in document.links})


def _zones(namespace: NamespaceDocument, document: TopologyDocument) -> frozenset[str]:
    return frozenset(namespace.residency if namespace.residency is not None else document.zones)


def _rate(limit: RateLimitDocument | None) -> Rate | None:
    return None if limit is None else Rate(units.rate(limit.rate), limit.burst)
