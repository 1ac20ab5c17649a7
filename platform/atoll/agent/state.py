"""The state's part of an agent: replication with the other regions' agents, and strong registers."""

import asyncio
import logging
from collections.abc import Mapping
from random import Random

import httpx

from atoll.agent.config import AgentConfig, load_topology
from atoll.agent.invalidate import InvalidatingStore, Invalidator
from atoll.agent.peers import ASK, LOG, AgentPeers, LogChannel
from atoll.agent.session_store import SessionStore
from atoll.agent.strong import StrongService
from atoll.channel import Answerer, Channel, Remote, Wire
from atoll.channel.channel import Serve
from atoll.clock import Clock
from atoll.state.errors import StateError
from atoll.state.marker import ensure_marker
from atoll.state.replication import (
    DEFAULTS,
    Membership,
    PeerLost,
    ReplicationSettings,
    ReplicationStatistics,
    Replicator,
)
from atoll.state.strong.backend import StrongBackend
from atoll.state.strong.etcd import Etcd
from atoll.state.strong.registers import RegistersStatistics
from atoll.state.strong.valkey_acceptor import ValkeyAcceptor
from atoll.state.valkey_store import ValkeyStore
from atoll.stores import open_store
from atoll.tls import CellTls, Role, Serving, TlsStatistics
from atoll.topology import (
    Backend,
    Level,
    SuccessionError,
    Topology,
    TopologyError,
    check_namespaces,
)

LOOK_S = 1.0
"""How often files are looked at."""

log = logging.getLogger(__name__)


class StateAgent:
    """One region's. It may be killed and started at any point: all that it must remember is in the state store."""

    def __init__(
        self,
        config: AgentConfig,
        secret: bytes,
        topology: Topology,
        clock: Clock,
        chance: Random,
        settings: ReplicationSettings = DEFAULTS,
    ) -> None:
        """Raises `MarkerError`, `SecretError`."""
        self._config = config
        self._topology = topology
        self._seen = topology.digest
        self._client = open_store(
            config.state, retries=1
        )  # repeating a request to an acceptor changes nothing
        self._clock = clock
        self._http = httpx.AsyncClient(trust_env=False)
        self._etcds: dict[tuple[str, ...], Etcd] = {}
        """By where their members answer."""
        self._invalidator = Invalidator(config.cache, clock, chance)
        self._store = InvalidatingStore(
            open_store(config.state),
            open_store(config.state),
            config.region,
            self._invalidator.invalidations,
        )
        self._tls = None if config.tls is None else CellTls(config.tls, Role.AGENT, config.region, clock)
        self._peers = AgentPeers(config.region, config.peers, secret, self._tls)
        self._replicator = Replicator(
            config.region,
            ensure_marker(config.state_marker).identity,
            self._session_store,
            self._peers,
            membership_of(topology),
            clock,
            chance,
            settings,
        )
        self._strong = StrongService(
            config.region,
            f"{config.region}.{clock.wall() * 1000:.0f}",
            ValkeyAcceptor(self._client),
            self._peers,
            acceptors_of(topology),
            tuple(topology.regions),
            clock,
            chance,
            self._replicator.reaches,
            self._other_backends(topology),
        )

    @property
    def purposes(self) -> Mapping[str, Serve]:
        """What other agents and the region's replicas may connect for."""
        return {LOG: self._serve_log, "calls": Answerer({ASK: self._answer, **self._strong.methods})}

    @property
    def serving(self) -> Serving | None:
        """How their connections are secured; None on one machine alone."""
        return None if self._tls is None else self._tls.serving(lambda: self._topology.regions)

    @property
    def certificate(self) -> TlsStatistics | None:
        return None if self._tls is None else self._tls.statistics()

    @property
    def store(self) -> ValkeyStore:
        """The region's, for its figures and for operators."""
        return self._store

    @property
    def invalidator(self) -> Invalidator:
        return self._invalidator

    @property
    def replicator(self) -> Replicator:
        return self._replicator

    @property
    def strong(self) -> StrongService:
        return self._strong

    @property
    def topology(self) -> Topology:
        """In force."""
        return self._topology

    async def run(self) -> None:
        """For ever."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._replicator.run())
            group.create_task(self._invalidator.run(self._store, self._config.region, self._held))
            group.create_task(self._strong.run())
            group.create_task(self._follow_files())

    async def rewire(self, config: AgentConfig) -> None:
        """Takes up links to regions that came, and forgets those to regions that are gone."""
        self._config = config
        await self._peers.use(config.peers)
        self._strong.use_links()
        self._seen = ""  # what was refused for its regions may be what is wanted now
        log.info("links taken up", extra={"peers": sorted(config.peers)})

    def statistics(self) -> tuple[ReplicationStatistics, RegistersStatistics]:
        return self._replicator.statistics(), self._strong.statistics()

    async def close(self) -> None:
        await self._strong.close()
        await self._peers.close()
        await self._store.aclose()
        await self._invalidator.close()
        await self._client.aclose()
        await self._http.aclose()

    def _session_store(self) -> SessionStore:
        config = self._config
        return SessionStore.of(
            config.state, config.region, self._invalidator.invalidations, config.state_marker
        )

    def _other_backends(self, topology: Topology) -> dict[str, StrongBackend]:
        """Of the namespaces that have one; an etcd that is in use already stays as it is."""
        wanted = etcd_of(topology)
        self._etcds = {
            members: self._etcds.get(members) or Etcd(self._http, members, self._clock)
            for members in wanted.values()
        }
        return {name: self._etcds[members] for name, members in wanted.items()}

    def _held(self) -> frozenset[str]:
        """Namespaces whose data may be here."""
        return membership_of(self._topology).of(self._config.region)

    async def _serve_log(self, channel: Channel) -> None:
        await self._replicator.serve(LogChannel(channel))

    async def _answer(self, peer: str, question: Wire) -> Wire:
        try:
            return await self._replicator.answer(peer, question)
        except (PeerLost, StateError) as error:
            raise Remote("state", str(error)) from error

    async def _follow_files(self) -> None:
        """Takes up namespaces and regions that come and go, and renewed certificates. A file that can't be used changes
        nothing.
        """
        while True:
            await asyncio.sleep(LOOK_S)
            if self._tls is not None:
                self._tls.poll()
            try:
                found = load_topology(self._config)
            except (TopologyError, SuccessionError):
                continue  # gateways and `atoll deploy` say so
            if found.digest in (self._seen, self._topology.digest):
                continue
            self._seen = found.digest
            try:
                self._take_up(found)
            except SuccessionError as error:
                log.warning("topology refused", extra={"revision": found.revision, "reason": str(error)})

    def _take_up(self, found: Topology) -> None:
        """Raises `SuccessionError`."""
        if found.revision < self._topology.revision:
            raise SuccessionError(
                f"revision {found.revision} is older than {self._topology.revision}, which is in force; count it up"
            )
        check_namespaces(self._topology.namespaces, found.namespaces)
        self._topology = found
        self._replicator.use(membership_of(found))
        self._strong.use(acceptors_of(found), tuple(found.regions), self._other_backends(found))
        log.info("topology taken up", extra={"revision": found.revision})


def membership_of(topology: Topology) -> Membership:
    """Who may hold which namespaces, but for strong ones, which have no log. Pure."""
    replicated = [
        name for name, namespace in topology.namespaces.items() if namespace.level is not Level.STRONG
    ]
    return Membership(
        {
            region: frozenset(name for name in replicated if region in topology.holders(name))
            for region in topology.regions
        }
    )


def acceptors_of(topology: Topology) -> dict[str, tuple[str, ...]]:
    """The regions in which each strong namespace on registers begins. Pure."""
    return {
        name: namespace.acceptors
        for name, namespace in topology.namespaces.items()
        if namespace.level is Level.STRONG and namespace.backend is Backend.REGISTERS
    }


def etcd_of(topology: Topology) -> dict[str, tuple[str, ...]]:
    """Where the members of the etcd answer that keeps a strong namespace of that backend. Pure."""
    return {
        name: tuple(f"http://{member}" for member in namespace.etcd)
        for name, namespace in topology.namespaces.items()
        if namespace.backend is Backend.ETCD
    }
