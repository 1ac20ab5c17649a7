"""A topology made ready for the hot path: what would otherwise be looked up or parsed for every request."""

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass

from atoll.topology import Service, Topology

CALL = b"/-/call/"
"""Where services call each other by name, on the public listener."""

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True, slots=True)
class Table:
    """One accepted topology and what follows from it. Replaced as a whole when the topology changes."""

    topology: Topology
    by_segment: Mapping[bytes, tuple[tuple[bytes, Service], ...]]
    """First path segment -> route prefixes that begin with it."""
    trusted: tuple[Network, ...]

    def service_of(self, path: bytes) -> Service | None:
        """The service that a raw request path belongs to: its prefix alone, or followed by a slash."""
        slash = path.find(b"/", 1)
        for prefix, service in self.by_segment.get(path if slash < 0 else path[:slash], ()):
            if path.startswith(prefix) and path[len(prefix) : len(prefix) + 1] in (b"", b"/"):
                return service
        return None

    def path_of_call(self, path: bytes) -> bytes | None:
        """The path that ``/-/call/SERVICE/REST`` stands for: services call each other by name. None if there is no such
        service.
        """
        name, slash, rest = path.removeprefix(CALL).partition(b"/")
        service = self.topology.services.get(name.decode("latin-1"))
        return None if service is None else service.route_prefix.encode() + slash + rest

    def is_trusted_proxy(self, address: str) -> bool:
        """Whether forwarding headers from this address are believed."""
        try:
            parsed = ipaddress.ip_address(address)
        except ValueError:
            return False
        return any(parsed in network for network in self.trusted)


def compile_table(topology: Topology) -> Table:
    """Makes a topology ready for the hot path."""
    by_segment: dict[bytes, tuple[tuple[bytes, Service], ...]] = {}
    for service in topology.services.values():
        prefix = service.route_prefix.encode("ascii")
        slash = prefix.find(b"/", 1)
        segment = prefix if slash < 0 else prefix[:slash]
        by_segment[segment] = (*by_segment.get(segment, ()), (prefix, service))
    return Table(
        topology=topology,
        by_segment=by_segment,
        trusted=tuple(ipaddress.ip_network(network) for network in topology.geo.trusted_proxies),
    )
