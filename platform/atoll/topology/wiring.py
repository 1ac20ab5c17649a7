"""Where the processes of a deployment listen and whom they talk to.

The topology says what exists; the wiring says at which address. Whoever starts a gateway (the warden on one machine,
an instance start-up script elsewhere) writes one wiring file for it, readable by its owner alone, and passes its path.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError


@dataclass(frozen=True, slots=True)
class Address:
    """A TCP address."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def url(self) -> str:
        return f"http://{self}"

    @classmethod
    def parse(cls, text: str) -> "Address":
        """The reverse of `str`. Raises `ValueError` for anything else."""
        host, _, port = text.rpartition(":")
        return cls(host.removeprefix("[").removesuffix("]"), int(port))


@dataclass(frozen=True, slots=True)
class PeerGateway:
    """Another cell's gateway, at the address where this side of the link begins."""

    region: str
    name: str
    """``<region>/gateway-<n>``."""
    address: Address


@dataclass(frozen=True, slots=True)
class ServeAccess:
    """How to reach the region's Ray Serve."""

    dashboard: Address
    token_file: Path
    """Ray's authentication token."""
    replica_host: str | None
    """Where replicas listen, if not at the address that Serve's status names: on one machine they bind loopback."""
    proxy: Address
    """Serve's own proxy, the way to replicas while none is known by address."""


@dataclass(frozen=True, slots=True)
class StoreAccess:
    """How to reach a store: an embedded one by address and password file, another by its URL."""

    url: str | None = None
    address: Address | None = None
    password_file: Path | None = None


@dataclass(frozen=True, slots=True)
class GatewayWiring:
    """Everything that a gateway can't know from the topology. An entry has no region, no Serve and no peer listener."""

    name: str
    """``<region>/gateway-<n>``, or ``entry``."""
    region: str | None
    topology_file: Path
    public: Address
    peer: Address | None
    admin: Address
    peers: tuple[PeerGateway, ...]
    """Gateways of the other regions (for an entry: of all regions)."""
    public_urls: Mapping[str, tuple[str, ...]]
    """Region -> public addresses of its gateways, for the steering document."""
    serve: ServeAccess | None
    state_dir: Path
    """Where this gateway keeps what a restart should find: its table of replicas."""
    peer_token_file: Path
    admin_token_file: Path
    drain_file: Path | None
    """While this file exists, the region is draining."""
    regions: int | None = None
    """Only the topology's first so many regions are run; None means all."""
    siblings: tuple[PeerGateway, ...] = ()
    """The other gateways of the own region: asked for their load, never sent a request."""
    cache: StoreAccess | None = None
    """The region's cache store, where gateways of the region settle rate limits; None for an entry."""
    state: StoreAccess | None = None
    """The region's state store, where idempotency keys are kept; None for an entry."""
    agent_socket: Path | None = None
    """Where the region's agent tells its figures, which are among this gateway's metrics; None for an entry."""

    @property
    def reachable(self) -> frozenset[str]:
        """All regions that there is an address for, the own one included."""
        own = () if self.region is None else (self.region,)
        return frozenset((*own, *(peer.region for peer in self.peers)))


class WiringError(Exception):
    """A wiring file that can't be used; says what is wrong and where."""


_GATEWAY = TypeAdapter(GatewayWiring)


def read_gateway_wiring(path: Path) -> GatewayWiring:
    """Reads a gateway's wiring. Raises `WiringError` if the file is missing or not of this form."""
    try:
        return _GATEWAY.validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise WiringError(f"{path} is no gateway wiring: {error}; start gateways with `atoll up`") from error


def write_gateway_wiring(path: Path, wiring: GatewayWiring) -> None:
    """Writes a gateway's wiring, whole or not at all, readable by its owner alone."""
    write_private(path, _GATEWAY.dump_json(wiring, indent=1))


def write_private(path: Path, content: bytes) -> None:
    """Replaces a file atomically; the new one is readable and writable by its owner alone."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
