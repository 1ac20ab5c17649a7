"""What the parts of a topology must say of each other. Finds everything that is wrong, not just the first."""

from collections.abc import Iterator
from itertools import combinations

from atoll.topology import units
from atoll.topology.document import ServiceDocument, TopologyDocument
from atoll.topology.namespace_check import check_namespaces
from atoll.topology.problems import Problem, unknown


def cross_check(document: TopologyDocument) -> list[Problem]:
    """Problems between parts; an empty list means that the document makes a sound topology."""
    return [
        *_zones(document),
        *_regions(document),
        *_links(document),
        *_services(document),
        *_prefixes(document),
        *_policies(document),
        *check_namespaces(document),
    ]


def _zones(document: TopologyDocument) -> Iterator[Problem]:
    owner: dict[str, str] = {}
    for name, zone in document.zones.items():
        if not any(region.zone == name for region in document.regions.values()):
            yield Problem(f"zones.{name}", "", "has no region; give one region this zone or remove it")
        for country in zone.countries:
            other = owner.setdefault(country, name)
            if other != name:
                yield Problem(
                    f"zones.{name}.countries", repr(country), f"is in zone {other!r} too; keep it in one"
                )


def _regions(document: TopologyDocument) -> Iterator[Problem]:
    for name, region in document.regions.items():
        if region.zone not in document.zones:
            yield unknown(f"regions.{name}.zone", region.zone, "zone", document.zones)
    titles: dict[str, str] = {}
    for name, region in document.regions.items():
        other = titles.setdefault(region.title, name)
        if other != name:
            yield Problem(
                f"regions.{name}.title", repr(region.title), f"is the title of {other!r} too; use another"
            )


def _links(document: TopologyDocument) -> Iterator[Problem]:
    seen: dict[frozenset[str], int] = {}
    for index, link in enumerate(document.links):
        key = f"links.{index}.between"
        for end in link.between:
            if end not in document.regions:
                yield unknown(key, end, "region", document.regions)
        pair = frozenset(link.between)
        if len(pair) == 1:
            yield Problem(key, repr(link.between), "a link joins two different regions")
        elif pair in seen:
            yield Problem(key, repr(link.between), f"is links.{seen[pair]} again; keep one of them")
        if link.jitter_ms > link.rtt_ms / 2:
            yield Problem(
                f"links.{index}.jitter_ms", str(link.jitter_ms), f"at most half of rtt_ms {link.rtt_ms}"
            )
        seen.setdefault(pair, index)
    for a, b in combinations(document.regions, 2):
        if frozenset((a, b)) not in seen:
            yield Problem("links", "", f"no link between {a!r} and {b!r}; add one with their rtt_ms")


def _services(document: TopologyDocument) -> Iterator[Problem]:
    for name, service in document.services.items():
        yield from _kind(f"services.{name}", service)
        yield from _placement(document, f"services.{name}", service)
        replicas = service.replicas
        if replicas.maximum < replicas.minimum:
            yield Problem(
                f"services.{name}.replicas.maximum",
                str(replicas.maximum),
                f"at least minimum {replicas.minimum}",
            )
        if service.kind == "serve":
            yield from _autoscaling(document, f"services.{name}.replicas", service)


def _autoscaling(document: TopologyDocument, key: str, service: ServiceDocument) -> Iterator[Problem]:
    """Serve counts what its replicas work on. What gateways hold back or send elsewhere doesn't count, so they may do
    that only once there is enough to ask for more replicas.
    """
    target, most = service.replicas.target_in_flight, service.replicas.max_in_flight
    if most < 2 * target:
        yield Problem(
            f"{key}.max_in_flight",
            str(most),
            f"at least {2 * target:g}, twice target_in_flight: full replicas are to ask for as many again, and the "
            "requests that wait for a place don't",
        )
        return
    for where, share, what in (
        ("routing.spill_start", document.routing.spill_start, "requests spill to other regions"),
        ("bulkhead.sheddable_share", document.bulkhead.sheddable_share, "sheddable requests are turned away"),
    ):
        if share * most <= target:
            yield Problem(
                f"{key}.target_in_flight",
                f"{target:g}",
                f"below {share * most:g}, which is {where} {share:g} x max_in_flight {most}: from there on {what}, "
                "and load that is not here adds no replica; lower it, or raise the other two",
            )


def _kind(key: str, service: ServiceDocument) -> Iterator[Problem]:
    """What one kind of service needs, and what has no meaning for it."""
    if service.kind == "serve":
        if service.import_path is None:
            yield Problem(
                f"{key}.import_path", "", "missing; name the application as 'package.module:variable'"
            )
        if service.origins is not None:
            yield Problem(f"{key}.origins", "", 'only for kind = "origin"; remove it or change the kind')
        if service.strip_prefix:
            yield Problem(f"{key}.strip_prefix", "true", "only an origin's prefix can be stripped; remove it")
        return
    if service.origins is None:
        yield Problem(
            f"{key}.origins", "", "missing; give each region's addresses: origins.REGION = ['http://…']"
        )
    elif service.regions is not None and set(service.regions) != set(service.origins):
        yield Problem(
            f"{key}.regions", repr(service.regions), "an origin is where its origins are; remove it"
        )
    if service.import_path is not None:
        yield Problem(f"{key}.import_path", repr(service.import_path), "an origin is not deployed; remove it")
    if service.arguments:
        yield Problem(f"{key}.arguments", "", "an origin is not deployed; remove them")


def _placement(document: TopologyDocument, key: str, service: ServiceDocument) -> Iterator[Problem]:
    regions = service.regions
    if regions is None:
        regions = list(service.origins if service.origins is not None else document.regions)
    where = "regions" if service.origins is None else "origins"
    zones = service.residency if service.residency is not None else list(document.zones)
    for region in regions:
        if region not in document.regions:
            yield unknown(f"{key}.{where}", region, "region", document.regions)
    for zone in zones:
        if zone not in document.zones:
            yield unknown(f"{key}.residency", zone, "zone", document.zones)
    if len(set(regions)) != len(regions):
        yield Problem(f"{key}.regions", repr(regions), "names a region twice")
    if service.regions is None and service.origins is None:
        return
    for region in regions:
        known = document.regions.get(region)
        if known is not None and known.zone in document.zones and known.zone not in zones:
            yield Problem(
                f"{key}.{where}",
                repr(region),
                f"is in zone {known.zone!r}, outside residency {', '.join(zones)}",
            )


def _prefixes(document: TopologyDocument) -> Iterator[Problem]:
    """One prefix a service, and the first segment decides: a prefix inside another would shadow it."""
    for (name, service), (other, earlier) in ((b, a) for a, b in combinations(document.services.items(), 2)):
        mine, theirs = service.route_prefix + "/", earlier.route_prefix + "/"
        if mine.startswith(theirs) or theirs.startswith(mine):
            yield Problem(
                f"services.{name}.route_prefix",
                repr(service.route_prefix),
                f"overlaps {earlier.route_prefix!r} of {other!r}; every service needs a prefix of its own",
            )
    for name, service in document.services.items():
        if any(segment in ("-", ".", "..") for segment in service.route_prefix.split("/")):
            yield Problem(
                f"services.{name}.route_prefix",
                repr(service.route_prefix),
                "'/-/' is reserved, dots are not names",
            )


def _policies(document: TopologyDocument) -> Iterator[Problem]:
    health = document.health
    if units.seconds(health.silence) < 2 * units.seconds(health.probe_interval):
        yield Problem(
            "health.silence", repr(health.silence), f"at least twice probe_interval {health.probe_interval}"
        )
    routing = document.routing
    if routing.spill_full < routing.spill_start:
        yield Problem(
            "routing.spill_full", str(routing.spill_full), f"at least spill_start {routing.spill_start}"
        )
    if routing.hysteresis >= routing.spill_start:
        yield Problem(
            "routing.hysteresis", str(routing.hysteresis), f"below spill_start {routing.spill_start}"
        )
    for key, least, most in (
        ("retry", document.retry.base, document.retry.cap),
        ("outlier", document.outlier.first, document.outlier.longest),
    ):
        if units.seconds(most) < units.seconds(least):
            yield Problem(key, f"{least!r} .. {most!r}", "the first must not be longer than the second")
    look_back = document.autoscaling.look_back
    if units.seconds(look_back) < 1.0:
        yield Problem("autoscaling.look_back", repr(look_back), "at least 1s: replicas count twice a second")
    bulkhead = document.bulkhead
    if bulkhead.default_share < bulkhead.sheddable_share:
        yield Problem(
            "bulkhead.default_share",
            str(bulkhead.default_share),
            f"at least sheddable_share {bulkhead.sheddable_share}",
        )
    default = document.steering.default_region
    if default is not None and default not in document.regions:
        yield unknown("steering.default_region", default, "region", document.regions)
