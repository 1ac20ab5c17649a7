"""Who listens where and talks to whom: the files that the processes of a run are started with. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from atoll.cell.links.config import LinksConfig, RelayConfig
from atoll.cell.paths import RegionPaths, RunPaths
from atoll.cell.ports import ENTRY, LOOPBACK, LinkPort, PortPlan, RegionPorts
from atoll.cell.processes import ProcessId
from atoll.state.wiring import StateWiring, wire_namespaces
from atoll.topology import Stores, Topology
from atoll.topology.wiring import (
    Address,
    GatewayWiring,
    PeerGateway,
    ServeAccess,
    StoreAccess,
    WiringError,
    write_private,
)


@dataclass(frozen=True, slots=True)
class WardenConfig:
    """What a warden is started with."""

    run: str
    """The mark of the run's processes."""
    region: str
    root: Path
    """The run's folder, `RunPaths.root`."""
    topology_file: Path
    regions: int | None
    """Only the first so many regions of the topology take part."""
    ports: RegionPorts
    agents: Mapping[str, Address]
    """Other region -> where this one finds its agent: this side of the link. A region that is being removed is still
    here when it is no member any more.
    """
    ray_folder: Path
    supervisor: ProcessId
    """When this process is gone, the warden ends its region and itself."""
    environment: Mapping[str, str]
    """What the region's processes get of the environment, marks included."""
    members: tuple[str, ...] | None = None
    """All regions that take part now: a topology with others is not taken up. None: whatever it has."""
    restore: bool = False
    """Whether Serve gets the last good set, as after a crash, instead of what the topology says now."""


_WARDEN: TypeAdapter[WardenConfig] = TypeAdapter(WardenConfig)


def read_warden_config(path: Path) -> WardenConfig:
    """Raises `WiringError` if the file is missing or not of this form."""
    try:
        return _WARDEN.validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise WiringError(
            f"{path} is no warden configuration: {error}; start wardens with `atoll up`"
        ) from error


def write_warden_config(path: Path, config: WardenConfig) -> None:
    write_private(path, _WARDEN.dump_json(config, indent=1))


def links_config(topology: Topology, plan: PortPlan, paths: RunPaths) -> LinksConfig:
    """One relay from every source (the entry included) to every gateway elsewhere, and from every region to every agent
    elsewhere.
    """
    return LinksConfig(
        control=paths.links_socket,
        relays=tuple(_relay(topology, plan, link) for link in plan.links),
    )


def _relay(topology: Topology, plan: PortPlan, link: LinkPort) -> RelayConfig:
    ports = plan.regions[link.destination]
    target = ports.agent if link.gateway is None else ports.gateways[link.gateway - 1].peer
    # The entry stands where the client stands: the way from there is the client's own, so no latency is added.
    path = None if link.source == ENTRY else topology.link(link.source, link.destination)
    return RelayConfig(
        source=link.source,
        destination=link.destination,
        listen_port=link.address.port,
        target_host=target.host,
        target_port=target.port,
        rtt_ms=path.rtt_ms if path else 0.0,
        jitter_ms=path.jitter_ms if path else 0.0,
    )


def gateway_wiring(
    region: str,
    number: int,
    topology_file: Path,
    plan: PortPlan,
    paths: RunPaths,
    regions: int | None = None,
    stores: Stores | None = None,
) -> GatewayWiring:
    """What gateway ``number`` (from 1) of a region is started with; `regions` is how many take part, None is all.

    `stores` are the region's own of the topology; None is the embedded ones.
    """
    ports = plan.regions[region]
    own = ports.gateways[number - 1]
    files = paths.region(region)
    return GatewayWiring(
        name=gateway_name(region, number),
        region=region,
        topology_file=topology_file,
        public=own.public,
        peer=own.peer,
        admin=own.admin,
        peers=_peers(region, plan),
        public_urls=_public_urls(plan),
        serve=ServeAccess(
            dashboard=dashboard(ports),
            token_file=files.ray_token,
            replica_host=LOOPBACK,
            proxy=Address(LOOPBACK, ports.ray.serve_http),
        ),
        state_dir=files.gateway_state(number),
        peer_token_file=paths.peer_token,
        admin_token_file=paths.admin_token,
        drain_file=files.drain,
        regions=regions,
        siblings=tuple(
            PeerGateway(region, gateway_name(region, other), gateway.peer)
            for other, gateway in enumerate(ports.gateways, 1)
            if other != number
        ),
        cache=cache_access(stores or Stores(), ports, files),
        state=state_access(stores or Stores(), ports, files),
        agent_socket=files.agent_socket,
    )


def entry_wiring(
    topology_file: Path, plan: PortPlan, paths: RunPaths, regions: int | None = None
) -> GatewayWiring:
    """What the entry is started with."""
    return GatewayWiring(
        name=ENTRY,
        region=None,
        topology_file=topology_file,
        public=plan.entry_public,
        peer=None,
        admin=plan.entry_admin,
        peers=_peers(ENTRY, plan),
        public_urls=_public_urls(plan),
        serve=None,
        state_dir=paths.entry_state,
        peer_token_file=paths.peer_token,
        admin_token_file=paths.admin_token,
        drain_file=None,
        regions=regions,
    )


def state_wiring(config: WardenConfig, topology: Topology) -> StateWiring:
    """How the replicas of a warden's region find their state under a topology."""
    run = RunPaths(config.root)
    files = run.region(config.region)
    region = topology.regions[config.region]
    return StateWiring(
        region=config.region,
        zone=region.zone,
        cache=cache_access(region.stores, config.ports, files),
        state=state_access(region.stores, config.ports, files),
        agent=config.ports.agent,
        agent_token_file=run.agent_token,
        session_key_file=run.session_key,
        namespaces=wire_namespaces(topology),
        revision=topology.revision,
        digest=topology.digest,
    )


def cache_access(stores: Stores, ports: RegionPorts, files: RegionPaths) -> StoreAccess:
    """How a region's own processes reach its cache store."""
    return _access(stores.cache, StoreAccess(None, ports.cache, files.cache_password))


def state_access(stores: Stores, ports: RegionPorts, files: RegionPaths) -> StoreAccess:
    """How a region's own processes reach its state store."""
    return _access(stores.state, StoreAccess(None, ports.state, files.state_password))


def gateway_name(region: str, number: int) -> str:
    return f"{region}/gateway-{number}"


def dashboard(ports: RegionPorts) -> Address:
    """Where Ray's dashboard of a region listens."""
    return Address(LOOPBACK, ports.ray.dashboard)


def _peers(source: str, plan: PortPlan) -> tuple[PeerGateway, ...]:
    return tuple(
        PeerGateway(link.destination, gateway_name(link.destination, link.gateway), link.address)
        for link in plan.links_of(source)
        if link.gateway is not None
    )


def _public_urls(plan: PortPlan) -> dict[str, tuple[str, ...]]:
    return {
        name: tuple(gateway.public.url for gateway in ports.gateways) for name, ports in plan.regions.items()
    }


def _access(url: str | None, embedded: StoreAccess) -> StoreAccess:
    return embedded if url is None else StoreAccess(url=url)
