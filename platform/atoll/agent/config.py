"""What an agent is started with; written by the warden."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from atoll.topology import Topology, check_running, load
from atoll.topology.wiring import (
    Address,
    StoreAccess,
    TlsFiles,
    WiringError,
    check_private,
    write_private,
)


@dataclass(frozen=True, slots=True)
class AgentConfig:
    """Where the agent finds its cell, its peers and what it shares with them."""

    region: str
    socket: Path
    gateways: Mapping[str, Address]
    """Name -> admin listener."""
    admin_token_file: Path
    dashboard: Address
    ray_token_file: Path
    cache: StoreAccess
    state: StoreAccess
    state_marker: Path
    """Which store is the region's (`atoll.state.marker`)."""
    listen: Address
    """For other agents and for the region's replicas."""
    peers: Mapping[str, Address]
    """Other region -> where this side of the link to its agent begins."""
    agent_token_file: Path
    """What all agents, and those who may call them, show each other."""
    session_key_file: Path
    """What session tokens are signed with."""
    topology_file: Path
    regions: int | None = None
    """Only the topology's first so many regions are run; None means all."""
    members: tuple[str, ...] | None = None
    """The regions that take part now: a topology with others is not taken up. None: whatever it has."""
    kept_topology: Path | None = None
    """What is gone by if the topology can't be used when the agent starts."""
    tls: TlsFiles | None = None
    """For its listener and the way to its peers; None on one machine alone."""

    def check(self) -> None:
        """Raises `WiringError` if a token would cross a network in clear."""
        check_private(self.tls, f"{self.region}/agent", (self.listen, *self.peers.values()))


def load_topology(config: AgentConfig) -> Topology:
    """The topology as its file has it now. Raises `TopologyError`; `SuccessionError` if it is for other regions."""
    topology = load(config.topology_file, regions=config.regions)
    if config.members is not None:
        check_running(config.members, topology)
    return topology


_CONFIG: TypeAdapter[AgentConfig] = TypeAdapter(AgentConfig)


def read_agent_config(path: Path) -> AgentConfig:
    """Raises `WiringError` if the file is missing, not of this form, or not safe."""
    try:
        config = _CONFIG.validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise WiringError(
            f"{path} is no agent configuration: {error}; start agents with `atoll up`"
        ) from error
    config.check()
    return config


def write_agent_config(path: Path, config: AgentConfig) -> None:
    write_private(path, _CONFIG.dump_json(config, indent=1))
