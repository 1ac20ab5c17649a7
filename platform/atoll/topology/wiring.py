"""Where the processes of a deployment listen and whom they talk to.

The topology says what exists; the wiring says at which address. Whoever starts a gateway (the warden on one machine,
an instance start-up script elsewhere) writes one wiring file for it, readable by its owner alone, and passes its path.
"""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import TypeAlias

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

    @property
    def loopback(self) -> bool:
        """Whether what is sent there stays on this machine. Of names that can be said of ``localhost`` alone."""
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"

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
    """How to reach a store: an embedded one by address and password file; another by its URL, and the file if the
    password is not in the URL.
    """

    url: str | None = None
    address: Address | None = None
    password_file: Path | None = None


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """What a cell's processes prove their region with to other cells, and know those by: files in PEM, which are
    replaced when the certificate is renewed.
    """

    cert: Path
    key: Path
    ca: Path
    """Certificates of authorities: one, and two of them while one takes the other's place."""
    domain: str
    """Names in certificates are ``gateways.REGION.DOMAIN`` and ``agent.REGION.DOMAIN``."""


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
    tls: TlsFiles | None = None
    """For the peer listener and the way to peers; None on one machine alone."""

    @property
    def reachable(self) -> frozenset[str]:
        """All regions that there is an address for, the own one included."""
        own = () if self.region is None else (self.region,)
        return frozenset((*own, *(peer.region for peer in self.peers)))

    def check(self) -> None:
        """Raises `WiringError` if a token would cross a network in clear."""
        if self.tls is not None and self.region is None:
            raise WiringError(f"{self.name} has no region, so no certificate speaks for it: leave out `tls`")
        among = (*self.peers, *self.siblings)
        own = () if self.peer is None else (self.peer,)
        check_private(self.tls, self.name, (*own, *(peer.address for peer in among)))


class WiringError(Exception):
    """A wiring file that can't be used; says what is wrong and where."""


def check_private(tls: TlsFiles | None, who: str, addresses: Iterable[Address]) -> None:
    """What passes between cells leaves the machine with TLS alone. Raises `WiringError`."""
    if tls is None and (open_ := [address for address in addresses if not address.loopback]):
        raise WiringError(
            f"{who} would send its token in clear over a network, at {', '.join(map(str, open_))}: give its wiring "
            f"`tls` (certificate, key and CA as `atoll certificates` makes them), or use loopback addresses"
        )


_GATEWAY = TypeAdapter(GatewayWiring)


def read_gateway_wiring(path: Path) -> GatewayWiring:
    """Reads a gateway's wiring. Raises `WiringError` if the file is missing, not of this form, or not safe."""
    try:
        wiring = _GATEWAY.validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise WiringError(f"{path} is no gateway wiring: {error}; start gateways with `atoll up`") from error
    wiring.check()
    return wiring


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


FileStamp: TypeAlias = tuple[int, int, int]
"""Identity, size and time of change of a file: another stamp, another content."""


def file_stamp(path: Path) -> FileStamp | None:
    """None if the file is not there."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns
