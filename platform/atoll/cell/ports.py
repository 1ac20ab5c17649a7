"""Which port is whose: a pure allocation from a topology and a base, so that two checkouts never meet.

Without a base the entry is at 8080, gateways at 8081, 8082, ... (the first gateway of every region, then the second
ones) and all else in blocks from 20000. With a base B they are at B, B+1, ... and the blocks start at B. The first
block of 500 is the supervisor's, then one a region. All is below 32768, where Linux's ephemeral ports begin.

A region that is added while others run takes the lowest ports that are free, and moves none of theirs.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from itertools import count, permutations

from atoll.cell.ray_head import PortRange, RayPorts
from atoll.topology import Topology
from atoll.topology.wiring import Address

ENTRY = "entry"
"""What stands for the entry where else a region's name is."""
LOOPBACK = "127.0.0.1"
ANY = "0.0.0.0"  # noqa: S104  Ray binds it, and a port taken there is taken everywhere

DEFAULT_ENTRY = 8080
DEFAULT_BLOCKS = 20000
BLOCK = 500
END = 32768
"""The first of Linux's ephemeral ports (``net.ipv4.ip_local_port_range``), where any program may sit."""

ENTRY_ADMIN = 99
LINKS = 100
GATEWAYS_BEFORE = 99
"""With a base, gateways have the ports up to the entry's admin port."""

# Within a region's block.
STORES = 30
AGENT = 32
GATEWAYS = 40
INGRESS_HTTP = (60, 139)
INGRESS_GRPC = (140, 219)
WORKERS = (220, 499)


class PortsError(Exception):
    """Ports that can't be given or used; says which, why, and what to do."""


@dataclass(frozen=True, slots=True)
class Listener:
    """One port of the plan and what it is for."""

    address: Address
    purpose: str


@dataclass(frozen=True, slots=True)
class GatewayPorts:
    """The three listeners of a gateway."""

    public: Address
    peer: Address
    admin: Address


@dataclass(frozen=True, slots=True)
class RegionPorts:
    """The ports of one region."""

    gateways: tuple[GatewayPorts, ...]
    cache: Address
    state: Address
    agent: Address
    """Where the agents of the other regions find this one's, and the region's own replicas."""
    ray: RayPorts

    @property
    def block(self) -> int:
        """The first port of the region's block."""
        return self.ray.gcs


@dataclass(frozen=True, slots=True)
class LinkPort:
    """Where ``source`` (a region, or ``entry``) finds one process of ``destination``."""

    source: str
    destination: str
    gateway: int | None
    """The gateway of this number (from 1); None is the agent, which the entry has no link to."""
    address: Address

    @property
    def target(self) -> str:
        """The process, as the destination's cell names it."""
        return "agent" if self.gateway is None else f"gateway-{self.gateway}"


@dataclass(frozen=True, slots=True)
class PortPlan:
    """Every port of a run."""

    entry_public: Address
    entry_admin: Address
    links: tuple[LinkPort, ...]
    regions: Mapping[str, RegionPorts]

    @property
    def admins(self) -> tuple[Address, ...]:
        """The admin listeners of the entry and of all gateways."""
        gateways = (gateway for ports in self.regions.values() for gateway in ports.gateways)
        return (self.entry_admin, *(gateway.admin for gateway in gateways))

    def links_of(self, source: str) -> tuple[LinkPort, ...]:
        return tuple(link for link in self.links if link.source == source)

    def agents_of(self, source: str) -> dict[str, Address]:
        """Region -> where ``source`` finds the agent there."""
        return {link.destination: link.address for link in self.links_of(source) if link.gateway is None}

    def listeners(self, topology: Topology) -> tuple[Listener, ...]:
        """Every listener that the run will open at a port of the plan's choosing, ranges of Ray's workers excepted
        (Ray takes another one of the range where one is taken). Embedded stores only where they are used.
        """
        found = [
            Listener(self.entry_public, "the entry"),
            Listener(self.entry_admin, "the entry's admin listener"),
        ]
        found += [
            Listener(link.address, f"the link {link.source} -> {link.destination}/{link.target}")
            for link in self.links
        ]
        for name, ports in self.regions.items():
            for number, gateway in enumerate(ports.gateways, 1):
                found.append(Listener(gateway.public, f"{name}/gateway-{number}"))
                found.append(Listener(gateway.peer, f"the peer listener of {name}/gateway-{number}"))
                found.append(Listener(gateway.admin, f"the admin listener of {name}/gateway-{number}"))
            stores = topology.regions[name].stores
            if stores.cache is None:
                found.append(Listener(ports.cache, f"{name}'s cache store"))
            if stores.state is None:
                found.append(Listener(ports.state, f"{name}'s state store"))
            found.append(Listener(ports.agent, f"{name}'s agent"))
            found += _ray_listeners(name, ports.ray)
        return tuple(found)


def plan_ports(topology: Topology, base: int | None, kept: PortPlan | None = None) -> PortPlan:
    """Gives every listener its port. Regions that `kept` has, and links between them, stay where they are in it.

    Raises `PortsError` if the base is out of range or the topology doesn't fit.
    """
    entry = DEFAULT_ENTRY if base is None else base
    blocks = DEFAULT_BLOCKS if base is None else base
    if base is not None and base < 1024:
        raise PortsError(f"ATOLL_PORT_BASE={base}: ports below 1024 need privileges; use one from 1024 up")
    stay = (
        {}
        if kept is None
        else {name: kept.regions[name] for name in topology.regions if name in kept.regions}
    )
    free = _free({ports.block for ports in stay.values()}, blocks + BLOCK, BLOCK)
    starts = {name: stay[name].block if name in stay else next(free) for name in topology.regions}
    end = max(starts.values()) + BLOCK
    if end > END:
        most = END - BLOCK * (1 + len(topology.regions))
        raise PortsError(
            f"{len(topology.regions)} regions need the ports {blocks} to {end - 1}, but Atoll stays below {END}, where "
            f"any program may be given a port; set ATOLL_PORT_BASE to {most} at most"
            + ("" if most >= 1024 else ", with fewer regions (--regions N)")
        )
    gateways, regions = sum(region.gateways for region in topology.regions.values()), len(topology.regions)
    if gateways >= GATEWAYS_BEFORE or gateways * regions + regions * (regions - 1) > BLOCK - LINKS:
        raise PortsError(
            f"{gateways} gateways in {regions} regions don't fit one port block; use fewer (--regions N)"
        )
    public = _public_ports(topology, stay, entry + 1)
    planned = {
        name: stay[name] if name in stay else _region(starts[name], public[name]) for name in topology.regions
    }
    return PortPlan(
        entry_public=_local(entry),
        entry_admin=_local(blocks + ENTRY_ADMIN),
        links=_links(planned, () if kept is None else kept.links, blocks + LINKS),
        regions=planned,
    )


def _local(port: int) -> Address:
    return Address(LOOPBACK, port)


def _free(taken: Collection[int], first: int, step: int = 1) -> Iterator[int]:
    return (port for port in count(first, step) if port not in taken)


def _public_ports(topology: Topology, stay: Mapping[str, RegionPorts], first: int) -> dict[str, list[int]]:
    """Of the regions that don't stay."""
    free = _free({gateway.public.port for region in stay.values() for gateway in region.gateways}, first)
    ports: dict[str, list[int]] = {name: [] for name in topology.regions if name not in stay}
    for number in range(max(region.gateways for region in topology.regions.values())):
        for name, found in ports.items():
            if number < topology.regions[name].gateways:
                found.append(next(free))
    return ports


def _links(
    regions: Mapping[str, RegionPorts], kept: Collection[LinkPort], first: int
) -> tuple[LinkPort, ...]:
    gateways = [
        (source, name, number)
        for source in (ENTRY, *regions)
        for name, ports in regions.items()
        for number in range(1, len(ports.gateways) + 1)
        if name != source
    ]
    agents = [(source, name, None) for source, name in permutations(regions, 2)]
    wanted = (*gateways, *agents)
    stay = {
        key: link.address for link in kept if (key := (link.source, link.destination, link.gateway)) in wanted
    }
    free = _free({address.port for address in stay.values()}, first)
    return tuple(LinkPort(*key, stay[key] if key in stay else _local(next(free))) for key in wanted)


def _region(block: int, public: list[int]) -> RegionPorts:
    return RegionPorts(
        gateways=tuple(
            GatewayPorts(
                _local(port), _local(block + GATEWAYS + 2 * index), _local(block + GATEWAYS + 2 * index + 1)
            )
            for index, port in enumerate(public)
        ),
        cache=_local(block + STORES),
        state=_local(block + STORES + 1),
        agent=_local(block + AGENT),
        ray=RayPorts(
            gcs=block,
            dashboard=block + 1,
            dashboard_agent_http=block + 2,
            dashboard_agent_grpc=block + 3,
            metrics_export=block + 4,
            runtime_env_agent=block + 5,
            dashboard_metrics=block + 6,
            node_manager=block + 7,
            object_manager=block + 8,
            serve_http=block + 9,
            serve_grpc=block + 10,
            workers=_shifted(WORKERS, block),
            ingress_http=_shifted(INGRESS_HTTP, block),
            ingress_grpc=_shifted(INGRESS_GRPC, block),
        ),
    )


def _shifted(ports: tuple[int, int], block: int) -> PortRange:
    return PortRange(block + ports[0], block + ports[1])


def _ray_listeners(region: str, ports: RayPorts) -> list[Listener]:
    single = {
        "GCS": ports.gcs,
        "dashboard": ports.dashboard,
        "dashboard agent": ports.dashboard_agent_http,
        "dashboard agent (gRPC)": ports.dashboard_agent_grpc,
        "metrics export": ports.metrics_export,
        "runtime environment agent": ports.runtime_env_agent,
        "dashboard metrics": ports.dashboard_metrics,
        "node manager": ports.node_manager,
        "object manager": ports.object_manager,
        "Serve proxy": ports.serve_http,
        "Serve proxy (gRPC)": ports.serve_grpc,
    }
    return [Listener(Address(ANY, port), f"{region}'s Ray {what}") for what, port in single.items()]
