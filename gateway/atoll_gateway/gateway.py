"""One gateway, put together: its parts, and how a changed topology reaches them. Opens no socket and starts no task."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import TextIO

from atoll.clock import Clock
from atoll.geo.geoip import GeoIp
from atoll.geo.rtt import RoundTripModel
from atoll.telemetry.logs import AccessLog
from atoll.telemetry.metrics import GatewayMetrics
from atoll.telemetry.trace import Ids
from atoll.topology import Topology
from atoll.topology.wiring import Address, GatewayWiring, PeerGateway
from atoll_gateway.board import Board
from atoll_gateway.call_context import CallContexts
from atoll_gateway.drain import DrainFlag
from atoll_gateway.edge import Edge
from atoll_gateway.headers import write_head
from atoll_gateway.peers import Peers
from atoll_gateway.proxy import Proxy
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
    max_connections=512, connect_timeout_s=1.5, acquire_timeout_s=2.0, idle_timeout_s=60.0
)
"""Gateways keep idle connections for 75 s. A connect over a link costs two round trips, the greeting included."""


class Gateway:
    """The parts of one gateway."""

    def __init__(
        self, wiring: GatewayWiring, clock: Clock, chance: random.Random, access_log: TextIO | None
    ) -> None:
        """Raises `TopologyError`, `TokenError` or `CityFileError` if something that it stands on can't be used."""
        self.topology_file = TopologyFile(
            wiring.topology_file, wiring.state_dir / "topology.toml", limit=wiring.regions
        )
        topology = self.topology_file.current
        table = compile_table(topology)
        self.wiring = wiring
        self.clock = clock
        self.topology = topology
        self.peer_token = Token.read(wiring.peer_token_file)
        self.admin_token = Token.read(wiring.admin_token_file)
        self.metrics = GatewayMetrics()
        self.metrics.topology_taken(topology.revision)
        self.access_log = AccessLog(_writer(access_log), clock)
        self.draining = DrainFlag(wiring.drain_file, self._changed)
        self.geo = GeoIp(city_file=Path(topology.geo.city_database) if topology.geo.city_database else None)
        self.peers = Peers(wiring.peers, self._to_peer, clock, chance, topology.health, self._changed)
        self.replicas = Replicas(self._to_replica, clock, chance, self._changed)
        if wiring.serve is not None:
            self.replicas.use_proxy(wiring.serve.proxy)
        self.board = Board(
            wiring.region, topology, self.peers, self.replicas, lambda: bool(self.draining), RoundTripModel()
        )
        ids = Ids()
        contexts = CallContexts(self.peer_token.derive(b"atoll call context"), clock)
        self.edge = Edge(table, self.geo, contexts, clock, ids)
        head = RequestHead(ids, contexts)
        self.stack = build_stack(
            wiring.region, self.board, self.peers, self.replicas, clock, chance, head, self.metrics
        )
        self.stack.use(topology)
        self.proxy = Proxy(self.edge, self.stack, clock, self.metrics, self.access_log)
        self.proxy.use(topology, wiring.region)

    def use(self, topology: Topology) -> None:
        """Takes up a changed topology. Requests under way finish by the old one."""
        self.topology = topology
        self.edge.use(compile_table(topology))
        self.board.use(topology)
        self.stack.use(topology)
        self.proxy.use(topology, self.wiring.region)
        self.metrics.topology_taken(topology.revision)

    def poll(self) -> None:
        """Looks at what tells of itself only when asked: the topology file, the drain file, ejections that ended."""
        self.topology_file.poll(self.use)
        self.draining.poll()
        self.board.changed()

    def close(self) -> None:
        """Closes every connection to replicas and peers."""
        self.peers.close()
        self.replicas.close()
        self.geo.close()

    def _changed(self) -> None:
        self.board.changed()

    def _to_replica(self, address: Address) -> Upstream:
        return Upstream(address.host, address.port, settings=REPLICA_POOL, clock=self.clock)

    def _to_peer(self, peer: PeerGateway) -> Upstream:
        hello = write_head(
            "POST",
            b"/-/peer/hello",
            [
                (b"host", b"peer"),
                (b"authorization", self.peer_token.bearer()),
                (b"atoll-peer", self.wiring.name.encode()),
                (b"content-length", b"0"),
            ],
        )
        return Upstream(
            peer.address.host, peer.address.port, settings=PEER_POOL, greeting=lambda: hello, clock=self.clock
        )


def _writer(stream: TextIO | None) -> Callable[[bytes], object] | None:
    if stream is None:
        return None

    def write(lines: bytes) -> None:
        stream.write(lines.decode("ascii"))
        stream.flush()

    return write
