"""Where a request may be executed: what the service says, what the namespaces that it uses say, and what the client's
place says, all at once.
"""

from dataclasses import dataclass
from functools import reduce

from atoll.topology import Service, Topology, Transit


@dataclass(frozen=True, slots=True)
class Restriction:
    """One source of residency and the zones that it leaves open."""

    source: str
    """``service <name>``, ``namespace <name>`` or ``country <ISO code>``."""
    zones: frozenset[str]


def restrictions(topology: Topology, service: Service, country: str | None) -> tuple[Restriction, ...]:
    """Everything that has a say in where a request of `service` from `country` may be executed.

    The service always has one, and so has each namespace that it uses. The client's country has one only if it belongs
    to a confined zone; an unknown country has none, so a service that must not depend on the place of its clients names
    its zones itself.
    """
    of_service = (
        Restriction(f"service {service.name}", service.residency),
        *(
            Restriction(f"namespace {name}", topology.namespaces[name].residency)
            for name in service.namespaces
        ),
    )
    zone = topology.zone_of_country(country)
    if zone is None or not zone.confined:
        return of_service
    return (*of_service, Restriction(f"country {country}", frozenset((zone.name,))))


def allowed_zones(topology: Topology, service: Service, country: str | None) -> frozenset[str]:
    """The zones in which a request of `service` from `country` may be executed: what all restrictions share.

    May be empty: then nothing may execute the request, and the client is told so. `country` is an ISO 3166-1
    alpha-2 code in capitals, None if unknown. The answer changes with its arguments alone, so it may be kept.
    """
    shares = (restriction.zones for restriction in restrictions(topology, service, country))
    return reduce(frozenset.intersection, shares)


def service_zones(topology: Topology, service: Service) -> frozenset[str]:
    """The zones in which requests of `service` may be executed, as far as that doesn't depend on the client's place."""
    return allowed_zones(topology, service, None)


def transit_zones(topology: Topology, service: Service, country: str | None) -> frozenset[str]:
    """The zones whose gateways may take such a request and pass it on, whether or not they may execute it."""
    if service.transit is Transit.FORWARD:
        return frozenset(topology.zones)
    return allowed_zones(topology, service, country)
