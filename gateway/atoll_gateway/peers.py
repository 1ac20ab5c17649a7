"""The gateways of other regions: probed all the time, and used over one pool of connections each.

A peer's health comes from its answers to probes and from what happens to requests on the way to it. When a peer is
found to be down, every attempt that still waits for it is given up at once, so that it can be made elsewhere.
"""

import asyncio
import logging
import random
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from pydantic import ValidationError

from atoll.clock import Clock
from atoll.resilience.health import PeerHealth
from atoll.topology import HealthPolicy
from atoll.topology.wiring import PeerGateway
from atoll_gateway.headers import write_head
from atoll_gateway.peer_report import PEER_REPORT, PeerReport
from atoll_gateway.upstream import Upstream
from atoll_gateway.upstream_errors import Abandoned, ConnectRefused, UpstreamError

log = logging.getLogger("atoll.gateway.peers")

PROBES_AT_ONCE = 4
"""A peer that answers slowly has this many probes under way before one is left out."""


class Peer:
    """One gateway of another region."""

    __slots__ = ("gateway", "health", "in_flight", "probes", "report", "trusted", "upstream", "waiting")

    def __init__(
        self, gateway: PeerGateway, upstream: Upstream, probes: Upstream, health: PeerHealth
    ) -> None:
        self.gateway = gateway
        self.upstream = upstream
        self.probes = probes
        """Connections of their own, so that a probe never waits behind requests."""
        self.health = health
        self.report: PeerReport | None = None
        self.in_flight = 0
        self.waiting = 0
        self.trusted = False
        """Whether it was healthy when that was last looked at."""

    def done(self) -> None:
        """A request that was sent here is over."""
        self.in_flight -= 1


@dataclass(frozen=True, slots=True)
class PeerStatistics:
    """A peer as this gateway sees it."""

    region: str
    gateway: str
    healthy: bool
    reason: str
    since: float
    in_flight: int
    draining: bool
    transitions: int


class Peers:
    """All peers, and the tasks that watch them."""

    def __init__(
        self,
        gateways: Iterable[PeerGateway],
        connect: Callable[[PeerGateway], Upstream],
        clock: Clock,
        chance: random.Random,
        policy: HealthPolicy,
        changed: Callable[[], None],
    ) -> None:
        self._clock = clock
        self._chance = chance
        self._policy = policy
        self._changed = changed
        self._head = write_head("GET", b"/-/peer/health", [(b"host", b"peer")])
        self._by_region: dict[str, list[Peer]] = {}
        for gateway in gateways:
            peer = Peer(gateway, connect(gateway), connect(gateway), PeerHealth(clock, policy))
            self._by_region.setdefault(gateway.region, []).append(peer)

    @property
    def regions(self) -> Iterable[str]:
        """Regions that have a peer."""
        return self._by_region.keys()

    def of(self, region: str) -> list[Peer]:
        """The gateways of a region, healthy or not."""
        return self._by_region.get(region, [])

    def pick(self, region: str, avoid: frozenset[str] = frozenset()) -> Peer | None:
        """The least busy healthy gateway of a region; if none is healthy, the least busy one all the same.

        Whether an unhealthy region is tried at all is for routing to decide, not for this.
        """
        peers = [peer for peer in self.of(region) if peer.gateway.name not in avoid]
        healthy = [peer for peer in peers if peer.health.healthy]
        return min(healthy or peers, key=lambda peer: (peer.in_flight, self._chance.random()), default=None)

    async def watch(self) -> None:
        """Probes every peer until cancelled."""
        async with asyncio.TaskGroup() as group:
            for peers in self._by_region.values():
                for peer in peers:
                    group.create_task(self._watch(peer))

    async def _watch(self, peer: Peer) -> None:
        interval = self._policy.probe_interval_s
        loop = asyncio.get_running_loop()
        async with asyncio.TaskGroup() as group:
            due = loop.time() + self._chance.random() * interval
            while True:
                await asyncio.sleep(max(0.0, due - loop.time()))
                due = max(due + interval, loop.time())
                if peer.waiting < PROBES_AT_ONCE:
                    peer.waiting += 1
                    peer.health.probe_sent()
                    group.create_task(self._probe(peer))
                peer.health.tick()
                self._note(peer)

    async def _probe(self, peer: Peer) -> None:
        try:
            async with asyncio.timeout(self._policy.silence_s):
                response = await peer.probes.send(self._head, None, method="GET")
                content = await response.read()
            report = PEER_REPORT.validate_json(content) if response.status == 200 else None
        except ConnectRefused:
            peer.health.refused()
        except (UpstreamError, TimeoutError, ValidationError) as error:
            peer.health.probe_failed(str(error) or "no answer in time")
        else:
            if report is None:
                peer.health.probe_failed(f"answered {response.status}")
            else:
                peer.health.probe_answered()
                if peer.report is None or _matters(report, peer.report):
                    self._changed()
                peer.report = report
        finally:
            peer.waiting -= 1
        self._note(peer)

    def refused(self, peer: Peer) -> None:
        """A request to this peer found nobody there."""
        peer.health.refused()
        self._note(peer)

    def _note(self, peer: Peer) -> None:
        healthy = peer.health.healthy
        if healthy == peer.trusted:
            return
        peer.trusted = healthy
        log.warning(
            "peer is %s",
            "healthy" if healthy else "unhealthy",
            extra={"peer": peer.gateway.name, "reason": peer.health.reason},
        )
        self._changed()
        if not healthy:
            peer.upstream.fail_all(Abandoned(f"{peer.gateway.name} is unhealthy: {peer.health.reason}"))

    def statistics(self) -> Mapping[str, PeerStatistics]:
        """A snapshot a peer, by gateway name."""
        return {
            peer.gateway.name: PeerStatistics(
                region=peer.gateway.region,
                gateway=peer.gateway.name,
                healthy=peer.health.healthy,
                reason=peer.health.reason,
                since=peer.health.since,
                in_flight=peer.in_flight,
                draining=peer.report is not None and peer.report.draining,
                transitions=peer.health.statistics().transitions,
            )
            for peers in self._by_region.values()
            for peer in peers
        }

    def close(self) -> None:
        """Closes every connection."""
        for peers in self._by_region.values():
            for peer in peers:
                peer.upstream.close()
                peer.probes.close()


def _matters(new: PeerReport, old: PeerReport) -> bool:
    """Whether a report changes where requests may go."""
    return (
        new.draining != old.draining
        or new.topology != old.topology
        or {name: load.replicas for name, load in new.services.items()}
        != {name: load.replicas for name, load in old.services.items()}
    )
