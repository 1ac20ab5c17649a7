"""One gateway, put together: its parts, and how a changed topology reaches them. Opens no socket and starts no task."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import TextIO

from atoll.clock import Clock
from atoll.geo.geoip import GeoIp
from atoll.geo.rtt import RoundTripModel
from atoll.stores import open_store
from atoll.telemetry.logs import AccessLog
from atoll.telemetry.metrics import GatewayMetrics
from atoll.telemetry.trace import Ids
from atoll.tls import CellTls, Role, TlsStatistics
from atoll.topology import ServiceKind, Topology
from atoll.topology.wiring import Address, GatewayWiring, PeerGateway
from atoll_gateway.board import Board
from atoll_gateway.call_context import CallContexts
from atoll_gateway.dispatch import PEER
from atoll_gateway.drain import DrainFlag
from atoll_gateway.edge import Edge
from atoll_gateway.headers import write_head
from atoll_gateway.keys.homes import KeyHomes
from atoll_gateway.keys.settling import Settling
from atoll_gateway.keys.store import StoreKeys
from atoll_gateway.liveness import Liveness
from atoll_gateway.peers import Peers
from atoll_gateway.proxy import Proxy
from atoll_gateway.rate_limits import RateLimits
from atoll_gateway.reload import TopologyFile
from atoll_gateway.replicas import Replicas
from atoll_gateway.request_head import RequestHead
from atoll_gateway.secret import Token
from atoll_gateway.stack import build_stack
from atoll_gateway.table import compile_table
from atoll_gateway.upstream import PoolSettings, Upstream

REPLICA_POOL = PoolSettings(max_connections=512, connect_timeout_s=1.0, idle_timeout_s=30.0)
"""Serve keeps idle connections for 90 s (its `keep_alive_timeout_s` as Atoll deploys it)."""

PEER_POOL = PoolSettings(
    max_connections=512,
    connect_timeout_s=1.5,
    acquire_timeout_s=2.0,
    idle_timeout_s=60.0,
    header_bytes=80 * 1024,  # a replica's longest head, and what the gateway there adds to it
)
"""Gateways keep idle connections for 75 s. A connect over a link costs two round trips, the greeting included; with TLS
three.
"""


class Gateway:
    """The parts of one gateway."""

    def __init__(
        self, wiring: GatewayWiring, clock: Clock, chance: random.Random, access_log: TextIO | None
    ) -> None:
        """Raises `TopologyError`, `TokenError`, `SecretError` or `CityFileError` if what it stands on can't be used."""
        self.topology_file = TopologyFile(
            wiring.topology_file,
            wiring.state_dir / "topology.toml",
            limit=wiring.regions,
            running=wiring.reachable,
        )
        topology = self.topology_file.current
        table = compile_table(topology)
        self.wiring = wiring
        self.clock = clock
        self.topology = topology
        self.peer_token = Token.read(wiring.peer_token_file)
        self.admin_token = Token.read(wiring.admin_token_file)
        self.tls = _tls(wiring, clock)
        self.metrics = GatewayMetrics()
        self.metrics.topology_taken(topology.revision)
        self.access_log = AccessLog(_writer(access_log), clock)
        self.draining = DrainFlag(wiring.drain_file, self._changed)
        self.geo = GeoIp(city_file=Path(topology.geo.city_database) if topology.geo.city_database else None)
        self.peers = Peers(
            wiring.peers,
            self._to_peer,
            clock,
            chance,
            topology.health,
            self._changed,
            siblings=wiring.siblings,
            outlier=topology.outlier,
            expected_s=self._expected_s,
        )
        self.replicas = Replicas(self._to_replica, clock, chance, self._changed, topology.outlier)
        self.liveness = Liveness(self.replicas, self._to_replica, clock, topology.outlier)
        if wiring.serve is not None:
            self.replicas.use_proxy(wiring.serve.proxy)
        self.board = Board(
            wiring.region,
            topology,
            self.peers,
            self.replicas,
            lambda: bool(self.draining),
            RoundTripModel(),
            clock,
            lambda service, region: self.stack.retry.behind(service, region),  # noqa: PLW0108  made further down
        )
        self.replicas.use_origins(_origins(topology, wiring.region))
        ids = Ids()
        contexts = CallContexts(self.peer_token.derive(b"atoll call context"), clock)
        self.edge = Edge(table, self.geo, contexts, clock, ids)
        head = RequestHead(ids, contexts)
        self.keys = None if wiring.state is None else StoreKeys(open_store(wiring.state, retries=1))
        self.homes = KeyHomes(wiring.region, topology, self.board, self.peers, self.keys)
        self.settling = Settling(clock, chance)
        self.rate_limits = RateLimits(clock, None if wiring.cache is None else open_store(wiring.cache))
        self.stack = build_stack(
            wiring.name,
            wiring.region,
            self.board,
            self.peers,
            self.replicas,
            clock,
            chance,
            head,
            self.metrics,
            self.homes,
            self.settling,
            self.rate_limits,
        )
        self.stack.use(topology)
        self.proxy = Proxy(self.edge, self.stack.first, clock, self.metrics, self.access_log)
        self.proxy.use(topology, wiring.region)

    def use(self, topology: Topology) -> None:
        """Takes up a changed topology. Requests under way finish by the old one."""
        self.topology = topology
        self.edge.use(compile_table(topology))
        self.peers.use(
            topology.outlier, [peer for peer in self.wiring.peers if peer.region in topology.regions]
        )
        self.board.use(topology)
        self.replicas.use(topology.outlier)
        self.replicas.use_origins(_origins(topology, self.wiring.region))
        self.liveness.use(topology.outlier)
        self.stack.use(topology)
        self.proxy.use(topology, self.wiring.region)
        self.metrics.topology_taken(topology.revision)
        self.metrics.peers_are_in(topology.regions)

    def rewire(self, wiring: GatewayWiring) -> None:
        """Takes up the addresses of regions that came, and forgets those of regions that are gone: with the topology
        that says so, at the next `poll`. Siblings come and go at once; the gateway's own addresses stay.
        """
        self.wiring = wiring
        self.peers.use_siblings(wiring.siblings)
        self.topology_file.rewire(wiring.topology_file, wiring.reachable, wiring.regions)

    def poll(self) -> None:
        """Looks at what tells of itself only when asked: topology and drain file, ended ejections, capacities."""
        self.topology_file.poll(self.use)
        self.draining.poll()
        if self.tls is not None:
            self.tls.poll()
        self.board.changed()
        self.stack.regions.poll()

    @property
    def certificate(self) -> TlsStatistics | None:
        """What it shows other cells; None without TLS."""
        return None if self.tls is None else self.tls.statistics()

    def close(self) -> None:
        """Closes every connection to replicas and peers, and ends what still runs for clients that are gone."""
        self.settling.close()
        self.peers.close()
        self.replicas.close()
        self.geo.close()

    async def close_stores(self) -> None:
        """Closes every connection to the region's stores."""
        if self.keys is not None:
            await self.keys.close()

    def _changed(self) -> None:
        self.board.changed()

    def _expected_s(self, region: str) -> float | None:
        """How long a round trip to a region should take; from an entry, which may stand anywhere, nobody knows."""
        own = self.wiring.region
        return None if own is None else self.topology.rtt_ms(own, region) / 1000

    def _to_replica(self, address: Address) -> Upstream:
        return Upstream(address.host, address.port, settings=REPLICA_POOL, clock=self.clock)

    def _to_peer(self, peer: PeerGateway) -> Upstream:
        hello = write_head(
            "POST",
            b"/-/peer/hello",
            [
                (b"host", b"peer"),
                (b"authorization", self.peer_token.bearer()),
                (PEER, self.wiring.name.encode()),
                (b"content-length", b"0"),
            ],
        )
        return Upstream(
            peer.address.host,
            peer.address.port,
            settings=PEER_POOL,
            greeting=lambda: hello,
            clock=self.clock,
            tls=None if self.tls is None else self.tls.calling(Role.GATEWAYS, peer.region),
        )


def _tls(wiring: GatewayWiring, clock: Clock) -> CellTls | None:
    if wiring.tls is None or wiring.region is None:
        return None
    return CellTls(wiring.tls, Role.GATEWAYS, wiring.region, clock)


def _origins(topology: Topology, region: str | None) -> dict[str, tuple[Address, ...]]:
    """Addresses in the own region of the services that are not on Ray."""
    return {
        service.name: tuple(Address.parse(address) for address in service.origins.get(region or "", ()))
        for service in topology.services.values()
        if service.kind is ServiceKind.ORIGIN
    }


def _writer(stream: TextIO | None) -> Callable[[bytes], object] | None:
    if stream is None:
        return None

    def write(lines: bytes) -> None:
        stream.write(lines.decode("ascii"))
        stream.flush()

    return write
