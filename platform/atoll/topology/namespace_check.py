"""What a topology says of its namespaces that can't be kept. Finds everything that is wrong, not just the first."""

from collections.abc import Iterator, Sequence

from atoll.topology.document import NamespaceDocument, ServiceDocument, TopologyDocument
from atoll.topology.namespaces import ACCEPTORS
from atoll.topology.problems import Problem, unknown

RESERVED = "atoll"
"""A namespace of this name, or of one that begins with it and a hyphen, is Atoll's own."""

COUNTS = (3, 5)
"""Of acceptors: an even one survives no more failures than the odd one below, and beyond five each write gets slower
for failures that no longer come alone."""


def check_namespaces(document: TopologyDocument) -> Iterator[Problem]:
    """Problems of namespaces, and of services' use of them."""
    for name, namespace in document.namespaces.items():
        key = f"namespaces.{name}"
        if name == RESERVED or name.startswith(f"{RESERVED}-"):
            yield Problem(key, repr(name), "is reserved for Atoll itself; use another name")
        for zone in namespace.residency or ():
            if zone not in document.zones:
                yield unknown(f"{key}.residency", zone, "zone", document.zones)
        holders = _holders(document, namespace)
        if namespace.level == "strong":
            yield from _strong(document, key, namespace, holders)
        else:
            yield from _replicated(key, namespace, holders)
    for name, service in document.services.items():
        yield from _use(document, f"services.{name}", service)


def _replicated(key: str, namespace: NamespaceDocument, holders: Sequence[str]) -> Iterator[Problem]:
    level = f"level {namespace.level!r}"
    if namespace.durability == "majority":
        yield Problem(
            f"{key}.durability", "'majority'", f'is for level "strong"; {level} has "region" or "remote"'
        )
    if namespace.durability == "remote" and len(holders) < 2:
        yield Problem(
            f"{key}.durability",
            "'remote'",
            f'needs a second region that may hold the data, but {_within(namespace, holders)}; use "region", or name '
            "more zones in residency",
        )
    if namespace.behind is not None and namespace.level != "session":
        yield Problem(
            f"{key}.behind",
            repr(namespace.behind),
            f'is for level "session"; {level} has no session to be behind of, so remove it',
        )
    for name, value in (
        ("backend", namespace.backend),
        ("acceptors", namespace.acceptors),
        ("etcd", namespace.etcd),
    ):
        if value is not None:
            yield Problem(f"{key}.{name}", repr(value), f'is for level "strong"; {level} has none: remove it')


def _strong(
    document: TopologyDocument, key: str, namespace: NamespaceDocument, holders: Sequence[str]
) -> Iterator[Problem]:
    for one in namespace.types or ():
        if one != "register":
            yield Problem(
                f"{key}.types",
                repr(one),
                'level "strong" has registers only; use ["register"] or another level',
            )
    if namespace.durability not in (None, "majority"):
        yield Problem(
            f"{key}.durability", repr(namespace.durability), 'level "strong" is always "majority"; remove it'
        )
    if namespace.behind is not None:
        yield Problem(f"{key}.behind", repr(namespace.behind), 'level "strong" is never behind; remove it')
    if namespace.max_staleness is not None:
        yield Problem(
            f"{key}.max_staleness", repr(namespace.max_staleness), 'level "strong" is never stale; remove it'
        )
    if namespace.backend == "etcd":
        if namespace.etcd is None:
            yield Problem(f"{key}.etcd", "missing", "name the etcd's members: etcd = ['http://…:2379']")
        if namespace.acceptors is not None:
            yield Problem(
                f"{key}.acceptors", repr(namespace.acceptors), "an etcd has members of its own; remove it"
            )
        return
    if namespace.etcd is not None:
        yield Problem(f"{key}.etcd", repr(namespace.etcd), 'only for backend = "etcd"; remove it')
    if len(holders) < ACCEPTORS:
        yield Problem(
            f"{key}.level",
            "'strong'",
            f"needs at least {ACCEPTORS} regions, so that a majority is left when one is lost, but "
            f'{_within(namespace, holders)}; name more zones in residency, use another level, or backend = "etcd"',
        )
    elif namespace.acceptors is not None:
        yield from _acceptors(document, f"{key}.acceptors", namespace.acceptors, holders)


def _acceptors(
    document: TopologyDocument, key: str, acceptors: Sequence[str], holders: Sequence[str]
) -> Iterator[Problem]:
    if len(acceptors) not in COUNTS:
        yield Problem(
            key, repr(list(acceptors)), f"has {len(acceptors)} regions; name {COUNTS[0]} or {COUNTS[1]}"
        )
    if len(set(acceptors)) != len(acceptors):
        yield Problem(key, repr(list(acceptors)), "names a region twice")
    for region in acceptors:
        if region not in document.regions:
            yield unknown(key, region, "region", document.regions)
        elif region not in holders:
            yield Problem(
                key,
                repr(region),
                f"is in zone {document.regions[region].zone!r}, outside the namespace's residency; "
                f"use regions of {', '.join(holders)}",
            )


def _use(document: TopologyDocument, key: str, service: ServiceDocument) -> Iterator[Problem]:
    if not service.namespaces:
        return
    if service.kind == "origin":
        yield Problem(
            f"{key}.namespaces", repr(service.namespaces), "an origin has no part in the state; remove it"
        )
        return
    if len(set(service.namespaces)) != len(service.namespaces):
        yield Problem(f"{key}.namespaces", repr(service.namespaces), "names a namespace twice")
    used = [name for name in service.namespaces if name in document.namespaces]
    for name in service.namespaces:
        if name not in document.namespaces:
            yield unknown(f"{key}.namespaces", name, "namespace", document.namespaces)
    placed = service.regions if service.regions is not None else list(document.regions)
    wanted = [
        name
        for name in placed
        if name in document.regions
        and (service.residency is None or document.regions[name].zone in service.residency)
    ]
    left = set(wanted).intersection(*(_holders(document, document.namespaces[name]) for name in used))
    if wanted and used and not left:
        data = "; ".join(
            f"{name} in {', '.join(_holders(document, document.namespaces[name])) or 'no region'}"
            for name in used
        )
        yield Problem(
            f"{key}.namespaces",
            repr(service.namespaces),
            f"no region is left to run the service: it may run in {', '.join(wanted)}, and has its data as follows: "
            f"{data}; let the residencies (and regions) of service and namespaces share a region",
        )


def _holders(document: TopologyDocument, namespace: NamespaceDocument) -> list[str]:
    zones = namespace.residency if namespace.residency is not None else list(document.zones)
    return [name for name, region in document.regions.items() if region.zone in zones]


def _within(namespace: NamespaceDocument, holders: Sequence[str]) -> str:
    """In words: how many regions there are within its residency."""
    where = "the topology" if namespace.residency is None else f"residency {', '.join(namespace.residency)}"
    count = "1 region" if len(holders) == 1 else f"{len(holders)} regions"
    return f"{where} has {count}" + (f" ({', '.join(holders)})" if holders else "")
