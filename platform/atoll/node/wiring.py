"""What the roles of a machine are started with, from its own file, the topology, and which gateways are there. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from atoll.agent.config import AgentConfig
from atoll.cell.processes import REGION_VARIABLE, RUN_VARIABLE
from atoll.cell.ray_head import GcsStore, RayHeadSettings
from atoll.node.config import NodeConfig
from atoll.node.files import NodeSecrets, RoleFiles
from atoll.serve.applications import ServeSettings
from atoll.state.wiring import STATE_VARIABLE, StateWiring, wire_namespaces
from atoll.topology import Addresses, Topology
from atoll.topology.wiring import (
    Address,
    GatewayWiring,
    PeerGateway,
    ServeAccess,
    StoreAccess,
    TlsFiles,
)

LOOPBACK = "127.0.0.1"
EVERYWHERE = "0.0.0.0"  # noqa: S104  replicas listen where Serve does, and each machine has another address
WITHOUT_HEAD_S = 900
"""How long workers and their replicas go on without the head: a machine in its place takes minutes to start."""
STORE_PORT = 6379


@dataclass(frozen=True, slots=True)
class GatewayAt:
    """A gateway of the own region, and where it listens."""

    name: str
    peer: Address
    admin: Address


class Node:
    """One machine as its roles see it."""

    def __init__(self, config: NodeConfig, topology: Topology) -> None:
        """The region is one of the topology, and all regions have addresses."""
        self.config = config
        self.topology = topology
        self.secrets = NodeSecrets(config.secrets)

    def files(self, role: str) -> RoleFiles:
        return RoleFiles(self.config.run / role, self.config.data / role)

    def environment(self, role: str, kept: Mapping[str, str]) -> dict[str, str]:
        """What a role's processes get: what is kept of the starter's, and the marks by which they are found again."""
        run = f"{self.config.run}/{role}"
        return {**kept, RUN_VARIABLE: run, REGION_VARIABLE: self.config.region}

    @property
    def state_marker(self) -> Path:
        """Beside the state store's data: state role and agent share it."""
        return self.config.data / "state-marker.json"

    @property
    def tls(self) -> TlsFiles | None:
        if self.config.domain is None:
            return None
        secrets = self.secrets
        return TlsFiles(secrets.certificate, secrets.key, secrets.authority, self.config.domain)

    @property
    def own(self) -> Addresses:
        """The own region's addresses."""
        return self._of(self.config.region)

    @property
    def gateway(self) -> GatewayAt:
        """The gateway of this machine."""
        return GatewayAt(
            name=f"{self.config.region}/gateway-{self.config.gateway}",
            peer=self.here(Address.parse(self.own.gateways).port),
            admin=self.here(self.config.ports.admin),
        )

    @property
    def dashboard(self) -> Address:
        return Address(self.own.head, self.config.ports.ray.dashboard)

    @property
    def cache(self) -> StoreAccess:
        return StoreAccess(url=self._store("cache"), password_file=self.secrets.cache_password)

    @property
    def state(self) -> StoreAccess:
        return StoreAccess(url=self._store("state"), password_file=self.secrets.state_password)

    @property
    def cache_here(self) -> Address:
        """Where this machine's cache store listens."""
        return self.here(urlsplit(self._store("cache")).port or STORE_PORT)

    @property
    def state_here(self) -> Address:
        return self.here(urlsplit(self._store("state")).port or STORE_PORT)

    @property
    def gcs_store(self) -> GcsStore:
        """Ray knows its password on a command line alone, so this one is for its own machine."""
        return GcsStore(Address(LOOPBACK, self.config.ports.gcs_store), self.secrets.gcs_password)

    def here(self, port: int) -> Address:
        return Address(self.config.address, port)

    def gateway_wiring(self, present: Iterable[GatewayAt]) -> GatewayWiring:
        """This machine's gateway; `present` are those that the region is known to have."""
        config, files, own = self.config, self.files("gateway"), self.gateway
        return GatewayWiring(
            name=own.name,
            region=config.region,
            topology_file=config.topology,
            public=self.here(config.ports.public),
            peer=own.peer,
            admin=own.admin,
            peers=tuple(
                PeerGateway(name, f"{name}/gateways", Address.parse(self._of(name).gateways))
                for name in self._others
            ),
            public_urls={name: (self._of(name).public,) for name in self.topology.regions},
            serve=ServeAccess(
                dashboard=self.dashboard,
                token_file=self.secrets.ray_token,
                replica_host=None,
                proxy=Address(self.own.head, config.ports.ray.serve_http),
            ),
            state_dir=files.data,
            peer_token_file=self.secrets.peer_token,
            admin_token_file=self.secrets.admin_token,
            drain_file=files.drain,
            siblings=tuple(
                PeerGateway(config.region, one.name, one.peer) for one in present if one.name != own.name
            ),
            cache=self.cache,
            state=self.state,
            tls=self.tls,
        )

    def agent_config(self, present: Iterable[GatewayAt]) -> AgentConfig:
        """The region's agent."""
        files = self.files("agent")
        return AgentConfig(
            region=self.config.region,
            socket=files.agent_socket,
            gateways={one.name: one.admin for one in present},
            admin_token_file=self.secrets.admin_token,
            dashboard=self.dashboard,
            ray_token_file=self.secrets.ray_token,
            cache=self.cache,
            state=self.state,
            state_marker=self.state_marker,
            listen=self.here(Address.parse(self.own.agent).port),
            peers={name: Address.parse(self._of(name).agent) for name in self._others},
            agent_token_file=self.secrets.agent_token,
            session_key_file=self.secrets.session_key,
            topology_file=self.config.topology,
            members=tuple(self.topology.regions),
            kept_topology=files.topology,
            tls=self.tls,
        )

    @property
    def state_wiring(self) -> StateWiring:
        """For replicas on this machine."""
        return StateWiring(
            region=self.config.region,
            zone=self.topology.regions[self.config.region].zone,
            cache=self.cache,
            state=self.state,
            agent=Address.parse(self.own.agent),
            agent_token_file=self.secrets.agent_token,
            session_key_file=self.secrets.session_key,
            namespaces=wire_namespaces(self.topology),
            revision=self.topology.revision,
            digest=self.topology.digest,
            tls=self.tls,
        )

    def ray_settings(self, role: str, cpus: int, kept: Mapping[str, str]) -> RayHeadSettings:
        """The Ray node of this machine: the head of the region, or one that joins it."""
        config, files = self.config, self.files(role)
        head = role == "head"
        return RayHeadSettings(
            region=config.region,
            run=f"{config.run}/{role}",
            ports=config.ports.ray,
            temp_dir=files.ray,
            token_file=self.secrets.ray_token,
            num_cpus=cpus,
            environment={
                **self.environment(role, kept),
                STATE_VARIABLE: str(files.state_wiring),
                "TMPDIR": str(files.ray),
            },
            address=config.address,
            head=None if head else self.own.head,
            gcs_store=self.gcs_store if head else None,
            absence_s=WITHOUT_HEAD_S,
        )

    @property
    def serve_settings(self) -> ServeSettings:
        """Services call each other through whichever gateway answers where other regions find them too."""
        ports = self.config.ports
        host = Address.parse(self.own.gateways).host
        return ServeSettings(
            http=Address(EVERYWHERE, ports.ray.serve_http),
            grpc_port=ports.ray.serve_grpc,
            gateways=(Address(host, ports.public).url,),
        )

    @property
    def _others(self) -> list[str]:
        return [name for name in self.topology.regions if name != self.config.region]

    def _of(self, region: str) -> Addresses:
        addresses = self.topology.regions[region].addresses
        assert addresses is not None
        return addresses

    def _store(self, kind: str) -> str:
        stores = self.topology.regions[self.config.region].stores
        url = stores.cache if kind == "cache" else stores.state
        assert url is not None
        return url
